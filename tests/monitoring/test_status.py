from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import psutil
import pytest

from monitoring.status import FIGURES, MAX_BYTES, StatusError, read_status
from pipeline.core.facts.training import CheckpointProgress
from pipeline.machine.readings import SavedCheckpoint, Validation
from pipeline.runs.status import Status
from tests.support.facts import rollout_progress, validation
from tests.support.machine import NOW
from tests.support.run_status import status_values, write_status


def test_a_status_is_read_whole(tmp_path: Path) -> None:
    status = read_status(write_status(tmp_path))
    assert (status.state, status.pid, status.process_started_seconds) == ("training", 10, NOW - 100)
    assert (status.seed, status.phase, status.stage, status.updated_seconds) == ("1", "training", "text", NOW - 1)
    assert status.figures["timesteps"] == 512
    assert status.figures["replica_lag_seconds"] == 1.5
    assert status.failures == {"panic": 2, "timeout": 1}
    by_category = {"simple": {"bytes_ratio": 0.3, "skill": 0.97}, "text": {"bytes_ratio": 0.5, "skill": 0.93}}
    assert status.validation == Validation(256, 0.9, 0.4, 0.95, 0.98, by_category)
    assert status.checkpoint == SavedCheckpoint(384, NOW - 30, 0.02, 300_000)


def test_what_is_not_known_yet_is_left_out(tmp_path: Path) -> None:
    path = write_status(
        tmp_path, state="preparing", phase="table", stage=None, return_mean=None, validation=None, checkpoint=None
    )
    status = read_status(path)
    assert "return_mean" not in status.figures
    assert (status.stage, status.validation, status.checkpoint) == ("", None, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        json.dumps(status_values())[:-30].encode(),
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": 1}',
        json.dumps(status_values(schema_version=2)).encode(),
        json.dumps(status_values(state="dancing")).encode(),
        json.dumps(status_values(pid=None)).encode(),
        json.dumps(status_values(pid="10")).encode(),
        json.dumps(status_values(updated_seconds=True)).encode(),
        json.dumps(status_values(process_started_seconds=10**400)).encode(),
        json.dumps(status_values()).replace("512", "NaN").replace(str(NOW - 1), "Infinity").encode(),
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_status_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(StatusError, match=r"status\.json"):
        read_status(path)


@pytest.mark.parametrize("value", ["many", float("nan"), float("inf"), True, [], {}, 10**400])
def test_a_figure_that_is_no_number_costs_itself_only(tmp_path: Path, value: Any) -> None:
    path = write_status(tmp_path, timesteps=value, failures={"panic": value, "timeout": 4})
    status = read_status(path)
    assert "timesteps" not in status.figures
    assert status.figures["total_timesteps"] == 12288
    assert status.failures == {"timeout": 4}


@pytest.mark.parametrize("name", ['a"} 1\nevil{x="', "x" * 65, "", "a b", "ü"])
def test_words_that_become_labels_are_plain(tmp_path: Path, name: str) -> None:
    path = write_status(
        tmp_path, stage=name, phase=name, failures={name: 1}, validation={"by_category": {name: {"skill": 1}}}
    )
    status = read_status(path)
    assert (status.stage, status.phase, status.failures) == ("", "other", {})
    assert status.validation is not None
    assert status.validation.by_category == {}


def test_a_file_cannot_make_thousands_of_series(tmp_path: Path) -> None:
    many = {f"kind{n}": n for n in range(5000)}
    assert len(read_status(write_status(tmp_path, failures=many)).failures) == 16


def test_a_pipe_does_not_hold_the_scrape(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "status.json")
    with pytest.raises(StatusError):
        read_status(tmp_path / "status.json")


def test_a_folder_or_a_link_is_no_status(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    with pytest.raises(StatusError):
        read_status(tmp_path / "status.json")
    (tmp_path / "link").symlink_to(write_status(tmp_path))
    with pytest.raises(StatusError):
        read_status(tmp_path / "link")


def test_what_a_training_writes_is_what_is_read(tmp_path: Path) -> None:
    """The one file that both packages know of, though neither imports the other."""
    told = Status(
        tmp_path,
        seed=3,
        total_timesteps=640,
        stages=["simple", "text"],
        evaluations=lambda: (50, 20),
        refused=lambda: 4,
        behind=lambda: (7, 2.5),
    )
    path = tmp_path / "status.json"
    assert read_status(path).phase == "portfolios"
    report = validation(64, np.random.default_rng(1))
    told.on_progress(rollout_progress())
    told.on_validation(report, Mock(), True)
    told.on_checkpoint(CheckpointProgress(timesteps=64, saved_seconds=NOW, save_seconds=0.1, bytes=1000))
    status = read_status(path)
    assert set(status.figures) == set(FIGURES)
    assert (status.state, status.phase, status.stage, status.seed) == ("training", "training", "text", "3")
    assert (status.pid, status.process_started_seconds) == (os.getpid(), psutil.Process().create_time())
    assert status.figures["stage_number"] == 2
    assert status.validation
    assert (status.validation.timesteps, status.validation.value) == (64, report.value.mean)
    simple = report.by_category["simple"]
    expected = {"bytes_ratio": simple.bytes_ratio.mean, "skill": simple.skill.mean}
    assert status.validation.by_category["simple"] == expected
    assert status.checkpoint == SavedCheckpoint(64, NOW, 0.1, 1000)
    for error, state in ((None, "finished"), (KeyboardInterrupt(), "stopped"), (ValueError(), "failed")):
        told.close(error)
        assert read_status(path).state == state
