"""The call for notebooks: in a thread, where no signal may be touched, left by a hook and gone on with."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.agent.agent import load_agent
from pipeline.core.errors import Mismatch, Stopped
from pipeline.core.facts.training import RolloutProgress
from pipeline.runs.session import train_into
from pipeline.tracking import mlflow_store
from pipeline.training.callbacks import Hooks
from tests.support.small_project import small_project


class Leave(Hooks):
    def on_progress(self, progress: RolloutProgress) -> None:
        raise Stopped("enough")


@pytest.mark.slow
def test_a_training_in_a_thread_is_left_by_a_hook_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    settings = small_project(tmp_path, train__total_timesteps=256)
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
    assert trained.report.total_timesteps == 256
    assert load_agent(out / "models/agent").max_steps == trained.agent.max_steps
    with pytest.raises(Mismatch, match="is finished"):
        train_into(out, settings, root=tmp_path, progress=False, run_id="mine")
