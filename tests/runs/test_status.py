from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.runs.status import MAX_BYTES, MAX_KEYS, RunStatus, StatusError, read_status, write_status
from tests.support.machine import NOW
from tests.support.run_status import STATUS, run_status, status_values, write_status_values
from tests.support.source import ROOT

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e17, max_value=1e17)
STATUSES = st.builds(
    run_status,
    run=NAMES,
    stage=st.none() | NAMES,
    return_mean=st.none() | NUMBERS,
    timesteps=st.integers(0, 10**17),
    failures=st.dictionaries(NAMES, st.integers(0, 10**9), max_size=MAX_KEYS),
    validation=st.none() | st.just(STATUS.validation),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=STATUSES)
def test_what_is_written_is_what_is_read(tmp_path: Path, status: RunStatus) -> None:
    write_status(tmp_path / "status.json", status)
    assert read_status(tmp_path / "status.json") == status


def test_a_field_that_a_later_release_adds_is_passed_over(tmp_path: Path) -> None:
    assert read_status(write_status_values(tmp_path, something_new={"a": 1})) == STATUS


@pytest.mark.parametrize(("total", "speed", "left"), [(1512, 10.0, 100.0), (512, 10.0, None), (1512, None, None)])
def test_the_time_left_is_told_where_there_is_a_rate(total: int, speed: float | None, left: float | None) -> None:
    assert run_status(timesteps=512, total_timesteps=total, steps_per_second=speed).seconds_left == left


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
def test_a_figure_that_is_no_number_is_named(tmp_path: Path, value: Any) -> None:
    with pytest.raises(StatusError, match="timesteps is"):
        read_status(write_status_values(tmp_path, timesteps=value))
    with pytest.raises(StatusError, match=r"failures\.panic is"):
        read_status(write_status_values(tmp_path, failures={"panic": value}))


@pytest.mark.parametrize("name", ["x" * 256, "\ud800", "a\nb", 7])
def test_a_label_must_be_short_and_printable(tmp_path: Path, name: Any) -> None:
    with pytest.raises(StatusError, match="stage is"):
        read_status(write_status_values(tmp_path, stage=name))


def test_a_file_cannot_make_thousands_of_series(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match="failures is"):
        read_status(write_status_values(tmp_path, failures={f"kind{n}": n for n in range(MAX_KEYS + 1)}))


def test_a_pipe_does_not_hold_the_scrape(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "status.json")
    with pytest.raises(StatusError):
        read_status(tmp_path / "status.json")


def test_a_folder_or_a_link_is_no_status(tmp_path: Path) -> None:
    (tmp_path / "status.json").mkdir()
    with pytest.raises(StatusError):
        read_status(tmp_path / "status.json")
    (tmp_path / "link").symlink_to(write_status_values(tmp_path))
    with pytest.raises(StatusError):
        read_status(tmp_path / "link")


def test_it_is_light() -> None:
    """The exporter and the dashboard read a status without a library of the training."""
    code = "import pipeline.runs.status, pipeline.runs.state, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "mlflow", "numpy", "pandas", "pydantic", "yaml", "pynvml"}
