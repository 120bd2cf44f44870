"""Callbacks of a training: a line in the terminal, the run's journal, and its status file."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from tqdm import tqdm

from pipeline.agent.agent import Agent
from pipeline.core.errors import StorageError
from pipeline.core.facts.training import (
    CheckpointProgress,
    PreparationProgress,
    RolloutProgress,
    StageResult,
    Validation,
)
from pipeline.machine.history import Recorder
from pipeline.machine.samples import system_metrics
from pipeline.runs.state import state_after
from pipeline.runs.status import STATUS, CategoryScores, CheckpointStatus, RunStatus, ValidationStatus, write_status
from pipeline.tracking.run import Run
from pipeline.training.callbacks import TrainingCallback

CHARTED = (
    "value",
    "bytes_ratio",
    "damaged_ratio",
    "damage",
    "ssim",
    "target_reached_ratio",
    "stability",
    "consistency",
)

_log = logging.getLogger(__name__)


class ProgressBar(TrainingCallback):
    """A line in the terminal: timesteps, speed, time left, how the agent does."""

    def __init__(self, total_timesteps: int, kind: type[tqdm[Any]] = tqdm, disable: bool | None = None) -> None:
        """disable: None for no line where there is no terminal."""
        self._bar = kind(total=total_timesteps, unit="step", desc="train", smoothing=0.1, disable=disable)

    def on_table(self, progress: PreparationProgress) -> None:
        self._bar.set_postfix_str(f"{progress.phase}: {progress.done} of {progress.total}")

    def on_progress(self, progress: RolloutProgress) -> None:
        self._bar.total = max(self._bar.total or 0, progress.timesteps)  # a stage that is retried adds to it
        self._bar.update(progress.timesteps - self._bar.n)
        if progress.return_mean is not None:
            self._bar.set_postfix(stage=progress.stage, gain=f"{progress.return_mean:.3f}")

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        ratio = report.bytes_ratio
        star = " (best so far)" if is_best else ""
        self._bar.write(
            f"validation at {report.timesteps} steps: {ratio.mean:.3f} of the default's bytes "
            f"[{ratio.low:.3f}, {ratio.high:.3f}], {report.damaged_ratio:.0%} of {report.images} images visibly "
            f"damaged{star}"
        )

    def on_stage(self, result: StageResult) -> None:
        passed = "passed" if result.passed else "not passed"
        rate = result.success_rate
        reached = "no episode ended" if rate is None else f"{rate:.0%} of episodes reached the goal"
        self._bar.write(f"stage {result.name}: {reached}, {result.pass_rate:.0%} required: {passed}")

    def close(self) -> None:
        self._bar.close()


def _diagnostics(progress: RolloutProgress) -> dict[str, float]:
    """Those of PPO that are known."""
    values = asdict(progress.ppo) if progress.ppo else {}
    return {name: value for name, value in values.items() if value is not None}


class TrackingCallback(TrainingCallback):
    """Writes what happens, and how the machine does, to the run's journal, and keeps the validated agents as models.

    best_only: only the best is kept, by `keep` at the end.
    """

    def __init__(self, run: Run, recorder: Recorder, *, best_only: bool = False) -> None:
        self._run, self._recorder, self._best_only = run, recorder, best_only

    def on_progress(self, progress: RolloutProgress) -> None:
        names = ("return_mean", "success_rate", "steps_per_second", "memory_bytes")
        metrics = {f"train/{name}": value for name in names if (value := getattr(progress, name)) is not None}
        metrics |= {f"failures/{kind}": count for kind, count in progress.failures.items()}
        metrics |= {f"ppo/{name}": value for name, value in _diagnostics(progress).items()}
        if self._recorder.latest is not None:
            metrics |= system_metrics(self._recorder.latest)
        self._run.log_metrics(metrics, progress.timesteps)

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        self._run.log_metrics(validation_metrics(report), report.timesteps)
        if self._best_only:
            return
        try:
            self.keep(agent, report)
        except StorageError as error:  # it is tried again at the end, and the best is in the checkpoints
            _log.warning("the agent at %d steps is not logged: %s", report.timesteps, error)

    def keep(self, agent: Agent, report: Validation) -> None:
        """Log a validated agent, unless it is logged already. Raises StorageError."""
        with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
            digest = agent.save(Path(folder))
            self._run.log_model(
                Path(folder),
                name=model_name(self._run.run_id, report.timesteps),
                step=report.timesteps,
                params={"weights_sha256": digest},
                metrics=validation_metrics(report),
                dataset="val",
            )

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        self._run.log_metrics({"checkpoint/save_seconds": report.save_seconds}, report.timesteps)

    def on_stage(self, result: StageResult) -> None:
        rate = result.success_rate
        self._run.set_tags({f"stage/{result.name}": "passed" if result.passed else f"not passed ({rate})"})


class StatusCallback(TrainingCallback):
    """Rewrites `folder/status.json` during the training. Where the disk refuses, only the file is lost.

    As a context manager it records at the end how the training ended.

    stages: their names, in order. evaluations: how many were requested, and how many of them the store had. refused:
    how many metrics were not finite. behind: how many writes MLflow lacks, and the age of the oldest in seconds.
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
        self._status = RunStatus(
            run=folder.name,
            pid=os.getpid(),
            process_started_seconds=psutil.Process().create_time(),
            updated_seconds=time.time(),
            state="preparing",
            seed=seed,
            phase="portfolios",
            total_timesteps=total_timesteps,
            stages=len(stages),
        )
        self._write()

    def on_table(self, progress: PreparationProgress) -> None:
        self._write(phase=progress.phase)

    def on_progress(self, progress: RolloutProgress) -> None:
        names = ("timesteps", "steps_per_second", "return_mean", "success_rate", "stage", "failures", "memory_bytes")
        number = self._stages.index(progress.stage) + 1 if progress.stage in self._stages else None
        values = {name: getattr(progress, name) for name in names}
        self._write(state="training", phase="training", stage_number=number, ppo=_diagnostics(progress), **values)

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        validation = ValidationStatus(
            timesteps=report.timesteps,
            value=report.value.mean,
            bytes_ratio=report.bytes_ratio.mean,
            damage=report.damage.mean,
            damaged_ratio=report.damaged_ratio,
            by_category={
                category: CategoryScores(bytes_ratio=part.bytes_ratio.mean, damaged_ratio=part.damaged_ratio)
                for category, part in report.by_category.items()
            },
        )
        self._write(validation=validation)

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        self._write(checkpoint=CheckpointStatus(**asdict(report)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    def close(self, error: BaseException | None) -> None:
        """error: what the training ended with."""
        self._write(state=state_after(error))

    def _write(self, **changes: Any) -> None:
        asked, found = self._evaluations()
        unsent, lag_seconds = self._behind()
        self._status = replace(
            self._status,
            updated_seconds=time.time(),
            evaluations_asked=asked,
            evaluations_found=found,
            nonfinite_metrics=self._refused(),
            replica_unsent_records=unsent,
            replica_lag_seconds=lag_seconds,
            **changes,
        )
        try:
            write_status(self._path, self._status)
        except OSError as error:
            _log.warning("%s: not written (%s)", self._path, error.strerror)


def model_name(run_id: str, timesteps: int) -> str:
    """Of the model that a run validated at so many timesteps."""
    return f"{run_id}-step-{timesteps}"


def validation_metrics(report: Validation) -> dict[str, float]:
    """The figures of a validation that a person charts; train.json and the report have them all."""
    figures = report.figures()
    metrics = {f"val/{name}": figures[name] for name in CHARTED if name in figures}
    return metrics | {f"val/bytes_ratio/{c}": part.bytes_ratio.mean for c, part in report.by_category.items()}
