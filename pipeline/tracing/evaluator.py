"""What evaluates jobs, as everything above tracing knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.core.records import Evaluation, Job


class Pending(Protocol):
    """Evaluations under way. done: whether `collect` would return at once."""

    @property
    def done(self) -> bool: ...

    def collect(self) -> list[Evaluation]: ...


class Evaluator(Protocol):
    """What everything above tracing depends on: a pool, a store in front of one, or a fake in tests."""

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]: ...

    def submit(self, jobs: Sequence[Job]) -> Pending: ...

    def submit_each(self, jobs: Sequence[Job]) -> Sequence[Pending]:
        """One for each job, to be collected as they are done."""
        ...

    def wait(self, pending: Sequence[Pending]) -> None:
        """Until at least one of these is done."""
        ...
