"""What the benchmarks of searches share: logos in groups, an agent, and a note of all that a search asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.jobs import pool_of
from benchmarks.logos import PROJECT, square_logos
from pipeline.data.probe import MEASURE_NAMES
from pipeline.records import Evaluation, Job, Logo
from pipeline.rl.agent import Agent, build_policy, load_agent
from pipeline.rl.episode import Task
from pipeline.rl.features import Normaliser, observation_size
from pipeline.rl.train import objective_from
from pipeline.search.portfolio import find_portfolios
from pipeline.search.tasks import make_tasks
from pipeline.settings import load_settings
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.workers import Evaluator, Pending

GROUP = 16
TRACES = 8
CANDIDATES = 24


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

    folder: of a trained agent; None makes one whose policy is untrained, with openings found on 16 other logos.
    """
    logos = square_logos(GROUP * (groups + 1))
    dealt = [logos[start : start + GROUP] for start in range(0, len(logos), GROUP)]
    if len(dealt) <= groups or len(dealt[groups]) < GROUP:
        raise SystemExit(f"{GROUP * (groups + 1)} logos are needed, {len(logos)} were found; ask for fewer blocks")
    return dealt[:groups], load_agent(folder) if folder else untrained_agent(dealt[groups], space)


def untrained_agent(logos: Sequence[Logo], space: ParameterSpace) -> Agent:
    """Openings as params.yaml's objective `smaller` has them; a policy that refines at random around them."""
    settings = load_settings(PROJECT / "params.yaml")
    objective = objective_from(settings.objective.model_copy(update={"name": "smaller"}))
    with pool_of(2) as pool:
        portfolios = find_portfolios(
            ready_tasks(logos, pool), pool, objective, space, candidates=CANDIDATES, seed=settings.train.seed
        )
    torch.manual_seed(settings.train.seed)
    size = observation_size(len(MEASURE_NAMES), space.size)
    return Agent(
        policy=build_policy(space, settings.train.ppo.hidden_units, settings.train.ppo.initial_std),
        normaliser=Normaliser(np.zeros(size), np.ones(size)),
        space=space,
        objective=objective,
        trained_for="smaller",
        portfolios={"smaller": portfolios},
        n_openings=settings.train.openings,
        max_steps=TRACES,
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
