from __future__ import annotations

import logging
import os
from dataclasses import asdict, replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import psutil
import pytest

from pipeline.core.errors import DataError, Stopped
from pipeline.core.facts.training import CheckpointProgress, PreparationProgress
from pipeline.runs.callbacks import StatusCallback
from pipeline.runs.status import STATUS, CategoryScores, CheckpointStatus, RunStatus, ValidationStatus, read_status
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import train
from tests.support.facts import rollout_progress, validation
from tests.support.fakes import FakeEvaluator
from tests.support.tiny_training import TRAIN, VAL, tiny


class Counted:
    """Counts of evaluations, of metrics that were refused, and of writes that MLflow lacks."""

    asked = found = refused = 0
    behind = (0, 0.0)


def status_in(folder: Path, counted: Counted | None = None) -> StatusCallback:
    counted = counted or Counted()
    folder.mkdir(exist_ok=True)
    return StatusCallback(
        folder,
        seed=7,
        total_timesteps=512,
        stages=["simple", "text", "gradient", "complex"],
        evaluations=lambda: (counted.asked, counted.found),
        refused=lambda: counted.refused,
        behind=lambda: counted.behind,
    )


def read(folder: Path) -> RunStatus:
    return read_status(folder / STATUS)


PROGRESS = rollout_progress()


def test_it_says_who_is_training_before_anything_happened(tmp_path: Path) -> None:
    status_in(tmp_path / "run-1")
    status = read(tmp_path / "run-1")
    assert (status.run, status.seed, status.stages, status.total_timesteps) == ("run-1", 7, 4, 512)
    assert (status.pid, status.process_started_seconds) == (os.getpid(), psutil.Process().create_time())
    assert (status.state, status.phase, status.timesteps) == ("preparing", "portfolios", 0)
    assert (status.steps_per_second, status.stage, status.validation, status.checkpoint) == (None,) * 4


def test_what_happens_stands_in_it_with_the_counts_of_the_moment(tmp_path: Path) -> None:
    counted = Counted()
    callback = status_in(tmp_path, counted)
    callback.on_table(PreparationProgress(phase="surrogate", done=1, total=2, seconds=0.1))
    assert read(tmp_path).phase == "surrogate"
    counted.asked, counted.found, counted.refused, counted.behind = 9, 4, 1, (3, 1.5)
    callback.on_progress(PROGRESS)
    status = read(tmp_path)
    assert (status.state, status.phase, status.timesteps) == ("training", "training", 64)
    assert (status.stage, status.stage_number, status.failures) == ("text", 2, {"panic": 2})
    assert PROGRESS.ppo is not None
    assert status.ppo == asdict(PROGRESS.ppo)
    assert (status.evaluations_asked, status.evaluations_found, status.nonfinite_metrics) == (9, 4, 1)
    assert (status.replica_unsent_records, status.replica_lag_seconds) == (3, 1.5)
    callback.on_progress(replace(PROGRESS, stage=""))
    assert read(tmp_path).stage_number is None
    report = validation(64, np.random.default_rng(1))
    callback.on_validation(report, Mock(), True)
    callback.on_checkpoint(CheckpointProgress(timesteps=64, saved_seconds=2.0, save_seconds=0.1, bytes=1000))
    status = read(tmp_path)
    assert status.checkpoint == CheckpointStatus(timesteps=64, saved_seconds=2.0, save_seconds=0.1, bytes=1000)
    assert status.validation == ValidationStatus(
        timesteps=64,
        value=report.value.mean,
        bytes_ratio=report.bytes_ratio.mean,
        damage=report.damage.mean,
        damaged_ratio=report.damaged_ratio,
        by_category={
            category: CategoryScores(bytes_ratio=part.bytes_ratio.mean, damaged_ratio=part.damaged_ratio)
            for category, part in report.by_category.items()
        },
    )


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "finished"),
        (Stopped("x"), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (DataError("x"), "failed"),
        (MemoryError(), "failed"),
    ],
)
def test_it_says_how_the_training_ended(tmp_path: Path, error: BaseException | None, state: str) -> None:
    status = status_in(tmp_path)
    status.on_progress(PROGRESS)
    status.close(error)
    assert read(tmp_path).state == state
    assert read(tmp_path).timesteps == 64


def test_a_disk_that_refuses_costs_the_file_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    status = status_in(tmp_path)
    (tmp_path / "status.new").mkdir()
    with caplog.at_level(logging.WARNING):
        status.on_progress(PROGRESS)
    assert "status.json: not written" in caplog.text
    assert read(tmp_path).state == "preparing", "the old one stands"
    (tmp_path / "status.new").rmdir()
    status.on_progress(PROGRESS)
    assert read(tmp_path).state == "training"


def test_a_training_can_be_followed_by_it(tmp_path: Path) -> None:
    """With what a training really tells."""
    settings = tiny(curriculum__enabled=False, train__total_timesteps=64, validation__images_per_category=1)
    evaluator = FakeEvaluator()
    status = StatusCallback(
        tmp_path,
        seed=1,
        total_timesteps=64,
        stages=[stage.name for stage in settings.curriculum.stages],
        evaluations=lambda: (len(evaluator.jobs), 0),
        refused=lambda: 0,
        behind=lambda: (0, 0.0),
    )
    store = CheckpointStore(tmp_path, settings.checkpoints)
    result = train(settings, TRAIN, VAL, evaluator, seed=1, followers=[status], checkpoints=store)
    status.close(None)
    found = read(tmp_path)
    assert (found.state, found.timesteps, found.evaluations_asked) == ("finished", 64, len(evaluator.jobs))
    last, newest = result.validations[-1], store.entries()[-1]
    assert found.validation is not None
    assert found.validation.timesteps == last.timesteps == 64
    assert found.validation.damage == last.damage.mean
    assert found.validation.by_category["simple"].damaged_ratio == last.by_category["simple"].damaged_ratio
    assert found.checkpoint is not None
    assert (found.checkpoint.timesteps, found.checkpoint.bytes) == (newest.timesteps, newest.bytes)
    assert found.checkpoint.saved_seconds == newest.saved_seconds
