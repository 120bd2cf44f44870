"""What a search chose, drawn and scored once more by another renderer: no picture may be good in one of them only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.agent.objectives import Baseline, Objective
from pipeline.agent.task import Task
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Job, Scored
from pipeline.tracing.tracer_pool import Evaluator

SECOND = {"skia-python": "resvg-py"}
"""First renderer to second. Where resvg draws, Skia cannot be loaded, and there is no second."""

SLACK = 2.0
"""By how much the tolerance is widened: each renderer rounds the edges of both pictures in its own way."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """On one image. ssim, zoom_ssim: the second renderer's score of the choice less the first's. None: it failed.

    upheld: whether the choice may stand, also as the second draws it.
    """

    path: str
    ssim: float | None
    zoom_ssim: float | None
    upheld: bool


def second_renderer(rasteriser: str) -> str | None:
    """The name of the renderer to ask, for the first one's name and version."""
    return SECOND.get(rasteriser.split()[0])


def second_opinions(chosen: Sequence[tuple[Task, Scored]], objective: Objective, evaluator: Evaluator) -> list[Opinion]:
    """One for each choice of a search, the default's included. evaluator: draws with the second renderer."""
    defaults = evaluator.evaluate([Job(task.logo, DEFAULT_PARAMS) for task, _ in chosen])
    choices = evaluator.evaluate([Job(task.logo, scored.params) for task, scored in chosen])
    rows = zip(chosen, defaults, choices, strict=True)
    return [_opinion(task, scored, objective, default, choice) for (task, scored), default, choice in rows]


def _opinion(task: Task, first: Scored, objective: Objective, default: Evaluation, choice: Evaluation) -> Opinion:
    if not (isinstance(default, Scored) and isinstance(choice, Scored)):
        return Opinion(task.logo.name, None, None, upheld=False)
    value = replace(objective, tolerance=SLACK * objective.tolerance).value(
        choice.params, choice.scores, _baseline_as_drawn_by(default, task)
    )
    return Opinion(
        task.logo.name,
        choice.scores.ssim - first.scores.ssim,
        choice.scores.zoom_ssim - first.scores.zoom_ssim,
        upheld=value is not None and (first.params == DEFAULT_PARAMS or value >= 0),
    )


def _baseline_as_drawn_by(default: Scored, task: Task) -> Baseline:
    """The bar as far above the default as it is for the first renderer."""
    raised = task.scores.bar.ssim - task.scores.ssim, task.scores.bar.zoom_ssim - task.scores.zoom_ssim
    scores = default.scores
    bar = replace(scores, ssim=scores.ssim + raised[0], zoom_ssim=scores.zoom_ssim + raised[1])
    return Baseline(scores, bar)


def opinions_report(renderer: str, opinions: Sequence[Opinion]) -> dict[str, Any]:
    """For evaluate.json. Differences are the largest and the mean of their absolute values."""
    return {
        "renderer": renderer,
        "images": len(opinions),
        "upheld": sum(o.upheld for o in opinions),
        "not_upheld": [o.path for o in opinions if not o.upheld],
        "ssim_difference": _spread([o.ssim for o in opinions]),
        "zoom_ssim_difference": _spread([o.zoom_ssim for o in opinions]),
    }


def _spread(differences: Sequence[float | None]) -> dict[str, float] | None:
    sizes = [abs(d) for d in differences if d is not None]
    return {"mean": sum(sizes) / len(sizes), "max": max(sizes)} if sizes else None
