"""Runs that left checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.runs.resume import TrainingOrigin
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_store import CheckpointStore
from tests.support.fakes import settings_with

OLDER, NEWER = "20260101-000000-aaaa", "20260102-000000-bbbb"


def state(timesteps: int, **metrics: float) -> Checkpoint:
    summary = {"timesteps": timesteps, "seed": 1, "phase": "training", "metrics": metrics}
    stages = [{"name": "simple", "attempts": 2, "passed": True, "seconds": 1.5}]
    facts = {"summary": summary, "stages": stages, "settings": {"experiment": "x"}}
    return Checkpoint(facts, {"weights": np.zeros((2, 3), np.float32)})


def run_of(project: Path, name: str, values: list[float], *, delivered: bool = False, keep_last: int = 9) -> Path:
    """A run with a checkpoint for each value, at 10, 20, ... steps."""
    folder = project / ".tracewright" / "runs" / name
    store = CheckpointStore(folder, settings_with(checkpoints__keep_last=keep_last).checkpoints)
    for number, value in enumerate(values, 1):
        store.save(state(10 * number, value=value), "validation")
    TrainingOrigin({"seed": "1"}, delivered=delivered).write(folder)
    return folder
