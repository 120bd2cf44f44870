"""Images made ready to be worked on: measured, and traced once with the command-line default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.agent.task import Task, Vector
from pipeline.core.pixels import rgb_of
from pipeline.core.records import ACCIDENTS, DEFAULT_PARAMS, Failed, Job, Logo, Scored
from pipeline.data.probe import measure
from pipeline.tracing.evaluator import Evaluator, Pending

Tasks = tuple[list[Task], list[tuple[Logo, Failed]]]


@dataclass(frozen=True, slots=True, eq=False)
class PendingTasks:
    """Logos whose default is being traced. An accident of the machine is tried once more."""

    jobs: Sequence[Job]
    measured: Sequence[Vector]
    defaults: Pending
    evaluator: Evaluator

    def collect(self) -> Tasks:
        """As `make_tasks`, waiting for what is not done."""
        tasks: list[Task] = []
        failures: list[tuple[Logo, Failed]] = []
        for job, measures, evaluation in zip(self.jobs, self.measured, self.defaults.collect(), strict=True):
            if isinstance(evaluation, Failed) and evaluation.kind in ACCIDENTS:
                [evaluation] = self.evaluator.evaluate([job])
            match evaluation:
                case Scored():
                    tasks.append(Task(job.logo, measures, evaluation))
                case Failed():
                    failures.append((job.logo, evaluation))
        return tasks, failures


def begin_tasks(
    logos: Sequence[Logo],
    evaluator: Evaluator,
    background: str,
    *,
    keep_svg: bool = False,
    metrics: bool = True,
    measured: Sequence[Vector] | None = None,
) -> PendingTasks:
    """`make_tasks` without waiting.

    metrics: of the defaults. measured: what `measure` says of each logo, where that is known already.
    """
    jobs = [Job(logo, DEFAULT_PARAMS, keep_svg=keep_svg, metrics=metrics) for logo in logos]
    defaults = evaluator.submit(jobs)
    if measured is None:
        measured = [measure(logo.rgba, rgb_of(background)).as_array() for logo in logos]
    return PendingTasks(jobs, measured, defaults, evaluator)


def make_tasks(logos: Sequence[Logo], evaluator: Evaluator, background: str, *, keep_svg: bool = False) -> Tasks:
    """One task per logo, in order; logos on which even the default fails are returned beside them.

    background: "#rrggbb", on which transparent images are measured.
    """
    return begin_tasks(logos, evaluator, background, keep_svg=keep_svg).collect()
