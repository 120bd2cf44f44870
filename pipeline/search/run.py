"""Searches on many images at once: each proposes a setting, all are evaluated as one batch, until the traces are spent.

The agent and every rival run through here, so that they share the evaluations, the objective and the fall-back: an
image on which nothing beat the default keeps the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.records import Failed, Scored, TracerParams
from pipeline.rl.episode import Episode, Task
from pipeline.tracing.workers import Evaluator


class Proposer(Protocol):
    """One search on one image. `episode.last` holds what the previous proposal gave."""

    def propose(self, episode: Episode) -> TracerParams | None:
        """The next setting, or None when there is nothing more to try."""
        ...


@dataclass(slots=True, eq=False)
class Outcome:
    """What a search found. bests[k] is the best after k + 1 traces, None where the default still stood."""

    task: Task
    bests: list[Scored | None] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)

    def value_at(self, traces: int) -> float:
        """The best value with `traces` traces; a search that stopped earlier keeps what it had."""
        return self.values[min(traces, len(self.values)) - 1] if self.values and traces else 0.0

    def best_at(self, traces: int) -> Scored | None:
        return self.bests[min(traces, len(self.bests)) - 1] if self.bests and traces else None

    def chosen_at(self, traces: int) -> Scored:
        """The best found, or the default."""
        return self.best_at(traces) or self.task.default


def run_searches(
    searches: Sequence[tuple[Episode, Proposer]],
    evaluator: Evaluator,
    *,
    keep_svg: bool = False,
    on_round: Callable[[int], None] = lambda traces: None,
) -> list[Outcome]:
    """Run all searches to the end of their episodes; `on_round` is told how many traces each round made."""
    outcomes = [Outcome(episode.task) for episode, _ in searches]
    running = list(range(len(searches)))
    while running:
        proposals = [(i, searches[i][1].propose(searches[i][0])) for i in running if not searches[i][0].done]
        going = [(i, params) for i, params in proposals if params is not None]
        jobs = [searches[i][0].job(params, keep_svg=keep_svg) for i, params in going]
        for (i, _), evaluation in zip(going, evaluator.evaluate(jobs), strict=True):
            episode, outcome = searches[i][0], outcomes[i]
            episode.record(evaluation)
            outcome.values.append(episode.best_value)
            outcome.bests.append(episode.best)
            if isinstance(evaluation, Failed):
                outcome.failures.append(evaluation)
        on_round(len(going))
        running = [i for i, _ in going]
    return outcomes


def svg_text(scored: Scored) -> str:
    """The SVG of an evaluation that was asked to keep it. Raises ValueError for another."""
    if scored.svg is None:
        raise ValueError("the evaluation was run without keep_svg")
    return scored.svg
