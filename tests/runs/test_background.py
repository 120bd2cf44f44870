from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.core.errors import DataError, Mismatch, Stopped, Unavailable
from pipeline.runs import background
from pipeline.runs.background import blocking_runs, stop, wait_for_room
from pipeline.runs.launch import Launch, read_launch
from pipeline.runs.listing import training, training_in
from pipeline.runs.status import write_status
from pipeline.tracking import mlflow_store
from tests.support.fakes import settings_with
from tests.support.run_status import run_status

CORES = len(os.sched_getaffinity(0))
SLEEPER = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"]


def launch(run_id: str, cores: int = 1, memory_bytes: int = 10**6, **changes: object) -> Launch:
    made = Launch(run_id=run_id, overrides={"train.seed": 2}, cores=cores, memory_bytes=memory_bytes)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    """A process that lives as long as a training does."""
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def of_process(made: Launch, pid: int) -> Launch:
    return replace(made, pid=pid, process_started_seconds=psutil.Process(pid).create_time())


def status(folder: Path, process: subprocess.Popen[str], **changes: Any) -> None:
    started = psutil.Process(process.pid).create_time()
    made = run_status(pid=process.pid, process_started_seconds=started, timesteps=300, total_timesteps=1000)
    write_status(folder / "status.json", replace(made, steps_per_second=70.0, **changes))


def test_a_training_waits_for_cores_and_for_memory_and_for_who_waits_longer() -> None:
    mine = launch("3", cores=CORES)
    assert blocking_runs(mine, [replace(mine, phase="waiting")]) == []
    assert blocking_runs(mine, [launch("1", phase="running")]) == ["1"]
    assert blocking_runs(launch("3", cores=0), [launch("1", phase="running")]) == []
    assert blocking_runs(launch("3", 0, 10**18), [launch("1", phase="running")]) == ["1"]
    assert blocking_runs(mine, [launch("2", phase="waiting"), launch("4", phase="waiting")]) == ["2"]
    assert blocking_runs(launch("3", cores=10 * CORES), []) == []


def test_who_waits_goes_on_when_the_one_before_is_killed(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    runs = tmp_path / mlflow_store.RUNS_FOLDER
    of_process(launch("1", CORES, phase="running"), sleeper.pid).write(runs / "1")
    of_process(launch("2", CORES, phase="waiting"), os.getpid()).write(runs / "2")
    looks = iter(range(100))

    def look() -> None:
        if next(looks) == 2:
            assert read_launch(runs / "2") == of_process(launch("2", CORES, phase="waiting"), os.getpid())
            sleeper.kill()
            sleeper.wait()

    wait_for_room(tmp_path, runs / "2", look, look_seconds=0.01)
    assert next(looks) == 3
    begun = read_launch(runs / "2")
    assert begun is not None
    assert begun.phase == "running"


def test_a_stop_ends_the_waiting(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    runs = tmp_path / mlflow_store.RUNS_FOLDER
    of_process(launch("1", CORES, phase="running"), sleeper.pid).write(runs / "1")
    of_process(launch("2", CORES, phase="waiting"), os.getpid()).write(runs / "2")

    def stopped() -> None:
        raise Stopped("x")

    with pytest.raises(Stopped):
        wait_for_room(tmp_path, runs / "2", stopped, look_seconds=0.01)


def test_the_state_is_true_after_a_kill(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    folder = tmp_path / "run"
    of_process(launch("run", phase="running"), sleeper.pid).write(folder)
    assert (found := training_in(folder)) is not None
    assert (found.state, found.phase) == ("preparing", "")
    status(folder, sleeper)
    assert (found := training_in(folder)) is not None
    assert (found.state, found.progress_ratio, found.seconds_left) == ("training", 0.3, 10.0)
    assert found.process is not None
    os.kill(sleeper.pid, signal.SIGKILL)
    sleeper.wait()
    assert (found := training_in(folder)) is not None
    assert (found.state, found.process, found.seconds_left) == ("killed", None, None)


def test_a_training_that_was_not_started_in_the_background_is_seen_as_well(
    tmp_path: Path, sleeper: subprocess.Popen[str]
) -> None:
    status(tmp_path, sleeper, state="preparing", phase="table")
    assert (found := training_in(tmp_path)) is not None
    assert (found.state, found.phase, found.overrides) == ("preparing", "table", "")
    status(tmp_path, sleeper, state="stopped")
    assert (found := training_in(tmp_path)) is not None
    assert (found.state, found.process) == ("stopped", None)


@pytest.mark.parametrize(("code", "state"), [(0, "finished"), (75, "stopped"), (65, "failed"), (None, "killed")])
def test_how_a_process_ended_is_told(tmp_path: Path, code: int | None, state: str) -> None:
    ended = launch("run", phase="ended", pid=2**22, process_started_seconds=1.0, exit_code=code, error="what it said")
    ended.write(tmp_path)
    assert (found := training_in(tmp_path)) is not None
    assert found.state == state
    assert found.trouble == ("what it said" if state == "failed" else None)


def test_the_best_so_far_is_that_of_the_journal(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    status(tmp_path, sleeper)
    rows = [(0, 0.1, 0.9), (128, 0.5, 0.6), (256, 0.3, 0.8)]
    names = ("val/value", "val/bytes_ratio", "val/damaged_ratio")
    lines = [
        json.dumps({"kind": "metrics", "step": step, "values": dict(zip(names, (v, r, r / 10), strict=True))}) + "\n"
        for step, v, r in rows
    ]
    (tmp_path / "journal.jsonl").write_text('{"kind":"start"}\n' + "".join(lines))
    assert (found := training_in(tmp_path)) is not None
    assert (found.best_value, found.best_bytes_ratio, found.best_damaged_ratio) == (0.5, 0.6, 0.06)


def test_a_folder_that_tells_nothing_is_no_training(tmp_path: Path) -> None:
    assert training_in(tmp_path) is None
    with pytest.raises(DataError, match="there is no run 'x'"):
        training(tmp_path, "x")
    with pytest.raises(DataError, match=r"there is no run '\.\./x'"):
        training(tmp_path, "../x")


def test_a_process_that_is_asked_to_stop_is_waited_for(sleeper: subprocess.Popen[str]) -> None:
    assert stop(psutil.Process(sleeper.pid), seconds=120)
    assert not psutil.pid_exists(sleeper.pid)


def test_one_that_does_not_end_is_not_said_to_have_ended() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not stop(psutil.Process(process.pid), seconds=0.2)
        process.kill()


def test_only_what_was_left_is_gone_on_with(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    folder = tmp_path / mlflow_store.RUNS_FOLDER / "run"
    with pytest.raises(DataError, match="there is no background run 'run'"):
        background.resume(tmp_path, "run")
    of_process(launch("run", phase="running"), sleeper.pid).write(folder)
    with pytest.raises(Unavailable, match="is being trained by process"):
        background.resume(tmp_path, "run")
    launch("run", phase="ended", exit_code=0).write(folder)
    with pytest.raises(Mismatch, match="is finished"):
        background.resume(tmp_path, "run")


def test_nothing_is_started_where_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dvc repro split"):
        background.start(tmp_path, settings_with(), {})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_launch_is_named(tmp_path: Path) -> None:
    (tmp_path / "launch.json").write_text('{"run_id": "x", "odd": 1}')
    with pytest.raises(DataError, match=r"launch\.json: not a launch of this release"):
        read_launch(tmp_path)
