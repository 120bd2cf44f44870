"""One shard, from its list of files to its part: what a shard process does."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

from pipeline.core.errors import Unavailable
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.vectorizing.batch import ImageFile, VectorizeResult, vectorize_files
from pipeline.vectorizing.disk import sync_disk, write_unsynced
from pipeline.vectorizing.inputs import Entry
from pipeline.vectorizing.plan import PLAN, Plan, open_plan
from pipeline.vectorizing.request import Assignment
from pipeline.vectorizing.table import write_part


def visible_plan(assignment: Assignment) -> Plan:
    """The plan as this machine sees it. Raises Unavailable when there is none here, or another one."""
    output = assignment.request.output
    plan = open_plan(output)
    if plan is None or plan.digest != assignment.digest:
        raise Unavailable(
            f"{socket.gethostname()} does not see this run's plan at {output / PLAN}; put images, model and output on "
            "a file system that all machines share"
        )
    return plan


class ShardWorker:
    """The agent and one tracing process below it; use it with `with`. Raises as `visible_plan` and `load_agent`."""

    def __init__(self, assignment: Assignment) -> None:
        self._request = assignment.request
        self.plan = visible_plan(assignment)
        self._agent = self._request.load_agent()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        agent = self._agent
        pool = TracerPool(1, agent.timeout_seconds, agent.worker_memory_bytes, agent.background)
        self._pool = self._stack.enter_context(pool)
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def vectorize(self, entries: Sequence[Entry]) -> Iterator[VectorizeResult]:
        """A result for each entry, in order, after its SVG was written; on the disk for certain after `sync_disk`."""
        usable: list[ImageFile] = []
        rejected: dict[int, VectorizeResult] = {}
        for number, entry in enumerate(entries):
            error = entry.error or (f"changed: {change}" if (change := entry.change()) else None)
            if error:
                rejected[number] = VectorizeResult(path=entry.path, status="failed", error=error)
            else:
                usable.append(ImageFile.of(entry))
        results = vectorize_files(
            usable,
            self.plan.output,
            self._agent,
            self._pool,
            traces=self._request.traces,
            seed=self._request.seed,
            options=self._request.options,
            write=write_unsynced,
        )
        for number in range(len(entries)):
            yield rejected[number] if number in rejected else next(results)

    def vectorize_shard(self, shard: int) -> Iterator[VectorizeResult]:
        """The results of a whole shard; its part is written once the last one is taken."""
        results: list[VectorizeResult] = []
        for result in self.vectorize(self.plan.entries(shard)):
            results.append(result)
            yield result
        sync_disk(self.plan.output)
        write_part(self.plan.part(shard), results)
