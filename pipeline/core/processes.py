"""Child processes: a child ends with its parent, and a parent stops its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol, TypeVar

from pipeline.core.errors import Stopped
from pipeline.core.stop_signals import sigterm_when_parent_ends


class Process(Protocol):
    """A child process, on this machine or another; subprocess.Popen is one."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def wait(self, timeout: float) -> int: ...


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_Process = TypeVar("_Process", bound=Process)


class ModuleProcess:
    """A module of this package as a process, with pipes to and from it, and numeric libraries on one thread each.

    Ctrl-C in the terminal reaches the parent only, which decides. input, output: the pipes' descriptors. Raises OSError
    when it cannot be started.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH", "")) if p)
        variables = dict.fromkeys(_THREADS, "1") | {"PYTHONPATH": path, "RUST_BACKTRACE": "0"}
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        try:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                bufsize=0,
                env=os.environ | variables,
                process_group=0,
            )
        except OSError:
            self._messages.close()
            raise
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.input, self.output = self.popen.stdin.fileno(), self.popen.stdout.fileno()

    @property
    def pid(self) -> int:
        return self.popen.pid

    def end(self) -> tuple[str, list[str]]:
        """Waits for its end and frees what it held; how it ended, as `describe_exit` says, and what it said."""
        status = self.popen.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        for pipe in (self.popen.stdin, self.popen.stdout, self._messages):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        return describe_exit(status), lines


def end_with_parent(parent: int | None = None) -> None:
    """Called in a child: SIGTERM comes when its parent ends. Raises Stopped when the parent has ended already.

    parent: its process id; without it, a child of process 1 counts as an orphan.
    """
    sigterm_when_parent_ends()
    if os.getppid() == 1 if parent is None else os.getppid() != parent:
        raise Stopped("stopped: the parent process has ended")


def stop_processes(processes: Iterable[_Process], patience_seconds: float) -> list[_Process]:
    """Send SIGTERM to all and wait for all; returns those that have not ended after `patience_seconds`."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    until = time.monotonic() + patience_seconds
    alive = []
    for process in processes:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            alive.append(process)
    return alive


def describe_exit(status: int) -> str:
    """How a process with this exit status ended, as `was ended by SIGKILL` or `ended with status 1`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
