"""The shard processes of one machine: each takes the next shard when it is free, and may die.

A shard whose process died runs again; after a second death its files run one by one, so that a file that ends every
process costs only itself.
"""

from __future__ import annotations

import json
import os
import selectors
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from pipeline.core.errors import TracewrightError, Unavailable
from pipeline.core.processes import ModuleProcess, stop_processes
from pipeline.vectorizing.batch import VectorizeResult, failed_result
from pipeline.vectorizing.plan import Plan
from pipeline.vectorizing.request import Assignment
from pipeline.vectorizing.table import Tally, tally_of, write_part

MOST_DEATHS = 2
START_ATTEMPTS = 3
CHECK_SECONDS = 0.25
STOP_SECONDS = 10.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard, or with `only` one file of it by its place."""

    shard: int
    only: int | None = None

    def to_line(self) -> bytes:
        return (json.dumps({"shard": self.shard} | ({} if self.only is None else {"only": self.only})) + "\n").encode()


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """files: done since the last report on this shard. tally: of the whole shard, once its part is written."""

    shard: int
    files: int
    tally: Tally | None = None


@dataclass(eq=False, slots=True)
class ShardProcess:
    """order: what it works on. files: those of the order that it has reported."""

    process: ModuleProcess
    ready: bool = False
    order: ShardTask | None = None
    files: int = 0
    unread: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls, assignment: Assignment) -> Self:
        started = cls(ModuleProcess("pipeline.vectorizing.process", str(os.getpid())))
        started._write(assignment.to_line().encode())
        return started

    def give(self, order: ShardTask) -> None:
        self.order, self.files = order, 0
        self._write(order.to_line())

    def answers(self) -> list[dict[str, Any]] | None:
        """The new lines of its output; None when it has ended."""
        piece = os.read(self.process.output, _PIECE)
        if not piece:
            return None
        *lines, self.unread = (self.unread + piece).split(b"\n")
        return [json.loads(line) for line in lines]

    def last_words(self) -> str:
        """Of a process that has ended: its signal or exit status, and the last line of its messages."""
        how, lines = self.process.end()
        return f"{how} ({lines[-1][:300]})" if lines else how

    def _write(self, line: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended, and its output tells next
            os.write(self.process.input, line)


class ShardPool:
    """Use it with `with`, from one thread.

    check_stop: called several times a second; an exception from it ends the work, and half-done shards are lost.
    """

    def __init__(
        self, plan: Plan, assignment: Assignment, workers: int, check_stop: Callable[[], None] = lambda: None
    ) -> None:
        self._plan, self._assignment, self._workers, self._check_stop = plan, assignment, workers, check_stop
        self._selector = selectors.DefaultSelector()
        self._processes: list[ShardProcess] = []
        self._failed_starts = 0
        self._deaths: Counter[ShardTask] = Counter()
        self._single_results: dict[int, dict[int, VectorizeResult]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the processes; what they were working on is left as it is."""
        for process in stop_processes((p.process.popen for p in self._processes), STOP_SECONDS):
            process.kill()
        for member in self._processes:
            member.process.end()
        self._processes.clear()
        self._selector.close()

    @property
    def pids(self) -> list[int]:
        return [process.process.pid for process in self._processes]

    def run(self, shards: Iterable[int]) -> Iterator[ShardProgress]:
        """Vectorises these shards; of each, the last report has the tally.

        Raises StorageError and any other error that a shard process reports, and Unavailable when none can be started.
        """
        waiting = iter(shards)
        again: deque[ShardTask] = deque()
        while True:
            self._check_stop()
            self._hand_out(waiting, again)
            if not any(process.order for process in self._processes):
                return
            for key, _ in self._selector.select(CHECK_SECONDS):
                process: ShardProcess = key.data
                answers = process.answers()
                if answers is None:
                    yield from self._bury(process, again)
                    continue
                for answer in answers:
                    yield from self._take(process, answer)

    def _hand_out(self, waiting: Iterator[int], again: deque[ShardTask]) -> None:
        """Give every free process an order while there are any; start the missing processes."""
        free = [process for process in self._processes if process.order is None]
        for number in range(len(free) + self._workers - len(self._processes)):
            order = again.popleft() if again else next((ShardTask(shard) for shard in waiting), None)
            if order is None:
                return
            if number < len(free):
                process = free[number]
            else:
                process = ShardProcess.start(self._assignment)
                self._processes.append(process)
                self._selector.register(process.process.output, selectors.EVENT_READ, process)
            process.give(order)

    def _take(self, process: ShardProcess, answer: dict[str, Any]) -> Iterator[ShardProgress]:
        if "error" in answer:
            error = TracewrightError(answer["error"])
            error.exit_code = answer["exit_code"]
            raise error
        if "ready" in answer:
            process.ready, self._failed_starts = True, 0
            return
        order = process.order
        assert order is not None
        if "files" in answer:
            process.files += answer["files"]
            yield ShardProgress(order.shard, answer["files"])
            return
        process.order = None
        if "tally" in answer:
            yield ShardProgress(order.shard, 0, Tally(**answer["tally"]))
        else:
            yield self._add_single(order, VectorizeResult(**answer["result"]))

    def _bury(self, process: ShardProcess, again: deque[ShardTask]) -> Iterator[ShardProgress]:
        """A process has ended: its order runs again, or file by file, or fails."""
        self._processes.remove(process)
        self._selector.unregister(process.process.output)
        how = process.last_words()
        order = process.order
        if not process.ready:
            self._failed_starts += 1
            if self._failed_starts >= START_ATTEMPTS:
                raise Unavailable(f"shard processes do not start: the last {how}")
        if order is None:
            return
        if process.files:
            yield ShardProgress(order.shard, -process.files)
        self._deaths[order] += process.ready
        if self._deaths[order] < MOST_DEATHS:
            again.appendleft(order)
        elif order.only is None:
            self._single_results[order.shard] = {}
            again.extend(ShardTask(order.shard, place) for place in range(self._plan.count(order.shard)))
        else:
            path = self._plan.entries(order.shard)[order.only].path
            detail = f"the process that worked on it {how}, twice; save it again as PNG"
            yield self._add_single(order, failed_result(path, "crashed", detail))

    def _add_single(self, order: ShardTask, result: VectorizeResult) -> ShardProgress:
        """Collects the results of a shard that runs file by file; the last one completes its part."""
        assert order.only is not None
        found = self._single_results[order.shard]
        found[order.only] = result
        if len(found) < self._plan.count(order.shard):
            return ShardProgress(order.shard, 1)
        results = [found[place] for place in sorted(self._single_results.pop(order.shard))]
        write_part(self._plan.part(order.shard), results)
        return ShardProgress(order.shard, 1, tally_of(results))
