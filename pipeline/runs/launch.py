"""The record of a background training's process, `launch.json` in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import DataError
from pipeline.core.files import read_json, write_json

LAUNCH = "launch.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """overrides: settings that differed from params.yaml. cores, memory_bytes: what the training may use.

    pid, process_started_seconds: of the process that has the run or had it last. exit_code, error: how that process
    ended; None while it runs and after a kill. now: it does not wait for room.
    """

    run_id: str
    overrides: Mapping[str, Any]
    cores: int
    memory_bytes: int
    phase: Literal["starting", "waiting", "running", "ended"] = "starting"
    pid: int | None = None
    process_started_seconds: float | None = None
    exit_code: int | None = None
    error: str | None = None
    now: bool = False

    def write(self, folder: Path) -> None:
        write_json(folder / LAUNCH, asdict(self))


def read_launch(folder: Path) -> Launch | None:
    """None for a run that was not started in the background. Raises DataError for a damaged file."""
    if not (folder / LAUNCH).is_file():
        return None
    try:
        return Launch(**read_json(folder / LAUNCH, "tracewright runs start"))
    except TypeError as error:
        raise DataError(f"{folder / LAUNCH}: not a launch of this release ({error}); delete {folder}") from error
