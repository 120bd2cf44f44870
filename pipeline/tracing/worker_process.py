"""One tracing process as the pool sees it: what it was given, what it still owes, when it is late."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from contextlib import suppress

from pipeline.core.errors import Unavailable
from pipeline.core.processes import ModuleProcess
from pipeline.core.records import Evaluation, FailureKind
from pipeline.tracing.frames import Unpacker, forget_frame, image_frame, job_frame, parse_answer
from pipeline.tracing.pool import PoolTask, WorkerLimits

_START_SECONDS = 60.0
_PIECE = 1 << 18
_OUT_OF_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "Cannot allocate memory")
"""What Rust, C++, Python and the C library say when the address-space limit is reached."""


class Worker:
    """The pool's end of one process: what it was given, what it still owes, when it is late."""

    def __init__(self, limits: WorkerLimits) -> None:
        self.limits = limits
        self.ready = False
        self.versions: dict[str, str] = {}
        self.tasks: deque[PoolTask] = deque()
        self.outgoing = bytearray()
        self._since = time.monotonic()
        self.deadline = self._since + _START_SECONDS
        self.held: OrderedDict[str, int] = OrderedDict()  # digest -> bytes, in the order of last use
        self._unpacker = Unpacker()
        arguments = ["--memory-bytes", str(limits.memory_bytes), "--timeout-seconds", str(limits.timeout_seconds)]
        arguments += ["--background", limits.background]
        arguments += ["--rasteriser", limits.rasteriser] if limits.rasteriser else []
        try:
            self.process = ModuleProcess("pipeline.tracing.worker", *arguments)
        except OSError as error:
            raise Unavailable(f"a tracing worker cannot be started ({error.strerror}); close other programs") from error
        self.input, self.output = self.process.input, self.process.output
        os.set_blocking(self.input, False)

    def give(self, task: PoolTask) -> None:
        """Queue a job, preceded by its image where this worker does not hold it."""
        job = task.job
        if job.logo.digest not in self.held:
            self.held[job.logo.digest] = len(job.logo.packed)
            self.outgoing += image_frame(job)
        self.held.move_to_end(job.logo.digest)
        # Frames are handled in order, so an image that a job in the queue needs is dropped after that job only.
        self.outgoing += job_frame(job)
        while sum(self.held.values()) > self.limits.image_bytes and len(self.held) > 1:
            self.outgoing += forget_frame(self.held.popitem(last=False)[0])
        if not self.tasks:
            self._restart_clock()
        self.tasks.append(task)

    def send(self) -> None:
        """As much as the pipe takes. A worker that is gone shows when it is read."""
        with suppress(BrokenPipeError, BlockingIOError):
            del self.outgoing[: os.write(self.input, self.outgoing)]
            self._restart_clock()  # It cannot have begun with what its caller was slow to send.

    def receive(self) -> list[tuple[PoolTask, Evaluation]] | None:
        """The evaluations that arrived; None when the process has ended."""
        piece = os.read(self.output, _PIECE)
        if not piece:
            return None
        self._restart_clock()  # It writes when a job is done: the next one starts, or its caller was slow to read.
        answers: list[tuple[PoolTask, Evaluation]] = []
        for frame in self._unpacker.feed(piece):
            if not self.ready:
                self.ready, self.versions = True, frame[0]["versions"]
                continue
            task = self.tasks.popleft()
            answers.append((task, parse_answer(task.job, frame)))
        return answers

    def seconds_at_task(self) -> float:
        return time.monotonic() - self._since

    def _restart_clock(self) -> None:
        self._since = time.monotonic()
        self.deadline = self._since + self.limits.timeout_seconds

    @property
    def waits_until(self) -> float:
        """When to give it up; never while it has nothing to do."""
        return self.deadline if self.tasks or not self.ready else float("inf")

    def stop(self) -> tuple[FailureKind, str]:
        """End the process and free what it held; why it ended, where it had ended by itself."""
        self.process.popen.kill()
        how, lines = self.process.end()
        said = "\n".join(lines)
        kind: FailureKind = "memory" if any(sign in said for sign in _OUT_OF_MEMORY) else "died"
        # A Python traceback ends with what went wrong; all else begins with it.
        shown = lines[-1 if said.startswith("Traceback") else 0][:500] if lines else "no message"
        return kind, f"the worker {how}: {shown}"
