"""Agents as MLflow models: logged without a pickle, downloaded with their digests checked."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import DataError, StorageError, Unavailable
from pipeline.core.files import sha256_of
from pipeline.tracking import mlflow_store
from pipeline.tracking.lineage import Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

AGENT_FILES = ("policy.safetensors", "agent.json")
CHAMPION = "champion"
KEPT = Path(".tracewright/models")
"""Downloaded agents, each in a folder named by its id."""

SERVED_MODEL = Path(__file__).parents[1] / "serving/served_model.py"

_CONTEXT = "mlflow.data.context"
_AGENT = "agent"  # the artifact's name in the logged model
_EXTRA_REQUIREMENTS = ("mlflow", "pandas")


class NotRegistered(Unavailable):
    """There is no such model."""


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One value of a metric. time_ms: when it was measured, since 1970."""

    name: str
    value: float
    time_ms: int
    step: int


def log_agent(
    experiment: mlflow_store.Experiment,
    run_id: str,
    agent_dir: Path,
    *,
    name: str,
    step: int,
    params: Mapping[str, str],
    points: Sequence[MetricPoint],
    dataset: Dataset | None,
) -> str:
    """Logs a folder with policy.safetensors and agent.json as a model of a run; returns the model's id.

    Completes a model of this name whose logging was interrupted. Uses only the client, because
    `mlflow.pyfunc.log_model` first reads every metric of the run. points: what the model achieved, linked to it and to
    `dataset`. Raises DataError, MlflowException.
    """
    digests = file_digests(agent_dir)
    client, experiment_id = experiment.client, experiment.experiment_id
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND name = '{name}'")
    model = found[0] if found else None
    if model is None:
        model = client.create_logged_model(
            experiment_id,
            name=name,
            source_run_id=run_id,
            tags=digests,
            params={key: str(value) for key, value in params.items()},
            model_type=_AGENT,
        )
    if model.status != "READY":
        with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
            _save(Path(folder) / "model", agent_dir, model, run_id)
            client.log_model_artifacts(model.model_id, f"{folder}/model")
        client.finalize_logged_model(model.model_id, "READY")
    _link(client, run_id, model.model_id, step, points, dataset)
    return str(model.model_id)


def dataset_input(dataset: Dataset) -> DatasetInput:
    """A data set as MLflow's entity; the data is not loaded."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    entity = Entity(
        name=dataset.name,
        digest=dataset.short_digest,
        source_type="local",
        source=json.dumps({"uri": dataset.source}),
        profile=json.dumps({"images": dataset.images, "digest": dataset.digest}),
    )
    return DatasetInput(entity, [InputTag(_CONTEXT, dataset.context)])


def file_digests(agent_dir: Path) -> dict[str, str]:
    """Tags `sha256.NAME` of an agent's files. Raises DataError when one is missing."""
    try:
        return {f"sha256.{f}": sha256_of(agent_dir / f) for f in AGENT_FILES}
    except OSError as error:
        raise DataError(f"{agent_dir}: is no agent ({error.strerror}: {error.filename}); run `make repro`") from error


def download(source: str, root: Path) -> Path:
    """The local folder of an agent, after its files are compared with the digests recorded when it was logged.

    source: a folder, or `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `models:/MODEL_ID`. Kept under
    .tracewright/models. Raises Unavailable when there is no such model, DataError when its files are not those logged.
    """
    if not source.startswith("models:/"):
        folder = Path(source)
        file_digests(folder)
        return folder
    if not mlflow_store.has_runs(root):
        raise _nothing_registered(source)
    client, uri = mlflow_store.client(root), mlflow_store.tracking_uri(root)
    with mlflow_store.answering(uri):
        model = _find(client, source)
        return fetch(client, uri, model, root)


def fetch(client: MlflowClient, uri: str, model: LoggedModel, root: Path) -> Path:
    """As `download`, for a model that was looked up already. Also raises MlflowException."""
    import mlflow.artifacts

    kept = _kept(root, model.model_id)
    if not kept.is_dir():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".") as folder:
                location = f"{model.artifact_location.rstrip('/')}/artifacts/{_AGENT}"
                mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=uri)
                Path(folder, _AGENT).replace(kept)
        except OSError as error:
            raise StorageError(f"{kept}: model {model.model_id} cannot be kept there ({error})") from error
    try:
        for name, digest in file_digests(kept).items():
            recorded = model.tags.get(name)
            if recorded != digest:
                raise DataError(
                    f"model {model.model_id}: {name} is {digest}, recorded was {recorded}; the file was changed or "
                    "damaged since it was logged; use another version, or train a new one with `make repro`"
                )
    except DataError:
        shutil.rmtree(kept)
        raise
    return kept


def _find(client: MlflowClient, source: str) -> LoggedModel:
    """The logged model that a `models:/` address means."""
    from mlflow.exceptions import MlflowException

    address = source.removeprefix("models:/")
    name, at, alias = address.partition("@")
    _, slash, version = address.partition("/")
    model_id: str | None = address
    try:
        if at:
            model_id = model_id_of(client.get_model_version_by_alias(name, alias))
        elif slash:
            model_id = model_id_of(client.get_model_version(address.partition("/")[0], version))
        if not model_id:  # registered by another program
            raise DataError(f"{source}: is no agent of tracewright; give another version or --model PATH")
        return client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise
        raise _nothing_registered(source) from error


def model_id_of(version: ModelVersion) -> str | None:
    """The logged model from which a version was registered.

    MLflow's SQL registry forgets `model_id`, but the version's source names it: `models:/ID`, `.../models/ID/...`.
    """
    return _model_id_in(version.source or "")


def _model_id_in(source: str) -> str | None:
    match = re.search(r"\bm-[0-9a-f]{32}\b", source)
    return match[0] if match else None


def champion(root: Path, name: str) -> Path | None:
    """The folder of a project's champion, as `download`; None when nothing is registered under that name.

    The champion of the embedded database that was downloaded before is found without MLflow, whose import takes
    seconds.
    """
    try:
        return _kept_champion(root, name) or download(f"models:/{name}@{CHAMPION}", root)
    except NotRegistered:
        return None


_CHAMPION_QUERY = """
SELECT version.source FROM registered_model_aliases AS alias JOIN model_versions AS version USING (name, version)
WHERE alias.name = ? AND alias.alias = ?
"""
_DIGESTS_QUERY = "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ? AND tag_key LIKE 'sha256.%'"


def _kept_champion(root: Path, name: str) -> Path | None:
    """None where MLflow must be asked: another database, a model that is not kept here, or a file that differs."""
    database = mlflow_store.embedded_database(root)
    if mlflow_store.tracking_uri(root) != mlflow_store.sqlite_uri(database):
        return None
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(_CHAMPION_QUERY, (name, CHAMPION)).fetchone()
            model_id = _model_id_in(found[0]) if found else None
            if model_id is None:
                return None
            digests = dict(connection.execute(_DIGESTS_QUERY, (model_id,)))
    except sqlite3.Error:  # in use, damaged, or of another MLflow, which then says so
        return None
    kept = _kept(root, model_id)
    return kept if kept.is_dir() and file_digests(kept) == digests else None


def _kept(root: Path, model_id: str) -> Path:
    """Where a downloaded model stays."""
    return mlflow_store.home(root) / KEPT / model_id


def _nothing_registered(source: str) -> NotRegistered:
    if source.endswith(f"@{CHAMPION}"):
        name = source.removeprefix("models:/").removesuffix(f"@{CHAMPION}")
        return NotRegistered(
            f"no model {name!r} is registered as champion; run `make repro` to train one, or give --model PATH"
        )
    return NotRegistered(f"there is no model {source}; `make ui` shows the existing ones, or give --model PATH")


def _link(
    client: MlflowClient, run_id: str, model_id: str, step: int, points: Sequence[MetricPoint], dataset: Dataset | None
) -> None:
    """Links a model to its run, and its metrics to it and to the data set on which they were measured."""
    from mlflow.entities import LoggedModelOutput, Metric

    outputs = client.get_run(run_id).outputs
    if model_id not in {output.model_id for output in (outputs.model_outputs if outputs else [])}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step)])
    metrics = [
        Metric(
            p.name,
            p.value,
            p.time_ms,
            p.step,
            model_id=model_id,
            dataset_name=dataset.name if dataset else None,
            dataset_digest=dataset.short_digest if dataset else None,
            run_id=run_id,
        )
        for p in points
    ]
    if metrics:
        client.log_batch(run_id, metrics=metrics)


def _save(path: Path, agent_dir: Path, model: LoggedModel, run_id: str) -> None:
    """Writes MLflow's folder for a model: its MLmodel file, the code, the agent, the requirements."""
    import mlflow.pyfunc
    from mlflow.models import Model

    with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
        agent = Path(folder) / _AGENT  # only its own files, under the name that the code expects
        agent.mkdir()
        for name in AGENT_FILES:
            shutil.copyfile(agent_dir / name, agent / name)
        mlflow.pyfunc.save_model(
            path=str(path),
            python_model=str(SERVED_MODEL),
            artifacts={_AGENT: str(agent)},
            signature=_signature(),
            input_example=_example(),
            pip_requirements=requirements(),  # without them MLflow runs the model in a process to infer them
            mlflow_model=Model(
                artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id, model_uuid=model.model_id
            ),
        )


def requirements() -> list[str]:
    """The packages that an agent needs where it is served, at the versions installed here.

    tracewright itself is left out: it is installed from its repository, and no index may answer for its name.
    """
    from packaging.requirements import Requirement

    declared = [Requirement(text) for text in metadata.requires("tracewright") or []]
    names = {r.name for r in declared if r.marker is None or r.marker.evaluate({"extra": ""})}
    return [f"{n}=={metadata.version(n).partition('+')[0]}" for n in sorted(names | set(_EXTRA_REQUIREMENTS))]


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    def schema(**types: DataType) -> Schema:
        optional = ("objective", "max_damage", "budget_bytes", "background", "traces", "note", "error")
        return Schema([ColSpec(kind, name, required=name not in optional) for name, kind in types.items()])

    text, whole, real = DataType.string, DataType.long, DataType.double
    return ModelSignature(
        inputs=schema(image=text, objective=text, max_damage=real, budget_bytes=whole, background=text, traces=whole),
        outputs=schema(
            svg=text,
            status=text,
            params=text,
            traces=whole,
            bytes=whole,
            default_bytes=whole,
            damage=real,
            default_damage=real,
            delta=real,
            parsed=DataType.boolean,
            note=text,
            error=text,
            curve=text,
            seconds=real,
            model=text,
        ),
    )


def _example() -> dict[str, list[Any]]:
    """One request: a red disc on white, 32 pixels wide."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(image).ellipse((6, 6, 25, 25), fill="#c8102e")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"image": [base64.b64encode(buffer.getvalue()).decode()], "objective": ["faithful"], "traces": [4]}
