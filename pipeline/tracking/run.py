"""One run: everything goes to its journal, and a thread sends new records to MLflow.

Only `deliver` and, for a bounded time, the end of the run wait for MLflow.
"""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from pipeline.core.errors import DataError, Stopped, StorageError, brief
from pipeline.core.facts.data import SplitSummary
from pipeline.core.files import write_json, write_text
from pipeline.core.locks import Lock
from pipeline.settings.params import Settings
from pipeline.tracking import lineage, mlflow_store, models
from pipeline.tracking.journal import JOURNAL, EndStatus, Journal
from pipeline.tracking.replica import PARENT_TAG, Replica

FLUSH_SECONDS = 5.0
MOST_PAUSE_SECONDS = 60.0
CLOSE_SECONDS = 30.0
CLOSE_STOPPED_SECONDS = 2.0  # a process that was asked to stop must be gone within five

_log = logging.getLogger(__name__)


class Run:
    """Use as a context manager: it ends FINISHED, KILLED (stopped by a signal or the keyboard) or FAILED.

    run_id: ours, the name of its folder; MLflow has another. Only one process at a time writes a run.
    """

    def __init__(self, root: Path, run_id: str, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        """Raises Unavailable when another process writes the run, StorageError, or DataError for a damaged journal."""
        self.run_id = run_id
        self.folder = mlflow_store.home(root) / mlflow_store.RUNS_FOLDER / run_id
        self._lock = Lock(self.folder)
        with ExitStack() as opening:
            opening.callback(self._lock.release)
            self.journal = Journal(self.folder)
            self.replica = Replica(root, self.folder)
            opening.pop_all()
        self._closes = self.journal.status != "FINISHED"
        self._behind: deque[tuple[int, float]] = deque()
        self._send_error: Exception | None = None
        self._ending = threading.Event()
        self._flush_seconds = flush_seconds
        self._sender = threading.Thread(target=self._send_regularly, name="replica", daemon=True)

    @classmethod
    def start(
        cls,
        root: Path,
        settings: Settings,
        *,
        stage: str | None,
        inputs: SplitSummary | None = None,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
        name: str | None = None,
        run_id: str | None = None,
    ) -> Self:
        """A new run with params.yaml as its parameters, its origin as tags and its data sets as inputs.

        Its artifacts begin with the settings, params.yaml, and the details of its origin, lineage.json.
        stage: the DVC stage whose inputs are hashed. inputs: the split's summary.
        tags: override the origin's. parent_run_id: ours, of the parent run. run_id: None for a new one.
        """
        all_tags = lineage.tags_of(root, stage) | dict(tags or {})
        if parent_run_id:
            all_tags[PARENT_TAG] = parent_run_id
        run = cls(root, run_id or new_run_id())
        datasets = lineage.datasets_of(inputs) if inputs else []
        run.journal.start(settings.experiment, name, lineage.flatten(settings), all_tags, datasets)
        try:
            run._log_origin(root, settings, stage)
        except StorageError as error:
            _log.warning("%s; run %s lacks its settings and its origin as files", error, run.run_id)
        return run

    def _log_origin(self, root: Path, settings: Settings, stage: str | None) -> None:
        recorded = settings.to_json()
        seeds = {name: recorded[name]["seed"] for name in ("train", "split", "evaluate")}
        with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
            params, origin = Path(folder, "params.yaml"), Path(folder, "lineage.json")
            write_text(params, yaml.safe_dump(recorded, sort_keys=False))
            write_json(origin, lineage.origin(root, stage, seeds))
            for path in (params, origin):
                self.log_artifact(path)

    @classmethod
    def resume(cls, root: Path, run_id: str) -> Self:
        """An existing run, to log more.

        A FINISHED run stays so whatever happens here; any other runs again, and ends as the block ends. Raises
        DataError when there is no such run.
        """
        runs = mlflow_store.home(root) / mlflow_store.RUNS_FOLDER
        if not (runs / run_id / JOURNAL).is_file():
            raise DataError(f"there is no run {run_id} in {runs}; run `dvc repro --force train`")
        run = cls(root, run_id)
        if run._closes:
            run.journal.resume()
        return run

    @property
    def tracking_uri(self) -> str:
        """MLflow's address, without user name and password."""
        return self.replica.sent.uri

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status: EndStatus = "FINISHED"
        if error is not None:
            status = "KILLED" if isinstance(error, Stopped | KeyboardInterrupt | SystemExit) else "FAILED"
        try:
            if self._closes:
                self.journal.end(status, f"{type(error).__name__}: {error}"[:1000] if error is not None else None)
        finally:
            self._ending.set()
            self._sender.join(CLOSE_STOPPED_SECONDS if status == "KILLED" else CLOSE_SECONDS)
            if self.unsent_bytes:
                _log.warning(
                    "MLflow lacks a part of run %s (%d writes; %s); all is in %s, and `tracewright sync` sends it",
                    self.run_id,
                    max(1, self.behind()[0]),
                    brief(self._send_error) if self._send_error else "it was too slow",
                    self.journal.path,
                )
            self.journal.close()
            self._lock.release()

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Records values; MLflow gets them later. Values that are not finite are counted in `journal.refused`.

        Raises ValueError for a name that MLflow does not accept.
        """
        before = self.journal.refused.total()
        self.journal.metrics(values, step)
        self._note()
        if self.journal.refused.total() > before:
            _log.warning("metrics at step %d have no finite value and are not logged: %s", step, dict(values))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keeps a file for `folder` of the run's artifacts. Raises StorageError."""
        self.journal.artifact(path, folder)
        self._note()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.journal.tags(tags)
        self._note()

    def log_model(
        self,
        agent_dir: Path,
        name: str,
        step: int,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        dataset: str | None,
    ) -> None:
        """Keeps an agent as a model of this run; an existing model of this name stays.

        params: in addition to the run's own. metrics: its results on `dataset`, one of the run's inputs by its context;
        they show once on the run, too. Raises DataError when the folder holds no agent, StorageError.
        """
        models.file_digests(agent_dir)
        self.log_metrics(metrics, step)
        self.journal.model([agent_dir / f for f in models.AGENT_FILES], name, step, params, metrics, dataset)
        self._note()

    @property
    def unsent_bytes(self) -> int:
        """The bytes of the journal that MLflow lacks."""
        return max(0, self.journal.size - self.replica.sent.sent_bytes)

    def behind(self) -> tuple[int, float]:
        """The number of writes that MLflow lacks, and the age of the oldest in seconds; (0, 0.0) when it has all."""
        sent = self.replica.sent.sent_bytes
        while self._behind and self._behind[0][0] <= sent:
            self._behind.popleft()
        oldest = self._behind[0][1] if self._behind else time.monotonic()
        return len(self._behind), time.monotonic() - oldest

    def deliver(self) -> mlflow_store.Experiment:
        """Sends everything now; returns the run's experiment. Raises Unavailable when MLflow does not accept it."""
        self.replica.send()
        return self.replica.experiment()

    def model_id(self, name: str) -> str:
        """MLflow's id of a model of this run, after `deliver`. Raises DataError when there is none."""
        try:
            return self.replica.sent.models[name]
        except KeyError:
            raise DataError(f"run {self.run_id} has no model {name!r}; run `dvc repro --force train`") from None

    def _note(self) -> None:
        if not self._behind or self._behind[-1][0] < self.journal.size:
            self._behind.append((self.journal.size, time.monotonic()))

    def _send_regularly(self) -> None:
        pause = self._flush_seconds
        ending = False
        while not ending:
            ending = self._ending.wait(pause)
            try:
                self.replica.send()
                self._send_error, pause = None, self._flush_seconds
            # MLflow's client lets through any exception of its many libraries. None of them may end this thread; the
            # end of the run reports the last one.
            except Exception as error:  # noqa: BLE001
                self._send_error, pause = error, min(2 * pause, MOST_PAUSE_SECONDS)


def new_run_id() -> str:
    """Ids sort by the time of their creation."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
