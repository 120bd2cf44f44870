"""What the benchmarks of searches share: logos in groups, an agent, and a note of all that a search asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.jobs import pool_of
from benchmarks.logos import PROJECT, square_logos
from pipeline.agent.agent import Agent, load_agent
from pipeline.agent.objectives import objective_from
from pipeline.agent.screen import Screen
from pipeline.agent.task import Task
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Job, Logo
from pipeline.search.portfolio import find_portfolios
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import load_settings
from pipeline.tracing.evaluator import Evaluator, Pending
from pipeline.tracing.space import ParameterSpace
from pipeline.training.surrogate_fit import fit_surrogate
from pipeline.training.table import collect

GROUP = 16
TRACES = 8
CANDIDATES = 24
TABLE_TRACES = 24
SURROGATE_STEPS = 200


class Recorder:
    """Passes jobs on and keeps them, batch by batch."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.batches: list[Sequence[Job]] = []

    @property
    def jobs(self) -> list[Job]:
        return [job for batch in self.batches for job in batch]

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        return self.submit(jobs).collect()

    def submit(self, jobs: Sequence[Job]) -> Pending:
        self.batches.append(jobs)
        return self._evaluator.submit(jobs)

    def submit_each(self, jobs: Sequence[Job]) -> Sequence[Pending]:
        self.batches.append(jobs)
        return self._evaluator.submit_each(jobs)

    def wait(self, pending: Sequence[Pending]) -> None:
        self._evaluator.wait(pending)


def groups_and_agent(groups: int, space: ParameterSpace, folder: Path | None) -> tuple[list[list[Logo]], Agent]:
    """`groups` times 16 logos, four of each category, and an agent that has seen none of them.

    folder: of a trained agent; None makes one without a policy, with a surrogate fitted on 16 other logos.
    """
    logos = square_logos(GROUP * (groups + 1))
    dealt = [logos[start : start + GROUP] for start in range(0, len(logos), GROUP)]
    if len(dealt) <= groups or len(dealt[groups]) < GROUP:
        raise SystemExit(f"{GROUP * (groups + 1)} logos are needed, {len(logos)} were found; ask for fewer blocks")
    return dealt[:groups], load_agent(folder) if folder else untrained_agent(dealt[groups], space)


def untrained_agent(logos: Sequence[Logo], space: ParameterSpace) -> Agent:
    """For params.yaml's objective `faithful`; its policy takes what a surrogate of these logos finds most promising."""
    settings = load_settings(PROJECT / "params.yaml")
    objective = objective_from(settings.objective.model_copy(update={"name": "faithful"}))
    train = settings.train
    with pool_of(2) as pool:
        tasks = ready_tasks(logos, pool)
        portfolios = find_portfolios(tasks, pool, objective, space, candidates=CANDIDATES, seed=train.seed)
        table, banks = collect(tasks, pool, objective, space, per_image=TABLE_TRACES, seed=train.seed)
    default = space.encode(DEFAULT_PARAMS)
    surrogate = fit_surrogate(table, space, default, steps=SURROGATE_STEPS, seed=train.seed)
    return Agent(
        policy=None,
        screen=Screen(surrogate, space, banks, train.shortlist),
        objective=objective,
        trained_for="faithful",
        portfolios={"faithful": portfolios},
        max_steps=TRACES,
        stopping_rule=None,
        trace_price=train.trace_price,
        background=settings.data.background,
        timeout_seconds=settings.compute.timeout_seconds,
        worker_memory_bytes=settings.compute.worker_memory_bytes,
    )


def ready_tasks(logos: Sequence[Logo], evaluator: Evaluator) -> list[Task]:
    """Raises SystemExit where VTracer's default fails."""
    background = load_settings(PROJECT / "params.yaml").data.background
    tasks, failures = make_tasks(logos, evaluator, background)
    if failures:
        raise SystemExit(f"VTracer's default fails on {failures[0][0].name}; take other logos")
    return tasks
