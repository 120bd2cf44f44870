"""One MLflow run: described at its start, fed from the local journal in the background, closed truthfully."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from pipeline.errors import Stopped, StorageError
from pipeline.settings import Settings
from pipeline.tracking import lineage, models, store
from pipeline.tracking.journal import Journal, Point
from pipeline.tracking.lineage import Dataset

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
FLUSH_SECONDS = 5.0

Status = Literal["FINISHED", "FAILED", "KILLED"]
T = TypeVar("T")

_log = logging.getLogger(__name__)


class Run:
    """Use as a context manager: it ends FINISHED, KILLED (stopped by a signal or the keyboard) or FAILED.

    `log_metrics` only appends to the journal; a thread sends it every few seconds, a thousand values a call. A send
    that fails is tried again at the next, and at the end a warning says what MLflow lacks.
    """

    def __init__(
        self,
        place: store.Store,
        run_id: str,
        *,
        params: Mapping[str, str] | None = None,
        datasets: Sequence[Dataset] = (),
        closes: bool = True,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """params, datasets: what the run was started with. closes: whether leaving the block sets its final status."""
        self.run_id = run_id
        self.store = place
        self.journal = Journal(place.home / ".tracewright" / "runs" / run_id)
        self._params = dict(params or {})
        self._datasets = {d.context: d for d in datasets}
        self._closes = closes
        self._newest: dict[str, Point] = {}
        self._trouble = ""
        self._sending = threading.Lock()
        self._ending = threading.Event()
        self._flush_seconds = flush_seconds
        self._sender = threading.Thread(target=self._send_now_and_then, name="tracking", daemon=True)

    @classmethod
    def start(
        cls,
        root: Path,
        settings: Settings,
        *,
        stage: str | None,
        inputs: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        name: str | None = None,
    ) -> Self:
        """A new run with params.yaml as its parameters, its lineage as tags and its data sets as inputs.

        stage: the DVC stage whose inputs are hashed. inputs: the split's summary, {"train": {"images", "digest"}, ...}.
        tags: win over the lineage's. Raises Unavailable when MLflow does not answer.
        """
        place = store.connect(root, settings.experiment)
        from mlflow.entities import Param  # after connect, which sets how MLflow behaves

        seeds = {"train": settings.train.seed, "split": settings.split.seed, "evaluate": settings.evaluate.seed}
        every = lineage.collect(root, stage, seeds) | dict(tags or {})
        if parent_run_id:
            every["mlflow.parentRunId"] = parent_run_id
        params, datasets = lineage.flatten(settings), lineage.datasets_of(inputs or {})
        with store.answering(place.uri):
            created = place.client.create_run(place.experiment_id, tags=every, run_name=name)
            for chunk in _chunks(params.items(), PARAMS_PER_CALL):
                place.client.log_batch(created.info.run_id, params=[Param(k, v) for k, v in chunk])
            place.client.log_inputs(created.info.run_id, [models.dataset_input(d) for d in datasets])
        return cls(place, created.info.run_id, params=params, datasets=datasets)

    @classmethod
    def resume(cls, root: Path, run_id: str) -> Self:
        """A run that exists, to log more.

        One that is FINISHED stays so whatever happens here; any other runs again, and ends as the block ends. Raises
        Unavailable when MLflow does not answer or has no such run.
        """
        client, uri = store.client(root), store.tracking_uri(root)
        with store.answering(uri):
            run = client.get_run(run_id)
            finished = run.info.status == "FINISHED"
            if not finished:
                client.update_run(run_id, status="RUNNING")
        place = store.Store(client, uri, run.info.experiment_id, store.home(root))
        return cls(place, run_id, params=run.data.params, datasets=models.datasets_of(run.inputs), closes=not finished)

    @property
    def tracking_uri(self) -> str:
        return store.public(self.store.uri)

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._sender.join()
        complete = self.flush()
        if self._closes:
            complete = self._close(_status_after(error), error) and complete
        if not complete:
            self._warn_of_the_rest()
        self.journal.close()

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write values down; MLflow gets them later. Not finite ones are counted in `journal.refused` instead.

        Raises ValueError for a name MLflow cannot hold, StorageError when the journal cannot be written.
        """
        before = self.journal.refused.total()
        self._newest.update({p.name: p for p in self.journal.append(values, step)})
        if self.journal.refused.total() > before:
            _log.warning("metrics at step %d have no finite value and are not logged: %s", step, dict(values))

    def flush(self) -> bool:
        """Send what the journal holds; whether MLflow has everything now. Never raises for MLflow's sake."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        with self._sending:
            try:
                while True:
                    batch = self.journal.pending(METRICS_PER_CALL)
                    if batch.points:
                        metrics = [Metric(p.name, p.value, p.timestamp, p.step) for p in batch.points]
                        self.store.client.log_batch(self.run_id, metrics=metrics)
                    self.journal.mark_sent(batch.end)
                    if len(batch.points) < METRICS_PER_CALL:
                        return True
            except (MlflowException, StorageError, OSError) as error:
                self._trouble = store.brief(error)
                return False

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Upload a file into `folder` of the run's artifacts. Raises Unavailable."""
        with store.answering(self.store.uri):
            self.store.client.log_artifact(self.run_id, str(path), folder)

    def log_artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Upload files, or folders whole. Raises Unavailable."""
        for path in paths:
            self.log_artifact(path, folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Raises Unavailable."""
        from mlflow.entities import RunTag

        with store.answering(self.store.uri):
            for chunk in _chunks(tags.items(), PARAMS_PER_CALL):
                self.store.client.log_batch(self.run_id, tags=[RunTag(k, str(v)) for k, v in chunk])

    def log_model(
        self,
        agent_dir: Path,
        name: str,
        step: int,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        dataset: str | None,
    ) -> str:
        """Log an agent as a model of this run; returns its id.

        params: beside the run's own. metrics: what it achieved on `dataset`, one of the run's inputs by its context;
        they show on the run too, once, even when `log_metrics` was given the same at this step. Raises DataError when
        the folder holds no agent, Unavailable when MLflow does not answer.
        """
        points = self._points(metrics, step)
        with store.answering(self.store.uri):
            return models.log_agent(
                self.store,
                self.run_id,
                agent_dir,
                name=name,
                step=step,
                params=self._params | dict(params),
                points=points,
                dataset=self._datasets.get(dataset) if dataset else None,
            )

    def _points(self, values: Mapping[str, float], step: int) -> list[Point]:
        """These values as already logged at this step, else logged now.

        MLflow takes two equal values for one only when their timestamps are equal too.
        """
        known = {n: p for n in values if (p := self._newest.get(n)) and (p.step, p.value) == (step, float(values[n]))}
        self.log_metrics({n: v for n, v in values.items() if n not in known}, step)
        return [self._newest[n] for n in values if n in known or math.isfinite(values[n])]

    def _send_now_and_then(self) -> None:
        while not self._ending.wait(self._flush_seconds):
            self.flush()

    def _close(self, status: Status, error: BaseException | None) -> bool:
        from mlflow.entities import RunTag
        from mlflow.exceptions import MlflowException

        tags = {f"refused.{name}": str(count) for name, count in self.journal.refused.items()}
        if error is not None:
            tags["failure"] = f"{type(error).__name__}: {error}"[:1000]
        try:
            for chunk in _chunks(tags.items(), PARAMS_PER_CALL):
                self.store.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in chunk])
            self.store.client.set_terminated(self.run_id, status)
        except (MlflowException, OSError) as trouble:
            self._trouble = store.brief(trouble)
            return False
        return True

    def _warn_of_the_rest(self) -> None:
        _log.warning(
            "MLflow run %s is not complete (%s): its status or some of its metrics are missing; all are in %s",
            self.run_id,
            self._trouble,
            self.journal.path,
        )


def _status_after(error: BaseException | None) -> Status:
    if error is None:
        return "FINISHED"
    return "KILLED" if isinstance(error, Stopped | KeyboardInterrupt | SystemExit) else "FAILED"


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """`items` in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
