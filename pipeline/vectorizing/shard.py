"""One shard, from its list to its part: what a shard process does."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.agent.agent import load_agent
from pipeline.core.errors import Unavailable
from pipeline.data.images import path_of
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.vectorizing.batch import Result, Source, failed_result, vectorize_files, with_objective
from pipeline.vectorizing.disk import place, sync_disk
from pipeline.vectorizing.inputs import Entry
from pipeline.vectorizing.plan import PLAN, SVGS, Plan, open_plan
from pipeline.vectorizing.table import write_part


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a shard process needs to know, as plain values. output, agent: folders. digest: of the plan."""

    output: str
    digest: str
    agent: str
    objective: str | None
    target: float | None
    traces: int
    seed: int


def visible_plan(assignment: Assignment) -> Plan:
    """The plan as this machine sees it. Raises Unavailable where it is another or none."""
    output = Path(assignment.output)
    plan = open_plan(output)
    if plan is None or plan.digest != assignment.digest:
        raise Unavailable(
            f"{socket.gethostname()} does not see this run's plan at {output / PLAN}; images, model and output must "
            "lie on a file system that all machines share"
        )
    return plan


class ShardWorker:
    """The agent, and one tracing process below it; use it with `with`. Raises as `visible_plan` and `load_agent`."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.plan = visible_plan(assignment)
        agent = load_agent(Path(assignment.agent))
        self._agent = with_objective(agent, assignment.objective, assignment.target)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        agent = self._agent
        pool = TracerPool(1, agent.timeout_seconds, agent.worker_memory_bytes, agent.background)
        self._pool = self._stack.enter_context(pool)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def results(self, entries: Sequence[Entry]) -> Iterator[Result]:
        """A result for each, in order, its SVG written before it; on the disk for certain after `sync_disk`."""
        usable: list[Source] = []
        turned_away: dict[int, Result] = {}
        for number, entry in enumerate(entries):
            error = entry.error or (f"changed: {change}" if (change := entry.change()) else None)
            if error:
                turned_away[number] = Result(path=entry.path, status="failed", error=error)
            else:
                usable.append(Source(path_of(entry.file), entry.path, entry.svg))
        given = self._assignment
        done = vectorize_files(
            usable,
            self.plan.output / SVGS,
            self._agent,
            self._pool,
            traces=given.traces,
            seed=given.seed,
            write=place,
        )
        for number in range(len(entries)):
            yield turned_away[number] if number in turned_away else next(done)

    def do(self, shard: int) -> Iterator[Result]:
        """The same of a whole shard; its part is there when the last result has been taken."""
        results: list[Result] = []
        for result in self.results(self.plan.entries(shard)):
            results.append(result)
            yield result
        sync_disk(self.plan.output)
        write_part(self.plan.part(shard), results)


def crashed(entry: Entry, how: str) -> Result:
    """Of a file that ended the process that was at it."""
    return failed_result(entry.path, "crashed", f"the process that worked on it {how}, twice; save it again as PNG")
