"""A process and all below it."""

from __future__ import annotations

from typing import Any

import psutil

from pipeline.machine.readings import ProcessTree
from pipeline.machine.sources import Machine

MOST_PROCESSES = 1024
"""Of one tree that are looked at."""

START_TOLERANCE_SECONDS = 2.0
"""Two processes with one number do not start within this; every reader gets the same start for one process."""


def find_process(machine: Machine, pid: int, started_seconds: float) -> Any | None:
    """The process `pid` that began at that Unix time; None when it has ended, or another has its number by now."""
    try:
        process = machine.psutil.Process(pid)
        same = abs(process.create_time() - started_seconds) <= START_TOLERANCE_SECONDS
    except (psutil.Error, ValueError, OverflowError):  # the latter two for numbers that no process can have
        return None
    return process if same and is_alive(process) else None


def is_alive(process: Any) -> bool:
    """Whether it is still that process, and is not only waiting to be reaped."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def read_tree(root: Any) -> ProcessTree:
    """Sums over `root` and all below it; one that ends meanwhile is left out.

    Raises psutil.NoSuchProcess when the root itself has ended.
    """
    pids, cpu_seconds, resident_bytes, threads = {root.pid}, 0.0, 0, 0
    open_files: int | None = 0
    for process in (root, *root.children(recursive=True)[:MOST_PROCESSES]):
        try:
            with process.oneshot():
                times, memory, its_threads = process.cpu_times(), process.memory_info().rss, process.num_threads()
        except psutil.Error:
            if process is root:
                raise
            continue
        pids.add(process.pid)
        # Those that ended and were waited for live on in their parent's times of children.
        cpu_seconds += times.user + times.system + times.children_user + times.children_system
        resident_bytes += memory
        threads += its_threads
        its_files = _open_files(process)
        open_files = None if open_files is None or its_files is None else open_files + its_files
    return ProcessTree(frozenset(pids), cpu_seconds, resident_bytes, threads, open_files)


def _open_files(process: Any) -> int | None:
    """None where it may not be looked into; 0 for one that has just ended."""
    try:
        return int(process.num_fds())
    except psutil.AccessDenied:
        return None
    except (psutil.Error, OSError):
        return 0
