"""A training's state of the moment in a small file, for who watches it: docs/metrics.md says what is in it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from pipeline.agent.agent import Agent
from pipeline.core.errors import Stopped
from pipeline.core.facts.training import CheckpointProgress, PreparationProgress, RolloutProgress, Validation
from pipeline.core.json_records import to_json
from pipeline.training.callbacks import Hooks

STATUS = "status.json"
SCHEMA_VERSION = 1

_VALIDATED = ("value", "bytes_ratio", "skill", "ssim")
_OF_A_CATEGORY = ("bytes_ratio", "skill")

_log = logging.getLogger(__name__)


class Status(Hooks):
    """Rewrites `folder/status.json` as the training goes on. A disk that refuses costs the file only.

    As a context manager it says at the end what the training came to.

    stages: their names, in order. evaluations: how many were asked for and found so far. refused: how many metrics
    were not finite so far. behind: how many writes MLflow has not got, and the age of the oldest in seconds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        total_timesteps: int,
        stages: list[str],
        evaluations: Callable[[], tuple[int, int]],
        refused: Callable[[], int],
        behind: Callable[[], tuple[int, float]],
    ) -> None:
        self._path = folder / STATUS
        self._stages, self._evaluations, self._refused, self._behind = stages, evaluations, refused, behind
        self._values: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "run": folder.name,
            "pid": os.getpid(),
            "process_started_seconds": psutil.Process().create_time(),
            "state": "preparing",
            "seed": seed,
            "phase": "portfolios",
            "timesteps": 0,
            "total_timesteps": total_timesteps,
            "stages": len(stages),
        }
        empty = ("steps_per_second", "return_mean", "success_rate", "stage", "stage_number", "memory_bytes")
        self._values |= dict.fromkeys((*empty, "validation", "checkpoint")) | {"failures": {}}
        self._write()

    def on_table(self, progress: PreparationProgress) -> None:
        self._write(phase=progress.phase)

    def on_progress(self, progress: RolloutProgress) -> None:
        names = ("timesteps", "steps_per_second", "return_mean", "success_rate", "stage", "failures", "memory_bytes")
        number = self._stages.index(progress.stage) + 1 if progress.stage in self._stages else None
        self._write(
            state="training", phase="training", stage_number=number, **{name: getattr(progress, name) for name in names}
        )

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        validation: dict[str, Any] = {"timesteps": report.timesteps} | {
            name: report.figures()[name] for name in _VALIDATED
        }
        validation["by_category"] = {
            category: {name: part.figures()[name] for name in _OF_A_CATEGORY}
            for category, part in report.by_category.items()
        }
        self._write(validation=validation)

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        self._write(checkpoint=to_json(report))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None) -> None:
        """error: what the training ended with."""
        self._write(state=_state_after(error))

    def _write(self, **changes: Any) -> None:
        asked, found = self._evaluations()
        unsent, lag_seconds = self._behind()
        self._values |= changes
        self._values |= {
            "updated_seconds": time.time(),
            "evaluations_asked": asked,
            "evaluations_found": found,
            "nonfinite_metrics": self._refused(),
            "replica_unsent_records": unsent,
            "replica_lag_seconds": lag_seconds,
        }
        # Whole for every reader, but not synced: it is worth nothing after a crash, and no training waits for it.
        temporary = self._path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(self._values, allow_nan=False) + "\n", encoding="utf-8")
            temporary.replace(self._path)
        except OSError as error:
            _log.warning("%s: not written (%s)", self._path, error.strerror)


def _state_after(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    return "stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"
