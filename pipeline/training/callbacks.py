"""What a follower of a training may do, in the way of SB3's callbacks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.agent.agent import Agent

Report = dict[str, Any]


class Hooks:
    """Every method may be left as it is. What a hook raises ends the training."""

    def on_table(self, progress: Report) -> None:
        """While the table for the surrogate is collected and fitted: what, done, total, seconds."""

    def on_progress(self, progress: Report) -> None:
        """After each rollout: timesteps, total_timesteps, stage, return_mean, success_rate, steps_per_second, ..."""

    def on_validation(self, report: Report, agent: Agent, is_best: bool) -> None:
        """After each validation, with the agent as it was then."""

    def on_checkpoint(self, report: Report) -> None:
        """After each checkpoint: timesteps, saved_seconds (since 1970), save_seconds, bytes."""

    def on_stage(self, result: Report) -> None:
        """After each attempt at a stage of the curriculum."""


class Followers(Hooks):
    """Hands each call on to several followers, in order. seconds: what they took in all."""

    def __init__(self, followers: Sequence[Hooks]) -> None:
        self._followers = followers
        self.seconds = 0.0

    @contextmanager
    def _each(self) -> Iterator[Sequence[Hooks]]:
        started = time.perf_counter()
        yield self._followers
        self.seconds += time.perf_counter() - started

    def on_table(self, progress: Report) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_table(progress)

    def on_progress(self, progress: Report) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_progress(progress)

    def on_validation(self, report: Report, agent: Agent, is_best: bool) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_validation(report, agent, is_best)

    def on_checkpoint(self, report: Report) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_checkpoint(report)

    def on_stage(self, result: Report) -> None:
        with self._each() as followers:
            for follower in followers:
                follower.on_stage(result)
