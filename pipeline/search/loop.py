"""Searches on many images at once: each proposes a setting, has it evaluated, and goes on until its traces are spent.

The agent and every rival run through here, so that they share the evaluations, the objective and the fall-back: an
image on which nothing beat the default keeps the default.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipeline.agent.agent import Agent, AgentProposer
from pipeline.agent.episode import Episode
from pipeline.agent.stopping import AUTO_TRACES, Traces
from pipeline.agent.task import Task
from pipeline.core.records import ACCIDENTS, Evaluation, Failed, Job, Scored, TracerParams
from pipeline.core.tradeoff import TracePoint
from pipeline.tracing.evaluator import Evaluator, Pending

PIECE = 256
"""Evaluations that are told of together: some seconds' work."""


def evaluate_all(
    jobs: Sequence[Job], evaluator: Evaluator, on_traces: Callable[[int], None] = lambda traces: None
) -> list[Evaluation]:
    """One evaluation per job, in order. `on_traces` receives how many more are done, piece by piece."""
    evaluations: list[Evaluation] = []
    for start in range(0, len(jobs), PIECE):
        done = evaluator.evaluate(jobs[start : start + PIECE])
        evaluations += done
        on_traces(len(done))
    return evaluations


class Proposer(Protocol):
    """One search on one image. `episode.last` holds what the previous proposal gave.

    needs_every_score: whether it learns from how losers look, so that they are measured to the end.
    """

    @property
    def needs_every_score(self) -> bool: ...

    def propose(self, episode: Episode) -> TracerParams | None:
        """The next setting, or None when there is nothing more to try."""
        ...


@dataclass(slots=True, eq=False)
class Outcome:
    """What a search found. bests[k] is the best after k + 1 traces, None where the default still stood.

    is_withdrawn: whether something that it chose could not be made again.
    """

    task: Task
    bests: list[Scored | None] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    is_withdrawn: bool = False

    def withdraw(self, scored: Scored, failed: Failed) -> None:
        """What was found once and cannot be made again counts as a failure, and the default stands for it."""
        self.is_withdrawn = True
        self.failures.append(failed)
        self.evaluations = [failed if evaluation is scored else evaluation for evaluation in self.evaluations]
        self.values = [0.0 if best is scored else v for best, v in zip(self.bests, self.values, strict=True)]
        self.bests = [None if best is scored else best for best in self.bests]

    @property
    def made(self) -> list[TracePoint]:
        """The traces whose damage was measured."""
        found = [e.scores if isinstance(e, Scored) else e for e in self.evaluations if not isinstance(e, Failed)]
        return [TracePoint(e.svg_bytes, e.damage) for e in found if e.damage is not None]

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
    on_traces: Callable[[int], None] = lambda traces: None,
) -> list[Outcome]:
    """Run all searches to the end of their episodes, each going on as soon as its own trace is done.

    They do not depend on each other, so neither do the outcomes on who was faster. `on_traces` receives how many traces
    were made whenever some are done.
    """
    outcomes = [Outcome(episode.task) for episode, _ in searches]
    running: dict[int, Pending] = {}
    ready = list(range(len(searches)))
    while ready or running:
        running |= _next_traces(searches, ready, evaluator, keep_svg)
        if not running:
            break
        evaluator.wait(list(running.values()))
        ready = [i for i, pending in running.items() if pending.done]
        for i in ready:
            _record(searches[i][0], outcomes[i], running.pop(i).collect()[0])
        on_traces(len(ready))
    return outcomes


def run_agent(
    agent: Agent,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    *,
    traces: Traces,
    seed: int,
    keep_svg: bool = False,
) -> list[Outcome]:
    """The agent's search on every task, each with a seed of its own made from `seed` and the image's digest."""
    proposer = AgentProposer(agent, stops=traces == "auto")
    most = AUTO_TRACES if traces == "auto" else traces
    searches = [(agent.episode(task, most, image_seed(seed, task)), proposer) for task in tasks]
    return run_searches(searches, evaluator, keep_svg=keep_svg)


def image_seed(seed: int, task: Task) -> int:
    """A seed that depends on the image and not on its neighbours, so a subset gives the same results."""
    return int(np.random.SeedSequence([seed, int(task.logo.digest[:8], 16)]).generate_state(1)[0])


def _next_traces(
    searches: Sequence[tuple[Episode, Proposer]], ready: Sequence[int], evaluator: Evaluator, keep_svg: bool
) -> dict[int, Pending]:
    """The next trace of each search that is ready for one and has not ended."""
    jobs: dict[int, Job] = {}
    for i in ready:
        episode, proposer = searches[i]
        params = None if episode.done else proposer.propose(episode)
        if params is not None:
            jobs[i] = episode.job(params, keep_svg=keep_svg, every_score=proposer.needs_every_score)
    return dict(zip(jobs, evaluator.submit_each(list(jobs.values())), strict=True))


def _record(episode: Episode, outcome: Outcome, evaluation: Evaluation) -> None:
    episode.record(evaluation)
    outcome.values.append(episode.best_value)
    outcome.bests.append(episode.best)
    outcome.evaluations.append(evaluation)
    if isinstance(evaluation, Failed):
        outcome.failures.append(evaluation)


def evaluate_again(
    places: Sequence[tuple[Outcome, int]], evaluator: Evaluator, *, keep_svg: bool = False
) -> list[Scored]:
    """What each search chose at a number of traces, with metrics, and with SVGs where requested: searches go without,
    to be faster.

    An accident of the machine is tried once more. A choice that cannot be made again is withdrawn from its outcome, and
    the default takes its place; a default that cannot be made again has no SVG.
    """
    chosen = [outcome.chosen_at(traces) for outcome, traces in places]
    wanted = [i for i, scored in enumerate(chosen) if keep_svg or scored.scores.metrics is None]
    jobs = [Job(places[i][0].task.logo, chosen[i].params, keep_svg=keep_svg, metrics=True) for i in wanted]
    again = dict(enumerate(chosen))
    for i, job, evaluation in zip(wanted, jobs, evaluator.evaluate(jobs), strict=True):
        if isinstance(evaluation, Failed) and evaluation.kind in ACCIDENTS:
            (evaluation,) = evaluator.evaluate([job])
        if isinstance(evaluation, Scored):
            again[i] = evaluation
        elif isinstance(evaluation, Failed):
            places[i][0].withdraw(chosen[i], evaluation)
    stands = [outcome.chosen_at(traces) is chosen[i] for i, (outcome, traces) in enumerate(places)]
    return [again[i] if stands[i] else outcome.task.default for i, (outcome, _) in enumerate(places)]


def svg_text(scored: Scored) -> str:
    """The SVG of an evaluation that was asked to keep it. Raises ValueError for another."""
    if scored.svg is None:
        raise ValueError("the evaluation was run without keep_svg")
    return scored.svg
