"""What a search chose, drawn and scored once more by another renderer: no picture may be good in one of them only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.agent.objectives import Objective
from pipeline.agent.task import Task
from pipeline.core.facts.comparison import Difference, SecondRenderer
from pipeline.core.records import Evaluation, Job, Scored
from pipeline.tracing.evaluator import Evaluator

SECOND = {"skia-python": "resvg-py"}
"""First renderer to second. Where resvg draws, Skia cannot be loaded, and there is no second."""

SLACK = 2.0
"""By how much the damage may grow: each renderer rounds the edges of both pictures in its own way."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """On one image. damage: the second renderer's less the first's, in pixels; None when it drew nothing.

    upheld: whether the choice may stand, also as the second draws it.
    """

    path: str
    damage: float | None
    upheld: bool


def second_renderer(rasteriser: str) -> str | None:
    """The name of the renderer to ask, for the first one's name and version."""
    return SECOND.get(rasteriser.split()[0])


def second_opinions(chosen: Sequence[tuple[Task, Scored]], objective: Objective, evaluator: Evaluator) -> list[Opinion]:
    """One for each choice of a search, the default's included. evaluator: draws with the second renderer."""
    choices = evaluator.evaluate([Job(task.logo, scored.params) for task, scored in chosen])
    return [_opinion(task, scored, objective, choice) for (task, scored), choice in zip(chosen, choices, strict=True)]


def _opinion(task: Task, first: Scored, objective: Objective, choice: Evaluation) -> Opinion:
    """Damage that the first renderer saw too is no news; only what the second adds can overturn a choice."""
    if not isinstance(choice, Scored):
        return Opinion(task.logo.name, None, upheld=False)
    limit = SLACK * max(first.scores.damage, objective.limit(task.scores))
    difference = choice.scores.damage - first.scores.damage
    return Opinion(task.logo.name, difference, upheld=choice.scores.damage <= limit)


def opinions_report(renderer: str, opinions: Sequence[Opinion]) -> SecondRenderer:
    return SecondRenderer(
        renderer=renderer,
        images=len(opinions),
        upheld=sum(o.upheld for o in opinions),
        not_upheld=tuple(o.path for o in opinions if not o.upheld),
        damage_difference=_difference([o.damage for o in opinions]),
    )


def _difference(differences: Sequence[float | None]) -> Difference | None:
    sizes = [abs(d) for d in differences if d is not None]
    return Difference(mean=sum(sizes) / len(sizes), max=max(sizes)) if sizes else None
