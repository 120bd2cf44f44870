from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.core.errors import DataError, Stopped
from pipeline.core.facts.training import PreparationProgress
from pipeline.runs.status import SCHEMA_VERSION, STATUS, Status
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import train
from tests.support.facts import rollout_progress
from tests.support.fakes import FakeEvaluator
from tests.training.test_loop import TRAIN, VAL, tiny


class Counted:
    """Of evaluations, of metrics that were refused, and of what MLflow has not got."""

    asked = found = refused = 0
    behind = (0, 0.0)


def status_in(folder: Path, counted: Counted | None = None) -> Status:
    counted = counted or Counted()
    folder.mkdir(exist_ok=True)
    return Status(
        folder,
        seed=7,
        total_timesteps=512,
        stages=["simple", "text", "gradient", "complex"],
        evaluations=lambda: (counted.asked, counted.found),
        refused=lambda: counted.refused,
        behind=lambda: counted.behind,
    )


def read(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / STATUS).read_text())
    return values


PROGRESS = rollout_progress()


def test_it_says_who_is_training_before_anything_happened(tmp_path: Path) -> None:
    status_in(tmp_path / "run-1")
    values = read(tmp_path / "run-1")
    assert (values["schema_version"], values["run"], values["seed"]) == (SCHEMA_VERSION, "run-1", 7)
    assert values["pid"] == os.getpid()
    assert values["process_started_seconds"] == psutil.Process().create_time()
    assert (values["state"], values["phase"]) == ("preparing", "portfolios")
    assert (values["timesteps"], values["stages"]) == (0, 4)
    unknown = ("steps_per_second", "return_mean", "success_rate", "stage", "stage_number", "validation", "checkpoint")
    assert {values[name] for name in unknown} == {None}, "what was not measured is null"


def test_what_is_told_stands_in_it_with_the_counts_of_the_moment(tmp_path: Path) -> None:
    counted = Counted()
    status = status_in(tmp_path, counted)
    status.on_table(PreparationProgress(phase="surrogate", done=1, total=2, seconds=0.1))
    assert read(tmp_path)["phase"] == "surrogate"
    counted.asked, counted.found, counted.refused, counted.behind = 9, 4, 1, (3, 1.5)
    status.on_progress(PROGRESS)
    values = read(tmp_path)
    assert (values["state"], values["phase"], values["timesteps"]) == ("training", "training", 64)
    assert (values["stage"], values["stage_number"], values["failures"]) == ("text", 2, {"panic": 2})
    assert (values["evaluations_asked"], values["evaluations_found"], values["nonfinite_metrics"]) == (9, 4, 1)
    assert (values["replica_unsent_records"], values["replica_lag_seconds"]) == (3, 1.5)
    status.on_progress(replace(PROGRESS, stage=""))
    assert read(tmp_path)["stage_number"] is None


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
    assert read(tmp_path)["state"] == state
    assert read(tmp_path)["timesteps"] == 64


def test_a_disk_that_refuses_costs_the_file_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    status = status_in(tmp_path)
    (tmp_path / "status.new").mkdir()
    with caplog.at_level(logging.WARNING):
        status.on_progress(PROGRESS)
    assert "status.json: not written" in caplog.text
    assert read(tmp_path)["state"] == "preparing", "the old one stands"
    (tmp_path / "status.new").rmdir()
    status.on_progress(PROGRESS)
    assert read(tmp_path)["state"] == "training"


def test_a_training_can_be_followed_by_it(tmp_path: Path) -> None:
    """With what a training really tells."""
    settings = tiny(curriculum__enabled=False, train__total_timesteps=64, validation__images_per_category=1)
    evaluator = FakeEvaluator()
    status = Status(
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
    values = read(tmp_path)
    assert (values["state"], values["timesteps"], values["evaluations_asked"]) == ("finished", 64, len(evaluator.jobs))
    last = result.validations[-1]
    assert values["validation"]["timesteps"] == last.timesteps == 64
    assert values["validation"]["skill"] == last.skill.mean
    assert values["validation"]["by_category"]["simple"]["skill"] == last.by_category["simple"].skill.mean
    newest = store.entries()[-1]
    assert values["checkpoint"]["timesteps"] == newest.timesteps == 64
    assert values["checkpoint"]["bytes"] == newest.bytes
    assert values["checkpoint"]["saved_seconds"] == newest.saved_seconds
