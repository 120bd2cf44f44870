"""The trainings of a project as a person asks for them: which there are, how far each is, how good so far.

Read from their status files, journals and processes, so that it is true after a kill, and no training waits for it.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.core.errors import DataError
from pipeline.machine.sources import Machine
from pipeline.runs.background import describe, runs_folder
from pipeline.runs.launch import read_launch
from pipeline.runs.state import ACTIVE, RunState, process_of, state_of
from pipeline.runs.status import STATUS, StatusError, read_status
from pipeline.tracking.journal import JOURNAL, records

DVC_SECONDS = 60.0
_MACHINE = Machine()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run. process: None when it has ended. seconds_left: None where nothing tells.

    best_value, best_bytes_ratio: of the validation with the highest value so far. trouble: why it failed, if it did.
    """

    run_id: str
    state: RunState
    phase: str
    timesteps: int
    total_timesteps: int
    seconds_left: float | None
    best_value: float | None
    best_bytes_ratio: float | None
    overrides: str
    process: psutil.Process | None
    trouble: str | None = None

    @property
    def progress_ratio(self) -> float:
        return min(1.0, self.timesteps / self.total_timesteps) if self.total_timesteps else 0.0


def trainings(root: Path) -> Iterator[RunSummary]:
    """Newest first. A folder that tells nothing of a training is left out."""
    for folder in sorted(runs_folder(root).glob("*/"), reverse=True):
        found = training_in(folder)
        if found is not None:
            yield found


def training(root: Path, run_id: str) -> RunSummary:
    """Raises DataError when there is none of that name."""
    found = training_in(runs_folder(root) / run_id) if run_id and "/" not in run_id and ".." not in run_id else None
    if found is None:
        raise DataError(f"there is no run {run_id!r}; `tracewright runs list` shows those there are")
    return found


def training_in(folder: Path) -> RunSummary | None:
    """None when the folder tells of none."""
    trouble = None
    try:
        launch = read_launch(folder)
    except DataError as error:
        launch, trouble = None, str(error)
    try:
        status = read_status(folder / STATUS)
    except StatusError:
        status = None
    if launch is None and status is None:
        return None
    process = process_of(_MACHINE, status, launch)
    state = state_of(status, launch, process.pid if process else None)
    best = _best(folder)
    return RunSummary(
        run_id=folder.name,
        state=state,
        phase=status.phase if status and state in ACTIVE else "",
        timesteps=status.timesteps if status else 0,
        total_timesteps=status.total_timesteps if status else 0,
        seconds_left=status.seconds_left if status and state == "training" else None,
        best_value=best[0] if best else None,
        best_bytes_ratio=best[1] if best else None,
        overrides=describe(launch.overrides) if launch else "",
        process=process,
        trouble=trouble or (launch.error if launch and state == "failed" else None),
    )


def _best(folder: Path) -> tuple[float, float | None] | None:
    """The highest value among the validations in the journal, and the ratio of bytes there."""
    best: tuple[float, float | None] | None = None
    try:
        for record, _ in records(folder / JOURNAL, 0):
            values = record["values"] if record["kind"] == "metrics" else {}
            value = values.get("val/value", math.nan)
            if value > (best[0] if best else -math.inf):
                best = value, values.get("val/bytes_ratio")
    except (OSError, DataError, KeyError, TypeError, AttributeError):
        return best  # no journal yet, or a damaged one, which `tracewright doctor` names
    return best


def dvc_queue(root: Path) -> list[str]:
    """The lines of `dvc queue status`; none where nothing was ever queued, or DVC does not answer."""
    if not (root / ".dvc/tmp/exps/celery").is_dir():
        return []
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "queue", "status"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=DVC_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ["(dvc queue status does not answer)"]
    return [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("No experiment")]
