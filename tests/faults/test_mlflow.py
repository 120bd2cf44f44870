"""MLflow refusing, failing, stalling, answering by halves, killed: nothing is lost, nothing doubled, nobody waits."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import TracewrightError
from pipeline.settings.params import Settings, load_settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.replica import Replica
from pipeline.tracking.run import Run
from pipeline.tracking.sync import sync
from tests.support.logged_runs import make_agent
from tests.support.mlflow_server import Behaviour, MlflowServer, Proxy
from tests.support.source import ROOT
from tests.support.tally import tally

KILLS = int(os.environ.get("TRACEWRIGHT_SERVER_KILLS", "1"))
STALL_SECONDS = float(os.environ.get("TRACEWRIGHT_STALL_SECONDS", "3"))
STARTS = int(os.environ.get("TRACEWRIGHT_STARTS", "2"))
TROUBLES = int(os.environ.get("TRACEWRIGHT_TROUBLES", "2"))
STEPS = 200

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(mlflow_database, folder)
    running = MlflowServer(folder)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def proxy(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with Proxy(server.port) as between:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", between.address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        between.stall_seconds = STALL_SECONDS
        yield between
        between.behaviour = "pass"
        between.shutdown()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    return load_settings(ROOT / "params.yaml").model_copy(update={"experiment": request.node.name})


def started(root: Path, settings: Settings) -> Run:
    run = Run.start(root, settings, stage=None)
    run._flush_seconds = 0.05
    return run


def log_everything(run: Run, agent: Path, seconds: float) -> float:
    """Metrics, a model and an artifact over a time; returns how long three in four calls kept the caller at most."""
    kept = []
    for step in range(STEPS):
        before = time.monotonic()
        run.log_metrics({"train/a": step / 7, "train/b": -step}, step)
        if step % 100 == 50:
            run.log_model(agent, f"agent-{step}", step, {}, {"val/value": step}, None)
            run.log_artifact(agent / "agent.json", f"at-{step}")
        kept.append(time.monotonic() - before)
        time.sleep(seconds / STEPS)
    return statistics.quantiles(kept, n=4)[2]


def sync_in_peace(root: Path) -> list[tuple[str, str | TracewrightError]]:
    """What a sync comes to when MLflow is well: however long a busy machine lets it wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        return sync(root)


def in_mlflow(root: Path, run: Run) -> dict[str, Any]:
    """What MLflow has, each metric's whole history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # looking is not what is tested
        sent = Replica(root, run.folder)
        experiment, run_id = sent.experiment(), str(sent.sent.run_id)
        found = experiment.client.get_run(run_id)
        names = ("train/a", "train/b", "val/value")
        return {
            "runs": len(experiment.client.search_runs([experiment.experiment_id])),
            "status": found.info.status,
            "history": {n: [(m.step, m.value) for m in experiment.client.get_metric_history(run_id, n)] for n in names},
            "models": sorted(
                (m.name, m.status) for m in experiment.client.search_logged_models([experiment.experiment_id])
            ),
            "artifacts": sorted(f.path for f in experiment.client.list_artifacts(run_id)),
        }


WHOLE = {
    "runs": 1,
    "status": "FINISHED",
    "history": {
        "train/a": [(step, step / 7) for step in range(STEPS)],
        "train/b": [(step, -step) for step in range(STEPS)],
        "val/value": [(50, 50), (150, 150)],
    },
    "models": [("agent-150", "READY"), ("agent-50", "READY")],
    "artifacts": ["at-150", "at-50", "lineage.json", "params.yaml"],
}


@pytest.mark.parametrize("behaviour", ["refuse", "500", "stall", "half"])
def test_trouble_in_the_middle_costs_nothing(
    proxy: Proxy, root: Path, settings: Settings, tmp_path: Path, behaviour: Behaviour
) -> None:
    agent = make_agent(tmp_path / "agent", b"weights")

    def trouble() -> None:
        for _ in range(TROUBLES):
            time.sleep(0.5)
            before, until = proxy.troubles, time.monotonic() + 300
            proxy.behaviour = behaviour
            time.sleep(0.5)
            while proxy.troubles == before and time.monotonic() < until:
                time.sleep(0.05)
            proxy.behaviour = "pass"

    spoiling = threading.Thread(target=trouble)
    with started(root, settings) as run:
        run.deliver()
        spoiling.start()
        kept_seconds = log_everything(run, agent, float(TROUBLES))
    spoiling.join()
    assert [type(outcome) for _, outcome in sync_in_peace(root)] == [str]
    assert in_mlflow(root, run) == WHOLE
    assert proxy.troubles > 0
    assert kept_seconds < 1  # half the time MLflow is in trouble, and whoever waits for it waits for seconds
    tally("MLflow troubled", behaviour=behaviour, spoilt=proxy.troubles, metrics_lost=0, metrics_doubled=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "behaviour", ["refuse", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("500", "half"))]
)
def test_trouble_from_the_start_for_ever_keeps_everything_for_sync(
    proxy: Proxy, root: Path, settings: Settings, tmp_path: Path, behaviour: Behaviour
) -> None:
    agent = make_agent(tmp_path / "agent", b"weights")
    proxy.behaviour = behaviour
    with started(root, settings) as run:
        log_everything(run, agent, 0.5)
    [(_, outcome)] = sync(root)
    assert not isinstance(outcome, str)
    proxy.behaviour = "pass"
    for expected in ("sent", "was complete"):
        [(_, outcome)] = sync_in_peace(root)
        assert expected in str(outcome)
        assert in_mlflow(root, run) == WHOLE


def test_a_server_that_is_killed_while_it_is_written_to(
    server: MlflowServer, proxy: Proxy, root: Path, settings: Settings, tmp_path: Path
) -> None:
    agent = make_agent(tmp_path / "agent", b"weights")
    rng = random.Random(1)
    ended = threading.Event()

    def kill_again_and_again() -> None:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.2, 1.5))
            server.kill()
            server.start()
        ended.set()

    killing = threading.Thread(target=kill_again_and_again)
    runs = []
    killing.start()
    while not ended.is_set():
        with started(root, settings) as run:
            log_everything(run, agent, 4.0)
        runs.append(run)
    killing.join()
    assert all(isinstance(outcome, str) for _, outcome in sync_in_peace(root))
    for run in runs:
        found = in_mlflow(root, run)
        assert found["history"] == WHOLE["history"]
        assert found["status"] == "FINISHED"
    assert found["runs"] == len(runs)
    assert len(found["models"]) == 2 * len(runs)
    assert {status for _, status in found["models"]} == {"READY"}
    tally("MLflow server killed", killed=KILLS, runs=len(runs), metrics_lost=0, metrics_doubled=0)


START = """
import sys
from pathlib import Path
from pipeline.settings.params import load_settings
from pipeline.tracking.run import Run

root = Path(sys.argv[1])
with Run.start(root, load_settings(root / "params.yaml"), stage=None) as run:
    run.log_metrics({"a": 1.0}, 1)
    assert run.deliver()
print(run.run_id)
"""


def test_runs_that_start_at_once_without_a_database_all_succeed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    processes = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", START, str(root)], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(STARTS)
    ]
    ids = [process.communicate()[0].decode().strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * STARTS
    assert len(set(ids)) == STARTS
    experiment = Replica(root, root / mlflow_store.RUNS_FOLDER / ids[0]).experiment()
    found = experiment.client.search_runs([experiment.experiment_id])
    assert {run.data.tags["tracewright.run"] for run in found} == set(ids)
    assert [(run.info.status, run.data.metrics) for run in found] == [("FINISHED", {"a": 1.0})] * STARTS
