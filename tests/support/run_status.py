"""Status files of runs, as a training writes them and as it does not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.runs.status import SCHEMA_VERSION, CategoryScores, CheckpointStatus, RunStatus, ValidationStatus
from tests.support.machine import NOW

STATUS = RunStatus(
    run="r1",
    pid=10,
    process_started_seconds=NOW - 100,
    state="training",
    seed=1,
    phase="training",
    timesteps=512,
    total_timesteps=12288,
    stages=4,
    steps_per_second=31.5,
    return_mean=0.42,
    success_rate=0.8,
    stage="text",
    stage_number=2,
    memory_bytes=900_000_000,
    failures={"panic": 2, "timeout": 1},
    ppo={"approx_kl": 0.01, "kl_greedy": 0.02},
    evaluations_asked=4000,
    evaluations_found=1000,
    nonfinite_metrics=0,
    replica_unsent_records=3,
    replica_lag_seconds=1.5,
    updated_seconds=NOW - 1,
    validation=ValidationStatus(
        timesteps=256,
        value=0.9,
        bytes_ratio=0.4,
        damage=0.75,
        damaged_ratio=0.05,
        by_category={
            "simple": CategoryScores(bytes_ratio=0.3, damaged_ratio=0.02),
            "text": CategoryScores(bytes_ratio=0.5, damaged_ratio=0.08),
        },
    ),
    checkpoint=CheckpointStatus(timesteps=384, saved_seconds=NOW - 30, save_seconds=0.02, bytes=300_000),
)
"""A training of process 10 in its second stage, written a second ago."""


def run_status(**changes: Any) -> RunStatus:
    return replace(STATUS, **changes)


def status_values(**changes: Any) -> dict[str, Any]:
    """As JSON, so that the changes may be of any kind."""
    return {"schema_version": SCHEMA_VERSION} | asdict(STATUS) | changes


def write_status_values(root: Path, run: str = "r1", **changes: Any) -> Path:
    """Into the run's folder of the project `root`, whole."""
    path = root / ".tracewright/runs" / run / "status.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(status_values(**changes)))
    temporary.replace(path)
    return path
