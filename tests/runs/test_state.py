"""The table of a run's states: what its files say, who lives, and the word for it."""

from __future__ import annotations

import os
from dataclasses import replace

import psutil
import pytest

from pipeline.core.errors import DataError, Stopped
from pipeline.machine.sources import Machine
from pipeline.runs.launch import Launch
from pipeline.runs.state import RunState, process_of, state_after, state_of
from pipeline.runs.status import ReportedState
from tests.support.machine import NOW
from tests.support.run_status import run_status

STATUS_PID = 10
LAUNCH = Launch(
    run_id="r1", overrides={}, cores=1, memory_bytes=1, phase="running", pid=10, process_started_seconds=NOW - 100
)
LATER = replace(LAUNCH, pid=11, process_started_seconds=NOW - 50)
"""Of a run that was resumed after process 10 had written its status."""


@pytest.mark.parametrize(
    ("said", "pid", "state"),
    [
        ("preparing", 10, "preparing"),
        ("training", 10, "training"),
        ("training", None, "killed"),
        ("preparing", None, "killed"),
        ("finished", None, "finished"),
        ("stopped", None, "stopped"),
        ("failed", None, "failed"),
    ],
)
def test_without_a_launch_the_status_decides(said: ReportedState, pid: int | None, state: RunState) -> None:
    assert state_of(run_status(state=said), None, pid) == state


@pytest.mark.parametrize(
    ("launch", "said", "pid", "state"),
    [
        (replace(LAUNCH, phase="waiting"), None, 10, "waiting"),
        (LAUNCH, None, 10, "preparing"),
        (LAUNCH, "preparing", 10, "preparing"),
        (LAUNCH, "training", 10, "training"),
        (LAUNCH, "finished", 10, "training"),  # its results are being written
        (LAUNCH, "finished", None, "killed"),  # ... and never were
        (LAUNCH, None, None, "killed"),
        (replace(LAUNCH, phase="ended", exit_code=0), "finished", None, "finished"),
        (replace(LAUNCH, phase="ended", exit_code=75), "stopped", None, "stopped"),
        (replace(LAUNCH, phase="ended", exit_code=74), "finished", None, "failed"),
        (replace(LATER, phase="waiting"), "stopped", 11, "waiting"),
        (LATER, "training", 11, "preparing"),
        (replace(LATER, phase="ended", exit_code=64), "stopped", None, "failed"),
        (replace(LAUNCH, process_started_seconds=NOW - 500, pid=9), "training", 10, "training"),
        (replace(LAUNCH, process_started_seconds=NOW - 500, pid=9), "finished", None, "finished"),
    ],
)
def test_of_a_launch_and_a_status_the_later_process_decides(
    launch: Launch, said: ReportedState | None, pid: int | None, state: RunState
) -> None:
    assert state_of(run_status(state=said) if said else None, launch, pid) == state


def test_the_process_of_a_run_is_the_one_that_was_named_with_its_start() -> None:
    own = {"pid": os.getpid(), "process_started_seconds": psutil.Process().create_time()}
    machine, status = Machine(), run_status(**own)
    assert process_of(machine, status, None).pid == os.getpid()  # type: ignore[union-attr]
    assert process_of(machine, None, replace(LAUNCH, **own)) is not None  # type: ignore[arg-type]
    assert process_of(machine, replace(status, state="finished"), None) is None
    assert process_of(machine, replace(status, process_started_seconds=NOW), LAUNCH) is None


@pytest.mark.parametrize(
    ("error", "state"),
    [(None, "finished"), (Stopped("x"), "stopped"), (KeyboardInterrupt(), "stopped"), (DataError("x"), "failed")],
)
def test_how_a_training_ended_is_told_by_its_error(error: BaseException | None, state: ReportedState) -> None:
    assert state_after(error) == state
