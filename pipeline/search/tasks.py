"""Images made ready to be worked on: measured, and traced once with the command-line default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.agent.episode import Task
from pipeline.agent.features import Vector
from pipeline.agent.objectives import SOUND_SLACK, Baseline
from pipeline.core.pixels import rgb_of
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Logo, Scored, Scores
from pipeline.data.probe import MEASURE_NAMES, measure
from pipeline.tracing.tracer_pool import Evaluator, Pending

HARD_ALPHA = replace(DEFAULT_PARAMS, palette=256)  # so many colours change nothing but the alpha
_HAS_ALPHA = MEASURE_NAMES.index("has_alpha")
_ROUNDING = 1e-3

Tasks = tuple[list[Task], list[tuple[Logo, Failed]]]


@dataclass(frozen=True, slots=True, eq=False)
class PendingTasks:
    """Logos whose default is being traced. needed_only: whether a sound trace is made only where it can matter."""

    logos: Sequence[Logo]
    measured: Sequence[Vector]
    evaluator: Evaluator
    defaults: Pending
    needed_only: bool

    def collect(self) -> Tasks:
        """As `make_tasks`, waiting for what is not done."""
        sound = self._sound()
        tasks: list[Task] = []
        failures: list[tuple[Logo, Failed]] = []
        for logo, measures, evaluation in zip(self.logos, self.measured, self.defaults.collect(), strict=True):
            match evaluation:
                case Scored():
                    baseline = Baseline.of(evaluation.scores, sound.get(logo.digest))
                    tasks.append(Task(logo, measures, evaluation, baseline))
                case Failed():
                    failures.append((logo, evaluation))
        return tasks, failures

    def _sound(self) -> dict[str, Scores]:
        wanted = [
            logo
            for logo, measures, default in zip(self.logos, self.measured, self.defaults.collect(), strict=True)
            if measures[_HAS_ALPHA] and not (self.needed_only and _settles_the_bar(default))
        ]
        evaluations = self.evaluator.evaluate([Job(logo, HARD_ALPHA) for logo in wanted])
        return {e.digest: e.scores for e in evaluations if isinstance(e, Scored)}


def _settles_the_bar(default: Evaluation) -> bool:
    """Whether no sound trace, however good, can raise the bar above the default: no score is above 1."""
    if not isinstance(default, Scored):
        return True
    return min(default.scores.ssim, default.scores.zoom_ssim) > 1 - SOUND_SLACK + _ROUNDING


def begin_tasks(
    logos: Sequence[Logo],
    evaluator: Evaluator,
    background: str,
    *,
    keep_svg: bool = False,
    measured: Sequence[Vector] | None = None,
    needed_only: bool = False,
) -> PendingTasks:
    """`make_tasks` without waiting. measured: what `measure` says of each logo, where that is known already.

    needed_only: leave out sound traces that cannot change a task; a training keeps all, for its table of evaluations.
    """
    defaults = evaluator.submit([Job(logo, DEFAULT_PARAMS, keep_svg=keep_svg) for logo in logos])
    if measured is None:
        measured = [measure(logo.rgba, rgb_of(background)).as_array() for logo in logos]
    return PendingTasks(logos, measured, evaluator, defaults, needed_only)


def make_tasks(logos: Sequence[Logo], evaluator: Evaluator, background: str, *, keep_svg: bool = False) -> Tasks:
    """One task per logo, in order; logos on which even the default fails are returned beside them.

    A transparent image is traced once more, with the default's settings on hard alpha, to know how a sound trace looks.

    background: "#rrggbb", on which transparent images are measured.
    """
    return begin_tasks(logos, evaluator, background, keep_svg=keep_svg).collect()
