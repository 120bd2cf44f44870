"""The trainings of a project: what their status files tell, held against the processes that there really are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from pipeline.core.errors import DataError
from pipeline.machine.processes import is_alive, read_tree
from pipeline.machine.readings import ProcessTree
from pipeline.machine.sources import Machine
from pipeline.runs.launch import LAUNCH, Launch, read_launch
from pipeline.runs.state import TROUBLE, RunState, process_of, state_of
from pipeline.runs.status import STATUS, RunStatus, StatusError, read_status

RUNS = Path(".tracewright/runs")
KEEP_SECONDS = 900.0
"""For which a run that is over is still shown, so that its last figures are scraped."""

KEEP_TROUBLE_SECONDS = 6 * 3600.0
"""For which one that failed or was killed is shown, so that somebody sees it."""

MOST_RUNS = 20
"""Shown at once; those that live come first, then the latest."""

FileId = tuple[int, int, int]
FileIds = tuple[FileId, FileId | None]
"""Of a run's status, and of its launch where there is one."""


@dataclass(frozen=True, slots=True)
class MonitoredRun:
    """A run that is shown. name: a label. tree: None where no process has it."""

    name: str
    status: RunStatus
    state: RunState
    status_age_seconds: float
    checkpoint_age_seconds: float | None
    tree: ProcessTree | None

    @property
    def alive(self) -> bool:
        return self.tree is not None


@dataclass(frozen=True, slots=True)
class Runs:
    """files: how many status files there are by condition: shown, expired, over_limit, unreadable."""

    shown: tuple[MonitoredRun, ...]
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Record:
    """What a run's files held when they were read. process: the one that had the run then; None for none."""

    files: FileIds
    status: RunStatus
    launch: Launch | None
    process: Any | None


class Ages:
    """How long ago something was, by a clock that never goes back: when it is first seen the Unix time is believed."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._seen: dict[tuple[str, str], tuple[float, float]] = {}

    def age(self, run: str, what: str, seconds: float) -> float:
        """seconds: the Unix time it was at."""
        known = self._seen.get((run, what))
        now = self._machine.monotonic()
        if known is None or known[0] != seconds:
            known = seconds, now - max(0.0, self._machine.clock() - seconds)
            self._seen[run, what] = known
        return now - known[1]

    def forget_all_but(self, runs: set[str]) -> None:
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in runs}


class RunsFolder:
    """`root/.tracewright/runs`. root: a project's folder."""

    def __init__(self, root: Path, machine: Machine) -> None:
        self._folder = root / RUNS
        self._machine = machine
        self._records: dict[str, _Record] = {}
        self._unreadable: dict[str, FileIds] = {}
        self._ages = Ages(machine)

    def read(self) -> Runs:
        """Raises OSError when the folder cannot be listed; one that does not exist has no runs."""
        files = dict(_run_files(self._folder))
        self._records = {name: record for name, record in self._records.items() if name in files}
        self._unreadable = {name: seen for name, seen in self._unreadable.items() if name in files}
        for name, seen in files.items():
            self._update(name, seen)
        self._ages.forget_all_but(set(files))
        shown = [run for name, record in self._records.items() if (run := self._run(name, record))]
        shown.sort(key=lambda run: (not run.alive, run.status_age_seconds))
        expired, over = len(self._records) - len(shown), max(0, len(shown) - MOST_RUNS)
        conditions = {"shown": len(shown) - over, "expired": expired, "over_limit": over}
        return Runs(tuple(shown[:MOST_RUNS]), conditions | {"unreadable": len(self._unreadable)})

    def _update(self, name: str, files: FileIds) -> None:
        """Read a run's files again, if they changed."""
        known = self._records.get(name)
        if self._unreadable.get(name) == files or (known and known.files == files):
            return
        folder = self._folder / name
        try:
            status = read_status(folder / STATUS)
        except StatusError:
            self._unreadable[name] = files
            self._records.pop(name, None)
            return
        self._unreadable.pop(name, None)
        try:
            launch = read_launch(folder)
        except DataError:  # `tracewright runs list` names it
            launch = None
        # A known process is kept: looked up again, its start would differ after the clock was set.
        same = known and known.launch == launch and _process_id(known.status) == _process_id(status)
        process = known.process if known and same else None
        self._records[name] = _Record(files, status, launch, process or process_of(self._machine, status, launch))

    def _run(self, name: str, record: _Record) -> MonitoredRun | None:
        """None for a run that has been over for long."""
        status = record.status
        alive = record.process is not None and is_alive(record.process)
        state = state_of(status, record.launch, record.process.pid if record.process and alive else None)
        tree = None
        if alive and state in ("preparing", "training"):  # else it waits, or trains the next seed
            tree = self._tree(record.process)
            if tree is None:  # it ended just now
                state = state_of(status, record.launch, None)
        status_age = self._ages.age(name, "status", status.updated_seconds)
        if tree is None and status_age > (KEEP_TROUBLE_SECONDS if state in TROUBLE else KEEP_SECONDS):
            return None
        saved = status.checkpoint
        return MonitoredRun(
            name=quote(os.fsencode(name)),  # a folder may have any name; a label is UTF-8, and two folders have two
            status=status,
            state=state,
            status_age_seconds=status_age,
            checkpoint_age_seconds=self._ages.age(name, "checkpoint", saved.saved_seconds) if saved else None,
            tree=tree,
        )

    def _tree(self, process: Any) -> ProcessTree | None:
        """None when the process has ended."""
        try:
            return read_tree(process)
        except psutil.Error:
            return None


def _process_id(status: RunStatus) -> tuple[int, float]:
    return status.pid, status.process_started_seconds


def _run_files(folder: Path) -> Iterator[tuple[str, FileIds]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        status = _file_id(Path(entry.path, STATUS))
        if status is not None:  # else no status yet, or the run was removed just now
            yield entry.name, (status, _file_id(Path(entry.path, LAUNCH)))


def _file_id(path: Path) -> FileId | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
