"""One tracing process as the pool sees it: what it was given, what it still owes, when it is late."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.core.errors import Unavailable
from pipeline.core.records import Evaluation, FailureKind
from pipeline.tracing.frames import Unpacker, forget_frame, image_frame, job_frame, parse_answer
from pipeline.tracing.pool import PoolTask

_START_SECONDS = 60.0
_PIECE = 1 << 18
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_OUT_OF_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "Cannot allocate memory")
"""What Rust, C++, Python and the C library say when the address-space limit is reached."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Of one worker.

    timeout_seconds: for one evaluation. memory_bytes: of address space. image_bytes: packed pixels that it keeps, the
    oldest are dropped first. background: `#rrggbb` that transparent images are scored on. rasteriser: what draws, a
    key of raster.DRAWINGS; None for the first.
    """

    timeout_seconds: float
    memory_bytes: int
    image_bytes: int
    background: str
    rasteriser: str | None


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
        self.messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        try:
            self.process = _spawn(limits, self.messages)
        except OSError as error:
            self.messages.close()
            raise Unavailable(f"a tracing worker cannot be started ({error.strerror}); close other programs") from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
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
        self.process.kill()
        status = self.process.wait()
        self.messages.seek(0)
        said = self.messages.read().decode(errors="replace").strip()
        self.messages.close()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        kind: FailureKind = "memory" if any(sign in said for sign in _OUT_OF_MEMORY) else "died"
        lines = said.splitlines() or ["no message"]
        # A Python traceback ends with what went wrong; all else begins with it.
        return (
            kind,
            f"the worker ended with status {status}: {lines[-1 if lines[0].startswith('Traceback') else 0][:500]}",
        )


def one_thread_environment() -> dict[str, str]:
    """Of a Python process that runs modules of this package, numeric libraries on one thread each."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
    return os.environ | dict.fromkeys(_THREADS, "1") | {"PYTHONPATH": path}


def _spawn(limits: WorkerLimits, messages: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "pipeline.tracing.worker"]
    command += ["--memory-bytes", str(limits.memory_bytes)]
    command += ["--timeout-seconds", str(limits.timeout_seconds), "--background", limits.background]
    command += ["--rasteriser", limits.rasteriser] if limits.rasteriser else []
    # A group of its own, so that Ctrl-C in the terminal reaches the pool's process only.
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=messages,
        bufsize=0,
        env=one_thread_environment() | {"RUST_BACKTRACE": "0"},
        process_group=0,
    )
