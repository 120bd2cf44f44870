"""The trainings of a project: what their status files tell, held against the processes that there really are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from monitoring.status import LIVING_STATES, StatusError, read_status
from pipeline.machine.processes import find_process, is_alive, read_tree
from pipeline.machine.readings import ProcessTree, Status, Training, Trainings
from pipeline.machine.sources import Machine

RUNS = Path(".tracewright/runs")
STATUS = "status.json"
KEEP_SECONDS = 900.0
"""For which a run that is over is still shown, so that its last figures are scraped."""

KEEP_TROUBLE_SECONDS = 6 * 3600.0
"""For which one that failed or is gone is shown, so that somebody sees it."""

MOST_RUNS = 20
"""Shown at once; those that live come first, then the latest."""

GONE = "gone"

FileId = tuple[int, int, int]


@dataclass(slots=True)
class _Run:
    """What is remembered of a status file. process: None when it had ended when the file was read."""

    file_id: FileId
    status: Status
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
        self._runs: dict[str, _Run] = {}
        self._unreadable: dict[str, FileId] = {}
        self._ages = Ages(machine)

    def read(self) -> Trainings:
        """Raises OSError when the folder cannot be listed; one that is not there has no runs."""
        files = dict(_status_files(self._folder))
        self._runs = {name: run for name, run in self._runs.items() if name in files}
        self._unreadable = {name: seen for name, seen in self._unreadable.items() if name in files}
        for name, (path, file_id) in files.items():
            self._take_in(name, path, file_id)
        self._ages.forget_all_but(set(files))
        shown = [training for name, run in self._runs.items() if (training := self._training(name, run))]
        shown.sort(key=lambda training: (not training.alive, training.status_age_seconds))
        expired, over = len(self._runs) - len(shown), max(0, len(shown) - MOST_RUNS)
        conditions = {"shown": len(shown) - over, "expired": expired, "over_limit": over}
        return Trainings(tuple(shown[:MOST_RUNS]), conditions | {"unreadable": len(self._unreadable)})

    def _take_in(self, name: str, path: Path, file_id: FileId) -> None:
        """Only a file that changed is read again."""
        known = self._runs.get(name)
        if self._unreadable.get(name) == file_id or (known and known.file_id == file_id):
            return
        try:
            status = read_status(path)
        except StatusError:
            self._unreadable[name] = file_id
            self._runs.pop(name, None)
            return
        self._unreadable.pop(name, None)
        process = known.process if known and _same_process(known.status, status) else None
        self._runs[name] = _Run(file_id, status, process or self._process_of(status))

    def _process_of(self, status: Status) -> Any | None:
        return find_process(self._machine, status.pid, status.process_started_seconds)

    def _training(self, name: str, run: _Run) -> Training | None:
        """None for a run that is over since long."""
        living = run.status.state in LIVING_STATES
        tree = self._tree(run) if living else None  # one process may train several runs, one after another
        state = GONE if living and tree is None else run.status.state
        status_age = self._ages.age(name, "status", run.status.updated_seconds)
        if tree is None and status_age > (KEEP_TROUBLE_SECONDS if state in (GONE, "failed") else KEEP_SECONDS):
            return None
        saved = run.status.checkpoint
        return Training(
            run=_label(name),
            status=run.status,
            state=state,
            status_age_seconds=status_age,
            checkpoint_age_seconds=self._ages.age(name, "checkpoint", saved.saved_seconds) if saved else None,
            tree=tree,
        )

    def _tree(self, run: _Run) -> ProcessTree | None:
        """None when the process has ended."""
        if run.process is None or not is_alive(run.process):
            return None
        try:
            return read_tree(self._machine, run.process)
        except psutil.Error:  # it ended just now
            return None


def _same_process(one: Status, other: Status) -> bool:
    return (one.pid, one.process_started_seconds) == (other.pid, other.process_started_seconds)


def _status_files(folder: Path) -> Iterator[tuple[str, tuple[Path, FileId]]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        path = Path(entry.path, STATUS)
        try:
            found = path.lstat()
        except OSError:  # no status yet, or the run was removed just now
            continue
        yield entry.name, (path, (found.st_ino, found.st_mtime_ns, found.st_size))


def _label(name: str) -> str:
    """A folder may have any name; a label is UTF-8, and two folders have two."""
    return quote(os.fsencode(name))
