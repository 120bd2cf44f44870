"""Evaluations of the training images, to learn from: at random first, then around what turned out good.

A table of random settings alone says little of the neighbourhood of good ones, which is where a search spends its
traces. So each image is searched by mutation, for several objectives in turn, and some candidates vary what was good on
other images of its category.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.agent.candidates import Points, mutated
from pipeline.agent.features import context_of
from pipeline.agent.objectives import Objective, value_of
from pipeline.agent.outcome import Outcome, default_outcome, informative_gate, outcome_of
from pipeline.agent.task import Task
from pipeline.core.records import CATEGORIES, OBJECTIVES, Evaluation, Job, ObjectiveName, TracerParams
from pipeline.search.loop import evaluate_all
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import ParameterSpace
from pipeline.training.surrogate_fit import Table

RANDOM_SHARE = 0.3  # of each image's settings, in the first round
ROUNDS = 8  # of those that follow
STILL_RANDOM = 0.1  # of the later settings
BORROWED = 0.3  # of the later settings vary what was good on another image of the category
SEARCHED: tuple[tuple[ObjectiveName, float], ...] = (("faithful", 0.7), ("sharper", 0.3))
RANK_DECAY = 1.5  # mean rank of the settings that are mutated
BANK_SIZE = 256


@dataclass(slots=True, eq=False)
class ImageRecord:
    """What is known of one image. values: by objective, graded where not allowed; allowed: whether it was."""

    params: list[TracerParams] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    values: dict[ObjectiveName, list[float]] = field(default_factory=lambda: {name: [] for name in OBJECTIVES})
    allowed: dict[ObjectiveName, list[bool]] = field(default_factory=lambda: {name: [] for name in OBJECTIVES})

    def record(self, evaluation: Evaluation, point: NDArray[np.float32], task: Task, objective: Objective) -> None:
        self.params.append(evaluation.params)
        self.points.append(point)
        self.outcomes.append(outcome_of(evaluation, task.scores))
        for name in OBJECTIVES:
            sought = replace(objective, name=name)
            self.values[name].append(sought.graded_evaluation(evaluation, task.scores))
            self.allowed[name].append((value_of(sought, evaluation, task.scores) or 0.0) > 0)

    def ranked(self, name: ObjectiveName) -> list[int]:
        """Rows, best first."""
        return [int(row) for row in np.argsort(-np.array(self.values[name]), kind="stable")]


def collect(
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    space: ParameterSpace,
    *,
    per_image: int,
    seed: int,
    on_traces: Callable[[int], None] = lambda traces: None,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[Table, dict[ObjectiveName, Points]]:
    """About `per_image` evaluations of each task, and by objective the settings that were best on one of them.

    A small space may hold fewer settings. on_traces: told how many were made, as they are. check_stop: called for each
    image, between traces too; what it raises is raised.
    """
    rng = np.random.default_rng([seed, 3])
    found = [ImageRecord() for _ in tasks]
    first = max(1, round(RANDOM_SHARE * per_image))
    later = per_image - first
    counts = [first, *(later * (n + 1) // ROUNDS - later * n // ROUNDS for n in range(ROUNDS))]
    peers = {c: [i for i, t in enumerate(tasks) if t.logo.category == c] for c in CATEGORIES}
    for count in counts:
        jobs: list[tuple[int, TracerParams]] = []
        for index, task in enumerate(tasks):
            check_stop()
            points = [_next(found, index, peers[task.logo.category], space, rng) for _ in range(count)]
            fresh = dict.fromkeys(space.decode(point) for point in points)
            tried = set(found[index].params)
            jobs += [(index, params) for params in fresh if params not in tried]
        wanted = [Job(tasks[i].logo, p, informative_gate(tasks[i].scores)) for i, p in jobs]
        evaluations = evaluate_all(wanted, evaluator, on_traces)
        for (index, params), evaluation in zip(jobs, evaluations, strict=True):
            found[index].record(evaluation, space.encode(params), tasks[index], objective)
    return _table(tasks, found, space), {name: _bank(found, name, space, rng) for name in OBJECTIVES}


def _next(
    found: Sequence[ImageRecord], index: int, peers: Sequence[int], space: ParameterSpace, rng: np.random.Generator
) -> NDArray[np.float32]:
    """A point to try on an image: at random, or a variation of what was good on it or on one of its peers."""
    source = found[index] if rng.random() > BORROWED else found[int(rng.choice(peers))]
    if not source.params or rng.random() < STILL_RANDOM:
        return rng.random(space.size).astype(np.float32)
    names, weights = zip(*SEARCHED, strict=True)
    ranked = source.ranked(names[int(rng.choice(len(names), p=weights))])
    row = ranked[min(int(rng.exponential(RANK_DECAY)), len(ranked) - 1)]
    point: NDArray[np.float32] = mutated(source.points[row][np.newaxis], 1, rng)[0]
    return point


def _table(tasks: Sequence[Task], found: Sequence[ImageRecord], space: ParameterSpace) -> Table:
    return Table(
        contexts=np.stack([context_of(task) for task in tasks]),
        defaults=np.stack([default_outcome(task.scores) for task in tasks]),
        image=np.repeat(np.arange(len(tasks)), [len(f.params) for f in found]),
        points=np.array([p for f in found for p in f.points], np.float32).reshape(-1, space.size),
        outcomes=np.array([o for f in found for o in f.outcomes], np.float32).reshape(-1, 3),
    )


def _bank(found: Sequence[ImageRecord], name: ObjectiveName, space: ParameterSpace, rng: np.random.Generator) -> Points:
    """The best allowed setting of each image that has one, at most BANK_SIZE of them, each once."""
    best = [(f, next(row for row in f.ranked(name) if f.allowed[name][row])) for f in found if any(f.allowed[name])]
    different = {f.params[row]: f.points[row] for f, row in best}
    points = np.array(list(different.values()), np.float32).reshape(-1, space.size)
    return points[rng.permutation(len(points))[:BANK_SIZE]]
