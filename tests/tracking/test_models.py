from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow.pyfunc
import pytest
from mlflow.entities import LoggedModel
from mlflow.models import Model

from pipeline.core.errors import DataError, Unavailable
from pipeline.serving.rows import KEYS
from pipeline.settings.params import Settings
from pipeline.tracking import mlflow_store, models
from pipeline.tracking.run import Run
from tests.support.facts import split_summary
from tests.support.logged_runs import make_agent, model_in_mlflow

SUMMARY = split_summary()


def log(run: Run, agent_dir: Path, step: int = 64, value: float = 0.5) -> LoggedModel:
    run.log_model(agent_dir, f"agent-{step}", step, {"note": "x"}, {"val/value": value}, "val")
    run.deliver()
    return model_in_mlflow(run, f"agent-{step}")


def test_models_rank_by_what_they_achieved_on_the_validation_images(
    root: Path, settings: Settings, agent_dir: Path
) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        for step, value in ((64, 0.1), (128, 0.3), (192, 0.2)):
            run.log_metrics({"val/value": value}, step)
            log(run, agent_dir, step, value)
    experiment = run.replica.experiment()
    ranked = experiment.client.search_logged_models(
        [experiment.experiment_id],
        filter_string="metrics.`val/value` > 0.15",
        order_by=[{"field_name": "metrics.val/value", "dataset_name": "val", "ascending": False}],
    )
    found = [(m.name, x.value, x.dataset_name, x.step) for m in ranked for x in m.metrics or []]
    assert found == [("agent-128", 0.3, "val", 128), ("agent-192", 0.2, "val", 192)]
    history = experiment.client.get_metric_history(str(run.replica.sent.run_id), "val/value")
    assert [(m.step, m.value) for m in history] == [(64, 0.1), (128, 0.3), (192, 0.2)]  # each once
    assert ranked[0].params["note"] == "x"
    assert ranked[0].params["train.seed"] == "1"
    assert ranked[0].source_run_id == run.replica.sent.run_id


def test_a_project_that_is_moved_or_copied_has_its_own_models(
    tmp_path: Path, settings: Settings, agent_dir: Path, with_mlflow: Callable[[Path], None]
) -> None:
    (tmp_path / "a%1").mkdir()
    with_mlflow(tmp_path / "a%1")
    with Run.start(tmp_path / "a%1", settings, stage="train", inputs=SUMMARY) as run:
        model_id = log(run, agent_dir).model_id
    moved, copied = tmp_path / "moved", tmp_path / "copy of it"
    (tmp_path / "a%1").rename(moved)
    shutil.copytree(moved, copied)
    for folder in (copied, moved, copied):
        experiment = mlflow_store.connect(folder, settings.experiment)
        found = experiment.client.get_logged_model(model_id)
        assert found.artifact_location.startswith(f"{(folder / 'mlruns/artifacts').as_uri()}/")
        shutil.rmtree(folder / ".tracewright/models", ignore_errors=True)
        kept = models.download(f"models:/{model_id}", folder)
        assert kept.is_relative_to(folder)
        new_run = experiment.client.create_run(experiment.experiment_id)
        assert new_run.info.artifact_uri.startswith(f"{(folder / 'mlruns/artifacts').as_uri()}/")


def test_a_logged_model_holds_and_needs_no_pickle(root: Path, settings: Settings, agent_dir: Path) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        model = log(run, agent_dir)
    folder = Path(model.artifact_location.removeprefix("file://"))
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"MLmodel", "served_model.py", "requirements.txt", "artifacts/agent/policy.safetensors"} <= files
    assert not [f for f in files if Path(f).suffix in (".pkl", ".pickle", ".zip", ".pth", ".pt")]
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert model.status == "READY"


def test_the_signature_and_requirements_are_whole(root: Path, settings: Settings, agent_dir: Path) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        model = log(run, agent_dir)
    signature = Model.load(model.artifact_location.removeprefix("file://")).signature
    assert signature is not None
    assert signature.inputs.input_names() == list(KEYS)
    assert "svg" in signature.outputs.input_names()
    requirements = models.requirements()
    assert all("==" in line for line in requirements)
    assert not [line for line in requirements if "://" in line or "@" in line or "+" in line or "tracewright" in line]
    assert {"vtracer==0.6.15", "mlflow==3.17.2"} <= set(requirements)


def test_what_is_no_agent_is_refused_before_it_is_written_down(root: Path, settings: Settings, tmp_path: Path) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run, pytest.raises(DataError, match="is no agent"):
        log(run, tmp_path)
    experiment = run.replica.experiment()
    assert experiment.client.search_logged_models([experiment.experiment_id]) == []


def test_a_download_is_the_same_files(root: Path, settings: Settings, agent_dir: Path) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        model = log(run, agent_dir)
    folder = models.download(f"models:/{model.model_id}", root)
    assert folder.is_relative_to(root / ".tracewright/models")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in agent_dir.iterdir()}
    assert models.download(f"models:/{model.model_id}", root) == folder
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("name", models.AGENT_FILES)
def test_a_damaged_model_is_refused_and_not_kept(root: Path, settings: Settings, agent_dir: Path, name: str) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        model = log(run, agent_dir)
    stored = Path(model.artifact_location.removeprefix("file://")) / "artifacts/agent" / name
    stored.write_bytes(stored.read_bytes() + b"!")
    with pytest.raises(DataError, match=f"{name} is .* recorded was"):
        models.download(f"models:/{model.model_id}", root)
    stored.write_bytes(stored.read_bytes()[:-1])
    kept = models.download(f"models:/{model.model_id}", root)
    (kept / name).write_bytes(b"changed after the download")
    with pytest.raises(DataError, match="changed or damaged"):
        models.download(f"models:/{model.model_id}", root)


def test_a_copy_reads_its_own_files_and_never_those_it_was_copied_from(
    root: Path, settings: Settings, agent_dir: Path, tmp_path: Path
) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        model = log(run, agent_dir)
    copy = tmp_path / "copy_1"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(".tracewright"))
    assert mlflow_store.moved_from(copy) == [(root / "mlruns/artifacts").as_uri()]
    stored = Path(model.artifact_location.removeprefix("file://")) / "artifacts/agent/policy.safetensors"
    content = stored.read_bytes()
    stored.write_bytes(b"the other project goes on")
    assert models.download(f"models:/{model.model_id}", copy).is_relative_to(copy)
    stored.write_bytes(content)
    assert mlflow_store.moved_from(copy) == []
    client = mlflow_store.client(copy)
    here = (copy / "mlruns/artifacts").as_uri()
    assert client.get_logged_model(model.model_id).artifact_location.startswith(here + "/models/")
    assert client.get_run(str(run.replica.sent.run_id)).info.artifact_uri.startswith(here + "/")
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    assert experiment.artifact_location == here
    assert mlflow_store.moved_from(root) == []


def test_a_folder_is_taken_as_it_is(agent_dir: Path, root: Path, tmp_path: Path) -> None:
    assert models.download(str(agent_dir), root) == agent_dir
    with pytest.raises(DataError, match="is no agent"):
        models.download(str(tmp_path / "nothing"), root)


@pytest.mark.parametrize("used", [True, False])
def test_without_a_champion_the_message_says_what_to_run(root: Path, tmp_path: Path, used: bool) -> None:
    with pytest.raises(Unavailable, match=r"is registered as champion; run `make repro`.*--model PATH"):
        models.download("models:/nobody@champion", root if used else tmp_path)
    assert used or not any(tmp_path.iterdir())


@pytest.mark.parametrize("source", ["models:/nobody/3", "models:/m-" + "0" * 32, "models:/nobody@other"])
def test_an_unknown_model_is_named(root: Path, source: str) -> None:
    with pytest.raises(Unavailable, match=source):
        models.download(source, root)


def test_the_code_of_the_model_is_what_is_loaded(root: Path, settings: Settings, tmp_path: Path) -> None:
    """Without an agent that works, loading gets as far as reading it: by our code, and no pickle on the way."""
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        model = log(run, make_agent(tmp_path / "broken", b"no weights"))
    with pytest.raises(Exception, match="is not an agent of this version"):
        mlflow.pyfunc.load_model(model.artifact_location)
