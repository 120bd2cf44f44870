"""MLflow's copy of a run: the journal's records are sent in order, each once, however often sending is tried.

Beside the journal, `replica.json` says how far MLflow has it. A send that was interrupted before we recorded it is
repeated, and changes nothing: a run is found by its tag, a model by its name, a metric is the same row, and an artifact
the same file.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import DataError, Unavailable
from pipeline.core.files import sha256_of, write_json
from pipeline.core.locks import Lock
from pipeline.tracking import mlflow_store, models
from pipeline.tracking.journal import JOURNAL, Record, records
from pipeline.tracking.lineage import Dataset

STATE = "replica.json"
LOCK = "replica.lock"
RUN_TAG = "tracewright.run"
PARENT_TAG = "tracewright.parent"
VALUES_PER_CALL = 1000
PARAMS_PER_CALL = 100

_WAIT_SECONDS = 30.0  # for another process that is sending the same run
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ReplicaState:
    """What the MLflow at `uri` has of a run: the journal's first `sent_bytes`. run_id, models: MLflow's ids."""

    uri: str
    run_id: str | None = None
    sent_bytes: int = 0
    models: dict[str, str] = field(default_factory=dict)


class Replica:
    """Of the run whose journal is in `folder`. root: the project's folder, which decides MLflow's address."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._uri = mlflow_store.public(mlflow_store.tracking_uri(root))
        self._experiment: mlflow_store.Experiment | None = None
        self._start: Record | None = None
        self.sent = read_state(folder, self._uri)

    def send(self) -> None:
        """Sends all new records of the journal.

        Raises Unavailable when MLflow does not accept them, DataError when the journal is damaged, StorageError;
        records that were sent before the error stay sent.
        """
        with Lock(self._folder, LOCK, wait_seconds=_WAIT_SECONDS):
            self.sent = read_state(self._folder, self._uri)
            try:
                with mlflow_store.answering(self._uri):
                    for group, end in _groups(records(self._folder / JOURNAL, self.sent.sent_bytes)):
                        self._apply(group)
                        self.sent.sent_bytes = end
                        write_json(self._folder / STATE, asdict(self.sent))
            except Unavailable:
                self._experiment = None  # connecting again fails within seconds, where a send would wait for minutes
                raise

    def _apply(self, group: list[Record]) -> None:
        record = group[0]
        if record["kind"] == "start":
            self._create(record)
            return
        client, run_id = self._connected().client, self._run_id()
        match record["kind"]:
            case "metrics" | "refused":
                self._metrics(group)
            case "tags":
                self._tags(record["tags"])
            case "artifact":
                if self._is_sound(record["path"], record["sha256"]):
                    client.log_artifact(run_id, str(self._folder / record["path"]), record["folder"])
            case "model":
                self._model(record)
            case "resume":
                client.update_run(run_id, status="RUNNING")
            case "end":
                tags = {f"refused.{name}": str(count) for name, count in record["refused"].items()}
                self._tags(tags | ({"failure": record["failure"]} if record["failure"] else {}))
                client.set_terminated(run_id, record["status"], record["time"])

    def _create(self, record: Record) -> None:
        from mlflow.entities import Param

        experiment = self._connected()
        client, experiment_id = experiment.client, experiment.experiment_id
        # An interrupted send may have created it.
        found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{self._folder.name}'")
        run = found[0] if found else None
        if run is None:
            tags = record["tags"] | {RUN_TAG: self._folder.name}
            if PARENT_TAG in tags:
                parent = read_state(self._folder.parent / tags[PARENT_TAG], self._uri).run_id
                if parent is None:
                    raise Unavailable(f"its parent run {tags[PARENT_TAG]} is not in MLflow yet; run `tracewright sync`")
                tags["mlflow.parentRunId"] = parent
            run = client.create_run(experiment_id, record["time"], tags, record["name"])
        self.sent.run_id = run_id = str(run.info.run_id)
        for chunk in _chunks(record["params"].items(), PARAMS_PER_CALL):
            client.log_batch(run_id, params=[Param(k, v) for k, v in chunk])
        client.log_inputs(run_id, [models.dataset_input(Dataset(**d)) for d in record["datasets"]])

    def _metrics(self, group: Iterable[Record]) -> None:
        from mlflow.entities import Metric

        values = [
            Metric(name, value, record["time"], record["step"])
            for record in group
            if record["kind"] == "metrics"
            for name, value in record["values"].items()
        ]
        if values:
            self._connected().client.log_batch(self._run_id(), metrics=values)

    def _tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        for chunk in _chunks(tags.items(), PARAMS_PER_CALL):
            self._connected().client.log_batch(self._run_id(), tags=[RunTag(k, v) for k, v in chunk])

    def _model(self, record: Record) -> None:
        kept = Path("models", record["name"])
        if not all(self._is_sound(str(kept / name), digest) for name, digest in record["sha256"].items()):
            return
        start = self._start_record()
        datasets = {d["context"]: Dataset(**d) for d in start["datasets"]}
        points = [models.MetricPoint(n, value, when, record["step"]) for n, (value, when) in record["metrics"].items()]
        self.sent.models[record["name"]] = models.log_agent(
            self._connected(),
            self._run_id(),
            self._folder / kept,
            name=record["name"],
            step=record["step"],
            params=start["params"] | record["params"],
            points=points,
            dataset=datasets.get(record["dataset"]),
        )

    def _is_sound(self, path: str, digest: str) -> bool:
        """Whether a kept file is as it was written; a changed one is logged and not sent."""
        try:
            found = sha256_of(self._folder / path)
        except OSError as error:
            found = str(error.strerror)
        if found != digest:
            _log.warning("%s: has changed since it was written (%s); not sent to MLflow", self._folder / path, found)
        return found == digest

    def experiment(self) -> mlflow_store.Experiment:
        """The run's experiment. Raises Unavailable."""
        with mlflow_store.answering(self._uri):
            return self._connected()

    def _connected(self) -> mlflow_store.Experiment:
        if self._experiment is None:
            self._experiment = mlflow_store.connect(self._root, self._start_record()["experiment"])
        return self._experiment

    def _start_record(self) -> Record:
        if self._start is None:
            self._start = next((r for r, _ in records(self._folder / JOURNAL, 0)), {})
        if self._start.get("kind") != "start":
            raise DataError(f"{self._folder / JOURNAL}: does not begin with the start of a run; move its folder away")
        return self._start

    def _run_id(self) -> str:
        if self.sent.run_id is None:
            raise DataError(f"{self._folder / STATE}: names no run; delete it and run `tracewright sync`")
        return self.sent.run_id


def read_state(folder: Path, uri: str) -> ReplicaState:
    """Nothing sent, if the file is missing, damaged or of another MLflow: sending again doubles nothing."""
    try:
        sent = ReplicaState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        size = (folder / JOURNAL).stat().st_size
    except (OSError, ValueError, TypeError):
        return ReplicaState(uri)
    return sent if sent.uri == uri and sent.sent_bytes <= size else ReplicaState(uri)


def facts_of(record: Record) -> list[tuple[str | float, ...]]:
    """What MLflow has of a record, as rows: name and text of parameters; name, value, time and step of metrics."""
    if record["kind"] == "start":
        return list(record["params"].items())
    if record["kind"] == "metrics":
        return [(name, value, record["time"], record["step"]) for name, value in record["values"].items()]
    return []


def _groups(found: Iterable[tuple[Record, int]]) -> Iterator[tuple[list[Record], int]]:
    """Consecutive metrics together, as many as MLflow accepts per call; other records alone; with the end offset."""
    group: list[Record] = []
    values, end = 0, 0
    for record, after in found:
        is_measured = record["kind"] in ("metrics", "refused")
        more = len(record["values"]) if is_measured else 0
        if group and (not is_measured or values + more > VALUES_PER_CALL):
            yield group, end
            group, values = [], 0
        if is_measured:
            group.append(record)
            values += more
        else:
            yield [record], after
        end = after
    if group:
        yield group, end


def _chunks(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
