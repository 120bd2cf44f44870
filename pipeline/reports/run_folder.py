"""What a run leaves in its own folder while it goes on: state, metrics, checkpoints. Whatever is missing is None."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import DataError
from pipeline.core.facts.training import CheckpointEntry
from pipeline.core.json_records import from_json
from pipeline.machine.sources import Machine
from pipeline.runs.launch import read_launch
from pipeline.runs.state import ACTIVE, RunState, process_of, state_of
from pipeline.runs.status import STATUS, RunStatus, read_status
from pipeline.tracking.journal import JOURNAL, records

INDEX = "checkpoints/index.json"
QUIET_SECONDS = 90.0
"""A training that wrote its status within this time counts as alive, even where its process cannot be seen (in another
container)."""

State = RunState | Literal["unknown"]


def read_state(folder: Path, now: float | None = None) -> tuple[RunStatus | None, State]:
    """The status of a run, None when none can be read, and the state of the run. now: Unix time."""
    status, launch = None, None
    with suppress(DataError):
        status = read_status(folder / STATUS)
    with suppress(DataError):
        launch = read_launch(folder)
    if status is None and launch is None:
        return None, "unknown"
    process = process_of(Machine(), status, launch)
    pid = process.pid if process else None
    if pid is None and status is not None and (launch is None or launch.exit_code is None):
        quiet_seconds = (time.time() if now is None else now) - status.updated_seconds
        if status.state in ACTIVE and quiet_seconds < QUIET_SECONDS:
            pid = status.pid
    return status, state_of(status, launch, pid)


def read_checkpoints(run_folder: Path) -> tuple[CheckpointEntry, ...]:
    """The training's index of its checkpoints, oldest first; it may be lost: then none."""
    try:
        entries = json.loads((run_folder / INDEX).read_text(encoding="utf-8"))["entries"]
        return from_json(tuple[CheckpointEntry, ...], entries)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return ()


SeriesPoint = tuple[int, float]
"""(step, value)"""


@dataclass
class JournalMetrics:
    """What a journal said so far. series: by metric, in the order of the steps. params: settings by dotted name.

    status: how the run ended, as its last record says. trouble: why no more of it can be read, for people.
    """

    series: dict[str, list[SeriesPoint]] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    started_seconds: float | None = None
    status: str | None = None
    failure: str | None = None
    trouble: str | None = None

    def last(self, name: str) -> float | None:
        points = self.series.get(name)
        return points[-1][1] if points else None


class JournalReader:
    """Reads a journal as it grows, each record once. Several threads may ask at the same time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._offset = 0
        self._metrics = JournalMetrics()
        self._lock = threading.Lock()

    def read(self) -> JournalMetrics:
        """All there is by now; nothing when there is no journal."""
        with self._lock:
            try:
                if self._path.stat().st_size < self._offset:  # another file of the same name
                    self._offset, self._metrics = 0, JournalMetrics()
                for record, offset in records(self._path, self._offset):
                    self._offset = offset
                    self._take_in(record)
                self._metrics.trouble = None
            except FileNotFoundError:
                pass
            except (DataError, OSError) as error:
                self._metrics.trouble = str(error)
            return self._metrics

    def _take_in(self, record: Mapping[str, Any]) -> None:
        metrics = self._metrics
        try:
            match record["kind"]:
                case "start":
                    metrics.params, metrics.tags = dict(record["params"]), dict(record["tags"])
                    if "time" in record:
                        metrics.started_seconds = record["time"] / 1000
                    metrics.status = None
                case "metrics":
                    if metrics.started_seconds is None:
                        metrics.started_seconds = record["time"] / 1000
                    for name, value in record["values"].items():
                        metrics.series.setdefault(str(name), []).append((int(record["step"]), float(value)))
                case "tags":
                    metrics.tags |= {str(name): str(value) for name, value in record["tags"].items()}
                case "resume":
                    metrics.status = None
                case "end":
                    metrics.status, metrics.failure = record["status"], record.get("failure")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{self._path}: a record of another release ({error!r})") from error
