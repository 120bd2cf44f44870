"""One run: everything about it goes to its journal, and a thread sends MLflow what is new there.

Nothing here waits for MLflow but `deliver` and, for a bounded time, the end.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.core.errors import DataError, Stopped, brief
from pipeline.core.facts.data import SplitSummary
from pipeline.core.locks import Lock
from pipeline.settings.params import Settings
from pipeline.tracking import lineage, mlflow_store, models
from pipeline.tracking.journal import JOURNAL, Journal, Status
from pipeline.tracking.replica import PARENT_TAG, Replica

FLUSH_SECONDS = 5.0
MOST_PAUSE_SECONDS = 60.0
CLOSE_SECONDS = 30.0
CLOSE_STOPPED_SECONDS = 2.0  # a process that was asked to stop must be gone within five

_log = logging.getLogger(__name__)


class Run:
    """Use as a context manager: it ends FINISHED, KILLED (stopped by a signal or the keyboard) or FAILED.

    run_id: ours, the name of its folder; MLflow's is known once it has the run. One process has a run at a time.
    """

    def __init__(self, root: Path, run_id: str, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        """Raises Unavailable when another process has the run, StorageError, or DataError for a damaged journal."""
        self.run_id = run_id
        self.folder = mlflow_store.home(root) / mlflow_store.RUNS / run_id
        self._lock = Lock(self.folder)
        with ExitStack() as opening:
            opening.callback(self._lock.release)
            self.journal = Journal(self.folder)
            self.replica = Replica(root, self.folder)
            opening.pop_all()
        self._closes = self.journal.status != "FINISHED"
        self._behind: deque[tuple[int, float]] = deque()
        self._trouble: Exception | None = None
        self._ending = threading.Event()
        self._flush_seconds = flush_seconds
        self._sender = threading.Thread(target=self._send_now_and_then, name="replica", daemon=True)

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
        """A new run with params.yaml as its parameters, its lineage as tags and its data sets as inputs.

        stage: the DVC stage whose inputs are hashed. inputs: the split's summary.
        tags: win over the lineage's. parent_run_id: ours, of the run that this one is a part of. run_id: where it was
        given one already; None makes it.
        """
        seeds = {"train": settings.train.seed, "split": settings.split.seed, "evaluate": settings.evaluate.seed}
        every = lineage.collect(root, stage, seeds) | dict(tags or {})
        if parent_run_id:
            every[PARENT_TAG] = parent_run_id
        run = cls(root, run_id or new_run_id())
        run.journal.start(
            settings.experiment, name, lineage.flatten(settings), every, lineage.datasets_of(inputs) if inputs else []
        )
        return run

    @classmethod
    def resume(cls, root: Path, run_id: str) -> Self:
        """A run that exists, to log more.

        One that is FINISHED stays so whatever happens here; any other runs again, and ends as the block ends. Raises
        DataError when there is no such run.
        """
        runs = mlflow_store.home(root) / mlflow_store.RUNS
        if not (runs / run_id / JOURNAL).is_file():
            raise DataError(f"there is no run {run_id} in {runs}; run `dvc repro --force train`")
        run = cls(root, run_id)
        if run._closes:
            run.journal.resume()
        return run

    @property
    def tracking_uri(self) -> str:
        """Where MLflow is, without user name and password."""
        return self.replica.sent.uri

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = _status_after(error)
        try:
            if self._closes:
                self.journal.end(status, f"{type(error).__name__}: {error}"[:1000] if error is not None else None)
        finally:
            self._ending.set()
            self._sender.join(CLOSE_STOPPED_SECONDS if status == "KILLED" else CLOSE_SECONDS)
            if self.unsent_bytes:
                self._warn_of_the_rest()
            self.journal.close()
            self._lock.release()

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write values down; MLflow gets them later. Not finite ones are counted in `journal.refused` instead.

        Raises ValueError for a name MLflow cannot hold.
        """
        before = self.journal.refused.total()
        self.journal.metrics(values, step)
        self._note()
        if self.journal.refused.total() > before:
            _log.warning("metrics at step %d have no finite value and are not logged: %s", step, dict(values))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file for `folder` of the run's artifacts. Raises StorageError."""
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
        """Keep an agent as a model of this run; one of this name that there is already stays.

        params: beside the run's own. metrics: what it achieved on `dataset`, one of the run's inputs by its context;
        they show on the run too, once. Raises DataError when the folder holds no agent, StorageError.
        """
        models.file_digests(agent_dir)
        self.log_metrics(metrics, step)
        self.journal.model([agent_dir / f for f in models.AGENT_FILES], name, step, params, metrics, dataset)
        self._note()

    @property
    def unsent_bytes(self) -> int:
        """Of the journal, that MLflow has not got yet."""
        return max(0, self.journal.size - self.replica.sent.sent_bytes)

    def behind(self) -> tuple[int, float]:
        """How many writes MLflow has not got yet, and the age of the oldest in seconds; (0, 0.0) when it has all."""
        sent = self.replica.sent.sent_bytes
        while self._behind and self._behind[0][0] <= sent:
            self._behind.popleft()
        oldest = self._behind[0][1] if self._behind else time.monotonic()
        return len(self._behind), time.monotonic() - oldest

    def deliver(self) -> mlflow_store.Store:
        """Send everything now, and return where it is. Raises Unavailable when MLflow does not take it."""
        self.replica.send()
        return self.replica.place()

    def model_id(self, name: str) -> str:
        """MLflow's id of a model of this run, once it was delivered. Raises DataError when there is none."""
        try:
            return self.replica.sent.models[name]
        except KeyError:
            raise DataError(f"run {self.run_id} has no model {name!r}; run `dvc repro --force train`") from None

    def _note(self) -> None:
        if not self._behind or self._behind[-1][0] < self.journal.size:
            self._behind.append((self.journal.size, time.monotonic()))

    def _send_now_and_then(self) -> None:
        pause = self._flush_seconds
        ending = False
        while not ending:
            ending = self._ending.wait(pause)
            try:
                self.replica.send()
                self._trouble, pause = None, self._flush_seconds
            # MLflow's client lets through whatever its many libraries raise; a training is not to be without its
            # replica for one of them, and each is told of at the end.
            except Exception as error:  # noqa: BLE001
                self._trouble, pause = error, min(2 * pause, MOST_PAUSE_SECONDS)

    def _warn_of_the_rest(self) -> None:
        count, _ = self.behind()
        trouble = self._trouble or "it was too slow"
        _log.warning(
            "MLflow has not got all of run %s yet (%d writes; %s); all is in %s, and `tracewright sync` sends it",
            self.run_id,
            max(1, count),
            brief(trouble) if isinstance(trouble, Exception) else trouble,
            self.journal.path,
        )


def new_run_id() -> str:
    """Sorts by when it was made."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _status_after(error: BaseException | None) -> Status:
    if error is None:
        return "FINISHED"
    return "KILLED" if isinstance(error, Stopped | KeyboardInterrupt | SystemExit) else "FAILED"
