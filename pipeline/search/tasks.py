"""Images made ready to be worked on: measured, and traced once with the command-line default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.data.probe import measure
from pipeline.pixels import rgb_of
from pipeline.records import DEFAULT_PARAMS, Failed, Job, Logo, Scored
from pipeline.rl.episode import Task
from pipeline.rl.reward import Baseline
from pipeline.tracing.workers import Evaluator

HARD_ALPHA = replace(DEFAULT_PARAMS, palette=256)  # so many colours change nothing but the alpha


def make_tasks(
    logos: Sequence[Logo], evaluator: Evaluator, background: str, *, keep_svg: bool = False
) -> tuple[list[Task], list[tuple[Logo, Failed]]]:
    """One task per logo, in order; logos on which even the default fails are returned beside them.

    A transparent image is traced once more, with the default's settings on hard alpha, to know how a sound trace looks.

    background: "#rrggbb", on which transparent images are measured.
    """
    evaluations = evaluator.evaluate([Job(logo, DEFAULT_PARAMS, keep_svg=keep_svg) for logo in logos])
    transparent = [logo for logo in logos if logo.rgba[..., 3].min() < 255]
    sound = evaluator.evaluate([Job(logo, HARD_ALPHA) for logo in transparent])
    sound_scores = {e.digest: e.scores for e in sound if isinstance(e, Scored)}
    tasks: list[Task] = []
    failures: list[tuple[Logo, Failed]] = []
    for logo, evaluation in zip(logos, evaluations, strict=True):
        match evaluation:
            case Scored():
                measures = measure(logo.rgba, rgb_of(background)).as_array()
                baseline = Baseline.of(evaluation.scores, sound_scores.get(logo.digest))
                tasks.append(Task(logo, measures, evaluation, baseline))
            case Failed():
                failures.append((logo, evaluation))
    return tasks, failures
