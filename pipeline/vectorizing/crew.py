"""The shard processes of one machine: each takes the next shard when it is done, and may die.

A shard whose process ended is done again; the second time its files are done one by one, so that one that ends every
process costs itself only.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Self

from pipeline.core.errors import TracewrightError, Unavailable
from pipeline.tracing.worker_process import one_thread_environment
from pipeline.vectorizing.batch import Result
from pipeline.vectorizing.plan import Plan
from pipeline.vectorizing.shard import Assignment, crashed
from pipeline.vectorizing.table import Tally, tally_of, write_part

MOST_DEATHS = 2
START_ATTEMPTS = 3
CHECK_SECONDS = 0.25
STOP_SECONDS = 10.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Order:
    """A shard to be done, or one file of it by its place."""

    shard: int
    only: int | None = None

    def line(self) -> bytes:
        return (json.dumps({"shard": self.shard} | ({} if self.only is None else {"only": self.only})) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Done:
    """How far a shard is. files: done since the last word of it. tally: of the whole of it, once its part is there."""

    shard: int
    files: int
    tally: Tally | None = None


@dataclass(eq=False, slots=True)
class Member:
    """One process. order: what it is at. told: files of it that are done."""

    process: subprocess.Popen[bytes]
    messages: IO[bytes]
    ready: bool = False
    order: Order | None = None
    told: int = 0
    unread: bytearray = field(default_factory=bytearray)

    def answers(self) -> list[dict[str, Any]] | None:
        """What it said; None when it has ended."""
        assert self.process.stdout is not None
        piece = os.read(self.process.stdout.fileno(), _PIECE)
        if not piece:
            return None
        *lines, self.unread = (self.unread + piece).split(b"\n")
        return [json.loads(line) for line in lines]

    def give(self, order: Order) -> None:
        assert self.process.stdin is not None
        self.order, self.told = order, 0
        with suppress(BrokenPipeError):  # It has ended, which its output tells next.
            self.process.stdin.write(order.line())

    def how_it_ended(self) -> str:
        """For a process that has ended: by which signal or status, and its last words."""
        status = self.process.wait()
        self.messages.seek(0)
        said = self.messages.read().decode(errors="replace").strip().splitlines()
        how = f"was ended by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"
        return f"{how} ({said[-1][:300]})" if said else how

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.messages):
            assert pipe is not None
            pipe.close()


class Crew:
    """So many shard processes; use it with `with`, from one thread.

    check_stop: called several times a second; what it raises ends the work, and shards that are half done are lost.
    """

    def __init__(
        self, plan: Plan, assignment: Assignment, workers: int, check_stop: Callable[[], None] = lambda: None
    ) -> None:
        self._plan, self._assignment, self._check_stop = plan, assignment, check_stop
        self._selector = selectors.DefaultSelector()
        self._members: list[Member] = []
        self._failed_starts = 0
        self._deaths: Counter[Order] = Counter()
        self._singles: dict[int, dict[int, Result]] = {}
        self._workers = workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes: what they were at is left as it is."""
        for member in self._members:
            member.process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for member in self._members:
            try:
                member.process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
            member.close()
        self._members.clear()
        self._selector.close()

    @property
    def pids(self) -> list[int]:
        return [member.process.pid for member in self._members]

    def run(self, shards: Iterable[int]) -> Iterator[Done]:
        """Do these shards; says how far each is, `tally` last.

        Raises StorageError and what else ends a shard process with a word, and Unavailable when none can be started.
        """
        waiting = iter(shards)
        again: deque[Order] = deque()
        while True:
            self._check_stop()
            self._hand_out(waiting, again)
            if not any(member.order for member in self._members):
                return
            for key, _ in self._selector.select(CHECK_SECONDS):
                member: Member = key.data
                answers = member.answers()
                if answers is None:
                    yield from self._lost(member, again)
                    continue
                for answer in answers:
                    yield from self._heard(member, answer)

    def _hand_out(self, waiting: Iterator[int], again: deque[Order]) -> None:
        """Give everyone who has nothing an order, while there are any; start those who are missing."""
        idle = [member for member in self._members if member.order is None]
        for number in range(len(idle) + self._workers - len(self._members)):
            order = again.popleft() if again else next((Order(shard) for shard in waiting), None)
            if order is None:
                return
            member = idle[number] if number < len(idle) else self._start()
            member.give(order)

    def _start(self) -> Member:
        messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the member
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.vectorizing.process", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            bufsize=0,
            env=one_thread_environment(),
            process_group=0,  # Ctrl-C reaches this process alone, which passes it on.
        )
        member = Member(process, messages)
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write((json.dumps(asdict(self._assignment)) + "\n").encode())
        self._members.append(member)
        self._selector.register(process.stdout, selectors.EVENT_READ, member)
        return member

    def _heard(self, member: Member, answer: dict[str, Any]) -> Iterator[Done]:
        if "error" in answer:
            error = TracewrightError(answer["error"])
            error.exit_code = answer["exit_code"]
            raise error
        if "ready" in answer:
            member.ready, self._failed_starts = True, 0
            return
        order = member.order
        assert order is not None
        if "files" in answer:
            member.told += answer["files"]
            yield Done(order.shard, answer["files"])
            return
        member.order = None
        if "tally" in answer:
            yield Done(order.shard, 0, Tally(**answer["tally"]))
        else:
            yield self._single(order, Result(**answer["result"]))

    def _lost(self, member: Member, again: deque[Order]) -> Iterator[Done]:
        """A process has ended: what it was at is done again, its files one by one, or given up."""
        assert member.process.stdout is not None
        self._members.remove(member)
        self._selector.unregister(member.process.stdout)
        how = member.how_it_ended()
        member.close()
        order = member.order
        if not member.ready:
            self._failed_starts += 1
            if self._failed_starts >= START_ATTEMPTS:
                raise Unavailable(f"shard processes do not start: the last {how}")
        if order is None:
            return
        if member.told:
            yield Done(order.shard, -member.told)
        self._deaths[order] += member.ready
        if self._deaths[order] < MOST_DEATHS:
            again.appendleft(order)
        elif order.only is None:
            self._singles[order.shard] = {}
            again.extend(Order(order.shard, place) for place in range(self._plan.count(order.shard)))
        else:
            yield self._single(order, crashed(self._plan.entries(order.shard)[order.only], how))

    def _single(self, order: Order, result: Result) -> Done:
        """Takes in one file of a shard that is done file by file; the last writes its part."""
        assert order.only is not None
        known = self._singles[order.shard]
        known[order.only] = result
        if len(known) < self._plan.count(order.shard):
            return Done(order.shard, 1)
        results = [known[place] for place in sorted(self._singles.pop(order.shard))]
        write_part(self._plan.part(order.shard), results)
        return Done(order.shard, 1, tally_of(results))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
