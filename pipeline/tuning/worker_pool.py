"""The worker processes of a study, on this machine or on the nodes of a Ray cluster, where an actor starts and watches
each. All nodes must share the project's folder, which is checked before their workers begin.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.cluster import CHECK_SECONDS, ProcessLostError, answer_to, ray_module
from pipeline.core.errors import TracewrightError, Unavailable
from pipeline.core.files import read_json
from pipeline.core.processes import Process, stop_processes
from pipeline.tracing.store_pool import STORE_VARIABLE

START_SECONDS = 60.0
STOP_SECONDS = 60.0
MOST_RESTARTS = 3
"""Of killed workers, in all: more kills are no accident."""


@dataclass(slots=True)
class WorkerPool:
    """The workers of one call. start: starts another one. log: their output."""

    start: Callable[[], Process]
    workers: int
    log: Path
    running: dict[int, Process] = field(default_factory=dict)
    restarts: int = 0

    def __post_init__(self) -> None:
        for number in range(self.workers):
            self.running[number] = self.start()

    def is_running(self) -> bool:
        """Whether any worker is; restarts one that was killed. Raises TracewrightError when the last has failed."""
        for number, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[number]
            if code < 0 and self.restarts < MOST_RESTARTS:
                self.restarts += 1
                self.running[number] = self.start()
            elif code and not self.running:
                lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = lines[-1] if lines else "nothing"
                error = TracewrightError(f"the workers failed; {self.log} has their output, which ends with: {last}")
                error.exit_code = code if code > 0 else Unavailable.exit_code
                raise error
        return bool(self.running)

    def stop(self) -> bool:
        """Asks all to interrupt their trials and end; whether they did."""
        alive = stop_processes(self.running.values(), STOP_SECONDS)
        self.running = {number: process for number, process in self.running.items() if process in alive}
        return not alive


def start_worker(root: str, order: str, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A worker's process on this machine. order: for its standard input. log: its output is appended there."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tuning.worker"],
            cwd=root,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the command alone, which passes it on
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(order)
    return process


@dataclass(frozen=True, slots=True)
class RemoteTask:
    """The message to an actor.

    order: JSON, for the worker's standard input. mark: a file of the study that every node must see, and its content.
    host: the machine on which the command was given.
    """

    root: str
    order: str
    log: str
    mark: tuple[str, Mapping[str, Any]]
    host: str


class WorkerActor:
    """Runs one worker on a node of the cluster."""

    def __init__(self, remote: RemoteTask) -> None:
        here = socket.gethostname()
        path, content = remote.mark
        if not Path(path).is_file() or read_json(Path(path), "tracewright tune") != content:
            raise Unavailable(
                f"{here} of the Ray cluster does not see {path}; put the project on a file system that all "
                "nodes share, at the same path"
            )
        environment = dict(os.environ)
        if here != remote.host:
            # SQLite's write-ahead log does not work between machines.
            environment[STORE_VARIABLE] = str(Path(tempfile.gettempdir()) / f"tracewright-{os.getuid()}.sqlite")
        self._process = start_worker(remote.root, remote.order, Path(remote.log), environment)

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()


class RemoteWorker:
    """A worker on the cluster, as a Process. Losing its node counts as a kill."""

    def __init__(self, remote: RemoteTask, cpus: int) -> None:
        self._ray = ray_module()
        self._order = remote
        self._remote = self._ray.remote(num_cpus=cpus, max_restarts=0, scheduling_strategy="SPREAD")(WorkerActor)
        self._deadline = time.monotonic() + START_SECONDS
        self._trouble = f"the Ray cluster had no free CPU for {START_SECONDS:.0f} s"
        self._has_started = False
        self._code: int | None = None
        self._start()

    def _start(self) -> None:
        self._actor = self._remote.remote(self._order)
        self._answer = self._actor.poll.remote()

    def poll(self) -> int | None:
        """Its exit code once it has ended; that of SIGKILL when its node was lost."""
        if self._code is not None:
            return self._code
        if not self._ray.wait([self._answer], timeout=0)[0]:
            if not self._has_started and time.monotonic() > self._deadline:
                self._give_up()
            return self._code
        try:
            code = answer_to(self._answer)
        except ProcessLostError as error:
            if self._has_started:
                self._end(-signal.SIGKILL)
            elif time.monotonic() < self._deadline:
                self._trouble = error.reason
                self._start()  # the cluster may have chosen a node whose loss it had not noticed yet
            else:
                self._give_up()
            return self._code
        self._has_started = True
        if code is None:
            self._answer = self._actor.poll.remote()
        else:
            self._end(code)
        return self._code

    def terminate(self) -> None:
        if self._code is None:
            self._actor.terminate.remote()

    def wait(self, timeout: float) -> int:
        """Raises subprocess.TimeoutExpired when it has not ended by then."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("pipeline.tuning.worker", timeout)
            time.sleep(CHECK_SECONDS)
        return code

    def _give_up(self) -> None:
        with Path(self._order.log).open("a", encoding="utf-8") as log:
            log.write(f"{self._trouble}\n")
        self._end(Unavailable.exit_code)

    def _end(self, code: int) -> None:
        self._code = code
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)


def cpus_per_worker(nodes: Sequence[int], workers: int) -> int:
    """The most CPUs that each worker can have on a single node; 0 when they do not fit. nodes: the CPUs of each."""
    fitting = [cpus for cpus in range(1, max(nodes, default=0) + 1) if sum(n // cpus for n in nodes) >= workers]
    return max(fitting, default=0)
