"""Runs that are registered, to be made by a process of their own."""

from __future__ import annotations

from pathlib import Path

from pipeline.runs.session import train_into
from pipeline.settings.params import load_settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.models import download, file_digests
from pipeline.tracking.registry import open_registry
from pipeline.tracking.replica import Replica
from pipeline.tracking.run import Run
from pipeline.tracking.sync import sync
from tests.support.logged_runs import make_agent


def train_and_register(folder: str) -> None:
    """Train, make the best model champion, fetch it and hold its files against those of the training."""
    root = Path(folder)
    result = train_into(root / "out", load_settings(root / "params.yaml"), root=root, progress=False)
    _register(root, result.run_id, result.report.model, result.folder / "models/agent")


def log_and_register(folder: str) -> None:
    """The same without a training, with what looks like an agent."""
    root = Path(folder)
    agent = make_agent(root / "agent", b"weights")
    with Run.start(root, load_settings(root / "params.yaml"), stage="train") as run:
        run.log_metrics({"val/value": 0.5}, 1)
        run.log_model(agent, "agent-1", 1, {}, {}, None)
    _register(root, run.run_id, "agent-1", agent)


def _register(root: Path, run_id: str, model: str, agent: Path) -> None:
    settings = load_settings(root / "params.yaml")
    sync(root)  # on a busy machine the run may have ended before all of it was sent
    replica = Replica(root, root / mlflow_store.RUNS_FOLDER / run_id)
    client, sent = replica.experiment().client, replica.sent
    run = client.get_run(str(sent.run_id))
    registry = open_registry(root, settings.experiment)
    registry.promote(registry.add(client.get_logged_model(sent.models[model])))
    assert file_digests(download(f"models:/{settings.experiment}@champion", root)) == file_digests(agent)
    print(f"status {run.info.status}, timesteps {run.data.params['train.total_timesteps']}, at {run.info.artifact_uri}")
    print("metrics", *sorted(run.data.metrics))
