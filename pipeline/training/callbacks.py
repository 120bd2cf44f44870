"""Callbacks of a training, in the way of SB3's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.agent.agent import Agent
from pipeline.core.facts.training import (
    CheckpointProgress,
    PreparationProgress,
    RolloutProgress,
    StageResult,
    Validation,
)


class TrainingCallback:
    """Subclasses override what they need. What a hook raises ends the training."""

    def on_table(self, progress: PreparationProgress) -> None:
        """Before PPO: while portfolios are searched, the table is collected and the surrogate is fitted."""

    def on_progress(self, progress: RolloutProgress) -> None:
        """After each rollout."""

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        """After each validation, with the agent as it was then."""

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        """After each checkpoint that was written."""

    def on_stage(self, result: StageResult) -> None:
        """After each attempt at a stage of the curriculum."""


class CallbackList(TrainingCallback):
    """Hands each call on to several followers, in order. seconds: what they took in all."""

    def __init__(self, followers: Sequence[TrainingCallback]) -> None:
        self._followers = followers
        self.seconds = 0.0

    @contextmanager
    def _each(self) -> Iterator[Sequence[TrainingCallback]]:
        started = time.perf_counter()
        yield self._followers
        self.seconds += time.perf_counter() - started

    def on_table(self, progress: PreparationProgress) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_table(progress)

    def on_progress(self, progress: RolloutProgress) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_progress(progress)

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_validation(report, agent, is_best)

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_checkpoint(report)

    def on_stage(self, result: StageResult) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_stage(result)
