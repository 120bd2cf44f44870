from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.agent.agent import load_agent
from pipeline.cli.main import main
from pipeline.runs import background
from pipeline.tracking import mlflow_store
from tests.support.fakes import ROOT
from tests.support.small_project import small_project

CORES = len(os.sched_getaffinity(0))
PATIENCE_SECONDS = 600


pytestmark = pytest.mark.slow


def runs(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["runs", *arguments])


def state(run: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in runs("list", "--json").stdout.splitlines()]
    [found] = [row for row in rows if row["run_id"] == run]
    return dict(found)


def wait_until(run: str, what: str, timesteps: int = 0) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = state(run)
        if found["state"] == what and found["timesteps"] >= timesteps:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{found}\n{(Path.cwd() / mlflow_store.RUNS_FOLDER / run / 'log.txt').read_text()}")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project of which nothing was made yet."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: a project to train in. What still runs at the end is ended."""
    small_project(
        tmp_path,
        compute__workers=CORES,
        train__total_timesteps=256,
        checkpoints__every_timesteps=32,
        train__max_steps=2,
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    while background._STARTED:
        process = background._STARTED.pop()
        process.kill()
        process.wait()


def started(*arguments: str) -> str:
    told = runs("start", *arguments)
    assert told.exit_code == 0, told.output
    found = re.search(r"run (\S+)", told.stdout)
    assert found is not None
    return found[1]


def test_a_training_in_the_background_is_killed_stopped_and_resumed_to_its_end(project: Path) -> None:
    run = started("--set", "train.seed=5")
    second = started()
    wait_until(run, "training", 32)
    os.kill(state(run)["pid"], signal.SIGSTOP)  # it does not end while the other one starts
    assert state(second)["state"] == "waiting"
    assert runs("stop", second).stdout == (
        f"run {second} has stopped, before it had a state to save; `tracewright runs resume {second}` resumes it\n"
    )
    assert wait_until(second, "stopped")["pid"] is None
    os.kill(state(run)["pid"], signal.SIGKILL)
    killed = wait_until(run, "killed")
    assert "killed" in runs("list").stdout
    assert runs("follow", run).exit_code == 65
    assert runs("resume", run).exit_code == 0
    wait_until(run, "training", killed["timesteps"] // 32 * 32 + 16)
    told = runs("stop", run)
    assert re.search(r"its state is in \d+-\d+\.ckpt", told.stdout), told.output
    assert state(run)["state"] == "stopped"
    assert runs("resume", run).exit_code == 0
    followed = runs("follow", run)
    assert followed.exit_code == 0, followed.output
    assert "finished  100% of 256" in followed.stdout
    out = project / mlflow_store.RUNS_FOLDER / run / "out"
    assert load_agent(out / "models/agent").max_steps == 2
    trained = json.loads((out / "results/train/train.json").read_text())
    assert (trained["run_id"], trained["seed"], trained["total_timesteps"]) == (run, 5, 256)
    assert not (project / "models").exists()
    assert not (project / "results").exists()
    assert runs("resume", run).exit_code == 78


def test_nothing_is_started_with_settings_that_are_wrong(empty: Path) -> None:
    told = runs("start", "--set", "train.sed=1", "--set", "train.n_envs=0", "--set", "what")
    assert told.exit_code == 64
    assert told.stderr.splitlines() == [
        "tracewright: params.yaml with --set has 3 errors:",
        "  what: is no KEY=VALUE, as train.seed=2 is",
        "  train.n_envs: 0 is not allowed; allowed is 1 to 1024",
        "  train.sed: unknown key; did you mean seed?",
    ]
    assert not (empty / ".tracewright").exists()


def test_without_any_training_every_command_says_so(empty: Path) -> None:
    assert runs("list").stdout.startswith("no training yet; `tracewright runs start` begins one")
    assert runs("list", "--json").stdout == ""
    for command in ("follow", "stop"):
        told = runs(command, "x")
        assert (told.exit_code, "there is no run 'x'" in told.stderr) == (65, True)
    assert "there is no background run 'x'" in runs("resume", "x").stderr
    told = runs("start")
    assert (told.exit_code, "run `dvc repro split` first" in told.stderr) == (65, True)


def test_dvcs_queue_wants_a_commit_and_data_that_a_copy_would_have(empty: Path) -> None:
    params = (empty / "params.yaml").read_text().replace("root: data/samples", "root: logos")
    (empty / "params.yaml").write_text(params)
    (empty / "logos").mkdir()
    (empty / "logos/a.png").write_bytes(b"")
    told = runs("start", "--queue")
    assert (told.exit_code, "needs a Git repository with a commit" in told.stderr) == (69, True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    for command in (["init", "--quiet"], ["add", "params.yaml"], [*identity, "commit", "--quiet", "-m", "start"]):
        subprocess.run(["git", *command], cwd=empty, check=True)
    told = runs("start", "--queue")
    assert (told.exit_code, "logos is in neither Git nor DVC" in told.stderr) == (65, True)
