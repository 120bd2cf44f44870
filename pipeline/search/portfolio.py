"""Settings found good on the training images of a category: two of the agent's rivals.

The first of a category's settings is the best single one (`fixed`); each further one adds the most to the mean of
the best value over those before it, so the first k are a greedy portfolio (Nemhauser et al. 1978: within 1 - 1/e of
the best k for this submodular sum).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.agent.objectives import Objective, value_of
from pipeline.agent.task import Task
from pipeline.core.records import DEFAULT_PARAMS, Category, Job, TracerParams
from pipeline.search.loop import evaluate_all
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import ParameterSpace

PORTFOLIO_SIZE = 16
GENERATIONS = 6  # the first third of the candidates is random, the rest mutations of the best so far
PARENTS = 4


def find_portfolios(
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    space: ParameterSpace,
    *,
    candidates: int,
    seed: int,
    on_traces: Callable[[int], None] = lambda traces: None,
) -> dict[Category, list[TracerParams]]:
    """Search `candidates` settings per category on its tasks; up to PORTFOLIO_SIZE settings each, best first.

    A category without a task has no entry. on_traces: told how many more were made.
    """
    portfolios: dict[Category, list[TracerParams]] = {}
    for index, category in enumerate(dict.fromkeys(t.logo.category for t in tasks)):
        members = [t for t in tasks if t.logo.category == category]
        rng = np.random.default_rng([seed, index])
        tried: list[TracerParams] = []
        table = np.zeros((0, len(members)))
        for count in generation_sizes(candidates):
            fresh = _candidates(tried, table, space, rng, count)
            table = np.vstack([table, measure_table(fresh, members, evaluator, objective, on_traces)])
            tried += fresh
        portfolios[category] = [tried[i] for i in greedy_portfolio(table, PORTFOLIO_SIZE)]
    return portfolios


def generation_sizes(candidates: int) -> list[int]:
    """How many settings are tried in each generation, at least one."""
    first = candidates // 3
    return [max(1, first), *[max(1, (candidates - first) // GENERATIONS)] * GENERATIONS]


def measure_table(
    settings: Sequence[TracerParams],
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    on_traces: Callable[[int], None] = lambda traces: None,
) -> NDArray[np.float64]:
    """Values of every setting on every task, 0 where the default stands: shape (len(settings), len(tasks))."""
    jobs = [Job(t.logo, p, objective.gate(0.0, t.scores)) for t in tasks for p in settings]
    evaluations = evaluate_all(jobs, evaluator, on_traces)
    table = np.zeros((len(tasks), len(settings)))
    for index, evaluation in enumerate(evaluations):
        task = tasks[index // len(settings)]
        value = value_of(objective, evaluation, task.scores)
        table[index // len(settings), index % len(settings)] = max(0.0, value or 0.0)
    return table.T


def greedy_portfolio(table: NDArray[np.float64], size: int) -> list[int]:
    """Rows of a table (settings x images, values 0 or more) in greedy order; stops when nothing more is gained."""
    chosen: list[int] = []
    best = np.zeros(table.shape[1])
    while len(chosen) < min(size, len(table)):
        gains = np.maximum(table, best).mean(axis=1) - best.mean()
        row = int(np.argmax(gains))
        if chosen and gains[row] <= 0:
            break
        chosen.append(row)
        best = np.maximum(best, table[row])
    return chosen


def _candidates(
    tried: Sequence[TracerParams],
    table: NDArray[np.float64],
    space: ParameterSpace,
    rng: np.random.Generator,
    count: int,
) -> list[TracerParams]:
    seen = set(tried)
    fresh: dict[TracerParams, None] = {}
    parents = [tried[i] for i in greedy_portfolio(table, PARENTS)]
    if not parents:
        fresh[space.canonical(DEFAULT_PARAMS)] = None
    for _ in range(50 * count):  # a small space may hold fewer settings than requested
        if len(fresh) == count:
            break
        params = (
            _mutated(parents[int(rng.integers(len(parents)))], space, rng)
            if parents
            else space.decode(rng.random(space.size))
        )
        if params not in seen:
            fresh[params] = None
    return list(fresh) or [space.canonical(DEFAULT_PARAMS)]


def _mutated(parent: TracerParams, space: ParameterSpace, rng: np.random.Generator) -> TracerParams:
    """One to three axes of the parent redrawn, near their value as often as anywhere."""
    unit = space.encode(parent).astype(np.float64)
    for axis in rng.permutation(space.size)[: rng.integers(1, 4)]:
        near = np.clip(unit[axis] + rng.normal(0, 0.15), 0, 1)
        unit[axis] = near if rng.random() < 0.5 else rng.random()
    return space.decode(unit)
