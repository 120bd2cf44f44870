"""The record of a run that its training keeps in `status.json`, for the exporter, the dashboard and the CLI to read.

docs/metrics.md lists the fields.
"""

from __future__ import annotations

import json
import math
import os
import stat
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pipeline.core.errors import DataError

STATUS = "status.json"
"""In the run's folder."""

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 18
MAX_KEYS = 16
"""In one mapping: a file cannot make thousands of series in Prometheus."""

MAX_CHARACTERS = 255

Phase = Literal["portfolios", "table", "surrogate", "searches", "stopping", "training"]
ReportedState = Literal["preparing", "training", "finished", "stopped", "failed"]
"""What a training says of itself. `pipeline.runs.state` says whether that still holds."""


class StatusError(DataError):
    """The file is missing, torn, or not a status of this release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryScores:
    bytes_ratio: float
    damaged_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationStatus:
    """Means of the latest validation. bytes_ratio: geometric, over the fair default's bytes. damage: in pixels.

    damaged_ratio: share of the images with visible damage. Both are None in the status of an older release.
    """

    timesteps: int
    value: float
    bytes_ratio: float
    by_category: Mapping[str, CategoryScores]
    damage: float | None = None
    damaged_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointStatus:
    """The latest checkpoint. saved_seconds: Unix time. save_seconds: what saving took."""

    timesteps: int
    saved_seconds: float
    save_seconds: float
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run as its training last described it. None is not known yet.

    process_started_seconds, updated_seconds: Unix time. stage_number: from 1 on. evaluations_found: of those
    requested, how many the store had. nonfinite_metrics: how many were refused. ppo: diagnostics of the latest
    update, by name. replica_*: writes that MLflow does not have yet, and the age of the oldest.
    """

    run: str
    pid: int
    process_started_seconds: float
    updated_seconds: float
    state: ReportedState
    seed: int
    phase: Phase
    total_timesteps: int
    stages: int
    timesteps: int = 0
    steps_per_second: float | None = None
    return_mean: float | None = None
    success_rate: float | None = None
    stage: str | None = None
    stage_number: int | None = None
    memory_bytes: int | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    evaluations_asked: int = 0
    evaluations_found: int = 0
    nonfinite_metrics: int = 0
    replica_unsent_records: int = 0
    replica_lag_seconds: float = 0.0
    ppo: Mapping[str, float] = field(default_factory=dict)
    validation: ValidationStatus | None = None
    checkpoint: CheckpointStatus | None = None

    @property
    def seconds_left(self) -> float | None:
        """At the latest rate; None while there is none, or nothing left to do."""
        left = self.total_timesteps - self.timesteps
        return left / self.steps_per_second if self.steps_per_second and left > 0 else None


def write_status(path: Path, status: RunStatus) -> None:
    """Replace the file. It is whole for every reader but not synced, so that no training waits for the disk.

    Raises OSError.
    """
    temporary = path.with_suffix(".new")
    values = {"schema_version": SCHEMA_VERSION} | asdict(status)
    temporary.write_text(json.dumps(values, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_status(path: Path) -> RunStatus:
    """Raises StatusError. Whatever the file holds, reading ends soon and every value has its type."""
    try:
        values = json.loads(_content(path))
        if not isinstance(values, dict) or values.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"not a status of schema version {SCHEMA_VERSION}")
        status: RunStatus = _parsed(RunStatus, values, "status")
    except (OSError, ValueError, RecursionError) as error:
        raise StatusError(f"{path}: {error}") from error
    return status


def _content(path: Path) -> bytes:
    """Of a regular file that is not too long: opening a pipe would wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(f"longer than {MAX_BYTES} bytes")
    return content


def _parsed(kind: Any, value: Any, name: str) -> Any:
    """A JSON value as the type `kind`. name: for the message. Raises ValueError where it is another type."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is types.UnionType:  # X | None
        return None if value is None else _parsed(parts[0], value, name)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        fields = {each: _parsed(hint, value[each], each) for each, hint in hints.items() if each in value}
        try:
            return kind(**fields)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error
    if origin is Mapping and isinstance(value, dict) and len(value) <= MAX_KEYS:
        return {_parsed(str, key, name): _parsed(parts[1], each, f"{name}.{key}") for key, each in value.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool) and -1e18 < value < 1e18
    if (
        (origin is Literal and isinstance(value, str) and value in parts)
        # A lone surrogate is not printable; it could not be encoded later.
        or (kind is str and isinstance(value, str) and value.isprintable() and len(value) <= MAX_CHARACTERS)
        or (kind is int and number and isinstance(value, int))
        or (kind is float and number and math.isfinite(value))
    ):
        return float(value) if kind is float else value
    raise ValueError(f"{name} is {str(value)[:80]!r}")
