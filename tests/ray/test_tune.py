"""A study whose workers are on a cluster, one node of which is lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.cluster import Cluster
from pipeline.core.errors import SettingsError
from pipeline.tuning.session import tune
from pipeline.tuning.worker_pool import cpus_per_worker
from tests.support.ray_nodes import cut_power
from tests.support.small_project import small_project

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 600


def trials(root: Path) -> list[FrozenTrial]:
    path = root / ".tracewright/tune/s/journal.log"
    return JournalStorage(JournalFileBackend(str(path))).get_all_trials(0) if path.is_file() else []


@pytest.mark.nightly
def test_a_study_goes_on_with_the_trial_of_a_node_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: Cluster, another_node: Any, cluster: Any
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = small_project(
        tmp_path,
        train__total_timesteps=384,
        checkpoints__every_timesteps=64,
        tune__trials=3,
        tune__startup_trials=1,
        compute__backend="ray",
        compute__workers=0,
    )
    lost: list[float] = []

    def lose_a_node() -> None:
        """Once every worker's trial has a checkpoint of learning."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            begun = {path.parent for path in tmp_path.glob(".tracewright/runs/*/checkpoints/*-[1-9]*.ckpt")}
            if len(begun) >= 3:
                cut_power(cluster, another_node)
                lost.append(time.monotonic())
                return
            time.sleep(0.1)

    losing = threading.Thread(target=lose_a_node)
    losing.start()
    try:
        report = tune(tmp_path, settings, "s", workers=3, storage=None)
    finally:
        losing.join()
    log = (tmp_path / ".tracewright/tune/s/log.txt").read_text()
    assert lost, log
    found = trials(tmp_path)
    assert [trial.number for trial in found] == [0, 1, 2], log
    assert {trial.state for trial in found} <= {TrialState.COMPLETE, TrialState.PRUNED}, log
    runs = [trial.user_attrs["run"] for trial in found]
    assert len(set(runs)) == 3
    journals = [(tmp_path / ".tracewright/runs" / run / "journal.jsonl").read_text() for run in runs]
    assert any('"kind": "resume"' in journal for journal in journals)
    assert report.command is not None


def test_more_workers_than_the_cluster_has_cpus_are_refused(tmp_path: Path, running: Cluster) -> None:
    settings = small_project(tmp_path, compute__backend="ray", tune__trials=1)
    with pytest.raises(SettingsError, match=r"--workers 50: the Ray cluster has \d+ CPUs; ask for no more"):
        tune(tmp_path, settings, "s", workers=50, storage=None)


@pytest.mark.parametrize(
    ("nodes", "workers", "cpus"),
    [
        ([8], 1, 8),
        ([8], 3, 2),
        ([3, 3], 2, 3),
        ([3, 3], 3, 1),
        ([8, 2], 2, 4),
        ([1, 1], 2, 1),
        ([1, 1], 3, 0),
        ([], 1, 0),
    ],
)
def test_workers_share_the_cpus_of_nodes(nodes: list[int], workers: int, cpus: int) -> None:
    assert cpus_per_worker(nodes, workers) == cpus
