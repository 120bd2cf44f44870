"""What a run leaves in its own folder while it goes on: state, metrics, checkpoints. Whatever is missing is None."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core.errors import DataError
from pipeline.core.facts.training import CheckpointEntry
from pipeline.core.json_records import from_json
from pipeline.tracking.journal import JOURNAL, records

STATUS, INDEX = "status.json", "checkpoints/index.json"
QUIET_SECONDS = 90.0
"""A training that wrote its status so lately goes on, even where its process cannot be seen (another container)."""

State = Literal["running", "finished", "stopped", "failed", "killed", "unknown"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class LastValidation(Part):
    timesteps: int
    value: float | None = None
    bytes_ratio: float | None = None
    skill: float | None = None
    ssim: float | None = None
    by_category: dict[str, dict[str, float]] = Field(default_factory=dict)


class LastCheckpoint(Part):
    timesteps: int | None = None
    name: str | None = None
    saved_seconds: float | None = None
    save_seconds: float | None = None
    bytes: int | None = None
    reason: str | None = None


class Status(Part):
    """status.json: the training's state of the moment."""

    state: str
    run: str | None = None
    pid: int | None = None
    process_started_seconds: float | None = None
    updated_seconds: float = 0.0
    seed: int | None = None
    phase: str | None = None
    timesteps: int = 0
    total_timesteps: int = 0
    stage: str | None = None
    stage_number: int | None = None
    stages: int | None = None
    steps_per_second: float | None = None
    return_mean: float | None = None
    success_rate: float | None = None
    memory_bytes: int | None = None
    failures: dict[str, int] = Field(default_factory=dict)
    evaluations_asked: int | None = None
    evaluations_found: int | None = None
    nonfinite_metrics: int | None = None
    validation: LastValidation | None = None
    checkpoint: LastCheckpoint | None = None

    @property
    def seconds_left(self) -> float | None:
        """At the latest rate; None while nothing is known of it."""
        left = self.total_timesteps - self.timesteps
        return left / self.steps_per_second if self.steps_per_second and left > 0 else None


def read_status(folder: Path) -> Status | None:
    """None when there is none, or none that can be read."""
    try:
        return Status.model_validate_json((folder / STATUS).read_bytes())
    except (OSError, ValidationError):
        return None


def state_of(status: Status | None, now: float | None = None) -> State:
    """What became of a run; killed: it says that it goes on, and nobody is there who would."""
    if status is None:
        return "unknown"
    match status.state:
        case "finished" | "stopped" | "failed" as ended:
            return ended
        case "preparing" | "training":
            lately = (time.time() if now is None else now) - status.updated_seconds < QUIET_SECONDS
            return "running" if lately or _process_lives(status) else "killed"
        case _:
            return "unknown"


def _process_lives(status: Status) -> bool:
    if status.pid is None or status.process_started_seconds is None:
        return False
    try:
        started = psutil.Process(status.pid).create_time()
    except (psutil.Error, ValueError):
        return False
    return abs(started - status.process_started_seconds) < 2


def read_checkpoints(run_folder: Path) -> tuple[CheckpointEntry, ...]:
    """The training's index of its checkpoints, oldest first; it may be lost: then none."""
    try:
        entries = json.loads((run_folder / INDEX).read_text(encoding="utf-8"))["entries"]
        return from_json(tuple[CheckpointEntry, ...], entries)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return ()


Point = tuple[int, float]
"""(step, value)"""


@dataclass
class Metrics:
    """What a journal said so far. series: by metric, in the order of the steps. params: settings by dotted name.

    status: how the run ended, as its last record says. trouble: why no more of it can be read, for people.
    """

    series: dict[str, list[Point]] = field(default_factory=dict)
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
        self._metrics = Metrics()
        self._lock = threading.Lock()

    def read(self) -> Metrics:
        """All there is by now; nothing when there is no journal."""
        with self._lock:
            try:
                if self._path.stat().st_size < self._offset:  # another file of the same name
                    self._offset, self._metrics = 0, Metrics()
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
