"""The file in which a training tells its state, `.tracewright/runs/<run>/status.json`, as a stranger would write it.

Whatever is in it, reading ends soon and gives values of the right kind, or StatusError.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.machine.readings import SavedCheckpoint, Status, Validation

SCHEMA_VERSION = 1
MAX_BYTES = 1 << 18
MOST_KINDS = 16
"""Kinds of failure, or categories, that are shown of one run."""

STATES = ("preparing", "training", "finished", "stopped", "failed")
LIVING_STATES = ("preparing", "training")
FAILURE_KINDS = ("panic", "died", "timeout", "memory", "empty", "unrenderable", "invalid")
"""Told as 0 before the first: a counter that begins at 1 has no increase."""

PHASES = ("portfolios", "table", "surrogate", "training")

FIGURES = (
    "timesteps",
    "total_timesteps",
    "steps_per_second",
    "return_mean",
    "success_rate",
    "stage_number",
    "stages",
    "evaluations_asked",
    "evaluations_found",
    "nonfinite_metrics",
    "replica_unsent_records",
    "replica_lag_seconds",
)
_OF_A_CATEGORY = ("bytes_ratio", "skill")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class StatusError(Exception):
    """The file is not there whole, or is none of this release."""


def read_status(path: Path) -> Status:
    """Raises StatusError, with the reason."""
    try:
        values = json.loads(_content(path))
    except (OSError, ValueError, RecursionError) as error:
        raise StatusError(f"{path}: {error}") from error
    if not isinstance(values, dict) or values.get("schema_version") != SCHEMA_VERSION:
        raise StatusError(f"{path}: is no status of this release")
    return _status(values, path)


def _content(path: Path) -> bytes:
    """Of a regular file that is not too long: opening a pipe would wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("is no file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(f"is longer than {MAX_BYTES} bytes")
    return content


def _status(values: Mapping[str, Any], path: Path) -> Status:
    pid, started, updated = (number(values.get(n)) for n in ("pid", "process_started_seconds", "updated_seconds"))
    state = values.get("state")
    if pid is None or started is None or updated is None or state not in STATES:
        raise StatusError(f"{path}: says not which process it is of, in which state, or when")
    validation, checkpoint = values.get("validation"), values.get("checkpoint")
    return Status(
        state=state,
        pid=int(pid),
        process_started_seconds=started,
        updated_seconds=updated,
        seed=_word(str(values.get("seed"))),
        phase=values["phase"] if values.get("phase") in PHASES else "other",
        stage=_word(values.get("stage")),
        figures=_numbers(values, FIGURES),
        failures=_numbers(values.get("failures"), None),
        validation=_validation(validation) if isinstance(validation, dict) else None,
        checkpoint=_checkpoint(checkpoint) if isinstance(checkpoint, dict) else None,
    )


def _validation(values: Mapping[str, Any]) -> Validation:
    categories = values.get("by_category")
    parts = categories.items() if isinstance(categories, dict) else ()
    named = [(name, _numbers(part, _OF_A_CATEGORY)) for name, part in parts if _word(name)]
    return Validation(
        timesteps=number(values.get("timesteps")),
        value=number(values.get("value")),
        bytes_ratio=number(values.get("bytes_ratio")),
        skill=number(values.get("skill")),
        ssim=number(values.get("ssim")),
        by_category=dict(named[:MOST_KINDS]),
    )


def _checkpoint(values: Mapping[str, Any]) -> SavedCheckpoint | None:
    saved = number(values.get("saved_seconds"))
    if saved is None:
        return None
    timesteps, save_seconds, size = (number(values.get(name)) for name in ("timesteps", "save_seconds", "bytes"))
    return SavedCheckpoint(timesteps, saved, save_seconds, size)


def _numbers(values: Any, names: tuple[str, ...] | None) -> dict[str, float]:
    """The numbers among `values`. names: None for any word, up to MOST_KINDS of them."""
    if not isinstance(values, dict):
        return {}
    chosen = [name for name in values if _word(name)][:MOST_KINDS] if names is None else names
    return {name: value for name in chosen if (value := number(values.get(name))) is not None}


def number(value: Any) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def _word(value: Any) -> str:
    """What may be a label's value; else the empty text."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""
