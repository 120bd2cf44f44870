"""Child processes: a child ends with its parent, and a parent stops its children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from typing import Protocol, TypeVar

from pipeline.core.errors import Stopped
from pipeline.core.stop_signals import sigterm_when_parent_ends


class Process(Protocol):
    """A child process, on this machine or another; subprocess.Popen is one."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def wait(self, timeout: float) -> int: ...


_Process = TypeVar("_Process", bound=Process)


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
