"""Runs and models that are logged, and what MLflow has of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tracking.run import Run

if TYPE_CHECKING:  # MLflow is to be imported after its variables are set
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as MlflowRun

PARAMS = Path(__file__).parents[2] / "params.yaml"


def make_agent(folder: Path, weights: bytes) -> Path:
    """What looks like an agent to whoever only moves its files."""
    folder.mkdir(parents=True)
    (folder / "policy.safetensors").write_bytes(weights)
    (folder / "agent.json").write_text("{}")
    return folder


def in_mlflow(run: Run) -> MlflowRun:
    """What MLflow has of a run that was sent."""
    assert run.replica.sent.run_id is not None
    return run.replica.experiment().client.get_run(run.replica.sent.run_id)


def model_in_mlflow(run: Run, name: str) -> LoggedModel:
    return run.replica.experiment().client.get_logged_model(run.model_id(name))
