"""The call for notebooks: in a thread, where no signal may be touched, left by a hook and gone on with."""

from __future__ import annotations

import csv
import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.agent.agent import load_agent
from pipeline.core.errors import Mismatch, Stopped
from pipeline.core.facts.training import RolloutProgress
from pipeline.runs.session import train_into
from pipeline.tracking import mlflow_store
from pipeline.training.callbacks import TrainingCallback
from tests.support.small_project import small_project


class Leave(TrainingCallback):
    def on_progress(self, progress: RolloutProgress) -> None:
        raise Stopped("enough")


TIMES = re.compile("second|started|memory_bytes|time_shares")


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_times(each) for name, each in value.items() if not TIMES.search(name)}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def content_of(path: Path) -> Any:
    """What must be equal in two trainings."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".csv":
        return without_times(list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())))
    return path.read_bytes()


@pytest.mark.slow
def test_an_undisturbed_training_and_one_that_was_left_and_gone_on_with_give_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a project of its own, so that neither finds what the other evaluated."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    files: list[dict[str, Any]] = []
    for name, left in (("undisturbed", False), ("left", True)):
        root, out = tmp_path / name, tmp_path / f"{name}-out"
        root.mkdir()
        settings = small_project(root, train__total_timesteps=128)
        if left:
            with pytest.raises(Stopped):
                train_into(out, settings, root=root, hooks=[Leave()], progress=False, run_id="mine")
        train_into(out, settings, root=root, progress=False, run_id="mine")
        files.append({str(path.relative_to(out)): content_of(path) for path in out.rglob("*") if path.is_file()})
    undisturbed, resumed = files
    assert "results/train/evaluations.parquet" in undisturbed
    assert undisturbed.keys() == resumed.keys()
    for name, content in undisturbed.items():
        assert content == resumed[name], name


@pytest.mark.slow
def test_a_training_in_a_thread_is_left_by_a_hook_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    settings = small_project(tmp_path, train__total_timesteps=128)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    out = tmp_path / "out"
    with ThreadPoolExecutor(1) as thread:
        left = thread.submit(train_into, out, settings, root=tmp_path, hooks=[Leave()], progress=False, run_id="mine")
        with pytest.raises(Stopped, match="enough"):
            left.result()
        assert not out.exists()
        assert list((tmp_path / mlflow_store.RUNS_FOLDER / "mine/checkpoints").glob("*.ckpt"))
        trained = thread.submit(train_into, out, settings, root=tmp_path, progress=False, run_id="mine").result()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert trained.run_id == "mine"
    assert trained.report.total_timesteps == 128
    assert load_agent(out / "models/agent").max_steps == trained.agent.max_steps
    with pytest.raises(Mismatch, match="is finished"):
        train_into(out, settings, root=tmp_path, progress=False, run_id="mine")
