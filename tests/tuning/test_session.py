"""A study as its user runs it, with workers that are killed, a command that is stopped, and a report in the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from click.testing import CliRunner
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline.cli.main import main
from pipeline.settings.overrides import overridden
from pipeline.settings.params import load_settings
from pipeline.tracking.mlflow_store import client
from tests.support.small_project import small_project

pytestmark = pytest.mark.slow

TRACEWRIGHT = [sys.executable, "-W", "ignore", "-m", "pipeline.cli.main"]
PATIENCE_SECONDS = 600


def trials(root: Path) -> list[FrozenTrial]:
    path = root / ".tracewright/tune/s/journal.log"
    if not path.is_file() or not path.stat().st_size:
        return []
    return JournalStorage(JournalFileBackend(str(path))).get_all_trials(0)


def wait_for_checkpoints(root: Path, count: int) -> None:
    """Until so many trials have a checkpoint of learning."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if len({path.parent for path in root.glob(".tracewright/runs/*/checkpoints/*-[1-9]*.ckpt")}) >= count:
            return
        time.sleep(0.05)
    raise AssertionError((root / ".tracewright/tune/s/log.txt").read_text())


def test_a_study_survives_kills_and_stops_and_gives_settings_that_dvc_takes(
    tmp_path: Path, with_mlflow: Callable[[Path], None]
) -> None:
    with_mlflow(tmp_path)
    small_project(tmp_path, train__total_timesteps=256, checkpoints__every_timesteps=32, tune__startup_trials=1)
    command = [*TRACEWRIGHT, "tune", "--study", "s", "--trials", "2", "--workers"]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with subprocess.Popen(
        [*command, "2"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        wait_for_checkpoints(tmp_path, 2)
        workers = [p for p in psutil.Process(first.pid).children() if "pipeline.tuning.worker" in p.cmdline()]
        assert len(workers) == 2
        os.kill(workers[0].pid, signal.SIGKILL)
        first.send_signal(signal.SIGTERM)
        _, errors = first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == 75, errors
    assert "`tracewright tune --study s` resumes the interrupted trials" in errors
    assert not any(worker.is_running() for worker in workers)
    left = [trial.number for trial in trials(tmp_path) if trial.state == TrialState.RUNNING]
    assert left
    done = subprocess.run([*command, "1"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = trials(tmp_path)
    assert [t.number for t in found] == [0, 1]
    assert {t.state for t in found} <= {TrialState.COMPLETE, TrialState.PRUNED}
    runs = [t.user_attrs["run"] for t in found]
    assert len(set(runs)) == 2
    assert sorted(runs) == sorted(path.parent.name for path in tmp_path.glob(".tracewright/runs/*/training.json"))
    kinds = (tmp_path / ".tracewright/runs" / runs[left[0]] / "journal.jsonl").read_text()
    assert '"kind": "resume"' in kinds

    patch = yaml.safe_load((tmp_path / ".tracewright/tune/s/best.yaml").read_text())
    [line] = [line for line in done.stdout.splitlines() if line.startswith("dvc exp run ")]
    assignments = [text.strip("'") for text in re.findall(r"-S ('[^']*'|\S+)", line)]
    assert overridden(load_settings(tmp_path / "params.yaml"), assignments)[1] == patch
    report = (tmp_path / ".tracewright/tune/s/report/report.md").read_text()
    assert line in report
    assert (tmp_path / ".tracewright/tune/s/report/history.png").stat().st_size > 5000
    _nested_in_mlflow(tmp_path, runs)


def _nested_in_mlflow(root: Path, runs: list[str]) -> None:
    mlflow = client(root)
    parent = json.loads((root / ".tracewright/tune/s/run.json").read_text())["run_id"]
    sent = {
        run: json.loads((root / ".tracewright/runs" / run / "replica.json").read_text())["run_id"]
        for run in (parent, *runs)
    }
    for run in runs:
        assert mlflow.get_run(sent[run]).data.tags["mlflow.parentRunId"] == sent[parent]
    tags = mlflow.get_run(sent[parent]).data.tags
    assert tags["tune.best_run"] in runs
    assert mlflow.get_run(sent[parent]).info.status == "FINISHED"
    assert {file.path for file in mlflow.list_artifacts(sent[parent], "tune")} >= {"tune/report.md", "tune/best.yaml"}


@pytest.mark.parametrize("name", ["../x", "", "a b"])
def test_the_name_of_a_study_leads_nowhere_else(name: str) -> None:
    told = CliRunner().invoke(main, ["tune", "--study", name])
    assert told.exit_code == 64
    assert "write 1 to 64 letters" in told.stderr


def test_a_study_that_there_is_not_has_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(main, ["tune", "--study", "x", "--report"])
    assert (told.exit_code, "there is no study 'x'" in told.stderr) == (65, True)
    assert not (tmp_path / ".tracewright/tune").exists()
