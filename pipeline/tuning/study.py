"""A study in Optuna's storage, and the choice of the trial that a worker runs next.

The storage is a journal of JSON lines in the study's folder, or a database that several machines reach. Optuna pickles
neither; it would pickle snapshots of a journal in Redis, which is refused here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipeline.core.errors import Mismatch, SettingsError, Unavailable, brief
from pipeline.core.facts.data import SplitSummary
from pipeline.core.files import drop_torn_line
from pipeline.core.locks import Lock
from pipeline.runs import resume
from pipeline.settings.params import Settings
from pipeline.tracking import lineage, mlflow_store
from pipeline.tuning.score import direction
from pipeline.tuning.space import SearchSpace

FOLDER = Path(".tracewright/tune")
JOURNAL = "journal.log"
ASK_SECONDS = 120.0
SILENT_SECONDS = 900.0
"""A trial of another machine that is silent for longer is given up, and its settings are tried again."""

HOST, SEEN, RUN, ERROR, RETRIED, CONDITIONS = "host", "seen_seconds", "run", "error", "retried", "conditions"
"""User attributes of a trial; the last one of the study."""

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """A trial that this process runs. lock: held until the trial ends or is interrupted. run_id, reported: of an
    interrupted trial, its run, and the validations that the study knows.
    """

    trial: Trial
    overrides: dict[str, Any]
    lock: Lock
    run_id: str | None = None
    reported: frozenset[int] = frozenset()


class Study:
    """`name` in the storage at `url`, or in its own folder when that is None.

    shared: whether all workers, on all machines, share that folder, so that its locks say who is alive.
    Raises Mismatch when it was begun with other settings or images, Unavailable when the storage cannot be used.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        split: SplitSummary,
        name: str,
        url: str | None,
        *,
        shared: bool = False,
    ) -> None:
        self.folder = mlflow_store.home(root) / FOLDER / name
        self.settings, self.space = settings, SearchSpace.of(settings)
        self._seed, self._shared = settings.tune.seed, shared
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = _storage(self.folder, url)
        with reachable(url):
            self.optuna = optuna.create_study(
                storage=self._storage,
                study_name=name,
                load_if_exists=True,
                directions=[direction(objective) for objective in settings.tune.objectives],
                pruner=_pruner(settings),
            )
            flat = lineage.flatten(settings)
            now = resume.conditions_of(settings, split) | {"train.seed": flat["train.seed"]}
            now |= {k: value for k, value in flat.items() if k.startswith("tune.") and k != "tune.trials"}
            then = self.optuna.user_attrs.get(CONDITIONS)
            if then is None:
                self.optuna.set_user_attr(CONDITIONS, now)
            elif changed := resume.differences(then, now):
                raise Mismatch(
                    f"study {name} was begun under other conditions, so its trials could not be compared:\n  "
                    + "\n  ".join(changed)
                    + "\nrestore these values, or begin another study with --study NAME"
                )

    def close(self) -> None:
        self._storage.remove_session()
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    def trials(self) -> list[FrozenTrial]:
        """All trials, also those of other workers, except those whose settings were tried again."""
        return [t for t in self.optuna.get_trials(deepcopy=False) if RETRIED not in t.user_attrs]

    def claim(self, limit: int) -> Claim | None:
        """The next trial: one that a dead process left, else a new one. None when there are `limit` already."""
        with Lock(self.folder, "ask.lock", wait_seconds=ASK_SECONDS):
            trials = self.trials()
            for frozen in trials:
                if frozen.state == TrialState.RUNNING and (claim := self._adopt(frozen)):
                    return claim
            waiting = any(t.state == TrialState.WAITING for t in trials)
            if not waiting and sum(t.state != TrialState.WAITING for t in trials) >= limit:
                return None
            # A sampler for each trial, seeded by its number, so that a resumed study samples as one without a break.
            self.optuna.sampler = TPESampler(
                seed=(self._seed * 1_000_003 + len(trials)) % 2**32, n_startup_trials=self.settings.tune.startup_trials
            )
            trial = self.optuna.ask()
            lock = Lock(self.folder / "trials", f"{trial.number}.lock")
            trial.set_user_attr(HOST, socket.gethostname())
            return Claim(trial, self.space.suggest(trial), lock)

    def _adopt(self, frozen: FrozenTrial) -> Claim | None:
        """Claims a trial whose process is gone, so that the kernel has freed its lock."""
        name = f"{frozen.number}.lock"
        study_id = self._storage.get_study_id_from_name(self.optuna.study_name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, frozen.number)
        host = frozen.user_attrs.get(HOST)
        if host is not None and host != socket.gethostname() and not self._shared:
            self._give_up_if_silent(frozen, trial_id)
            return None
        if host is None and not (self.folder / "trials" / name).exists():
            return None  # another machine is about to sign it
        try:
            lock = Lock(self.folder / "trials", name)
        except Unavailable:
            return None
        trial = Trial(self.optuna, trial_id)
        trial.set_user_attr(HOST, socket.gethostname())
        reported = frozenset(frozen.intermediate_values)
        return Claim(trial, self.space.suggest(trial), lock, frozen.user_attrs.get(RUN), reported)

    def _give_up_if_silent(self, frozen: FrozenTrial, trial_id: int) -> None:
        seen = float(frozen.user_attrs.get(SEEN, 0.0)) or (
            frozen.datetime_start.timestamp() if frozen.datetime_start else time.time()
        )
        if time.time() - seen < SILENT_SECONDS:
            return
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # it ended after all, or another gave it up
            self._storage.set_trial_user_attr(trial_id, ERROR, f"silent for {SILENT_SECONDS:.0f} s")
            self._storage.set_trial_user_attr(trial_id, RETRIED, True)
            self.optuna.tell(frozen.number, state=TrialState.FAIL)
            self.optuna.enqueue_trial(frozen.params)


def _pruner(settings: Settings) -> optuna.pruners.BasePruner:
    if settings.tune.pruner == "none":
        return NopPruner()
    # The first validation is of an agent that has learned nothing yet.
    return MedianPruner(n_startup_trials=settings.tune.startup_trials, n_warmup_steps=1)


def _storage(folder: Path, url: str | None) -> BaseStorage:
    folder.mkdir(parents=True, exist_ok=True)
    if url is None:
        _drop_torn_line(folder / JOURNAL)
        return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    if "://" not in url or url.startswith("redis"):
        raise SettingsError("--storage: give a database's address, such as postgresql+psycopg://user@host/database")
    with reachable(url):
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})


def _drop_torn_line(path: Path) -> None:
    """Removes what a kill left of a line, which would spoil the next one. Writers hold the same lock of Optuna's."""
    backend = JournalFileSymlinkLock(str(path))
    backend.acquire()
    try:
        if path.is_file():
            drop_torn_line(path)
    finally:
        backend.release()


@contextmanager
def reachable(url: str | None) -> Iterator[None]:
    """Turns a database's errors in the block into Unavailable, without its password."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        where = mlflow_store.public(url or "of the study")
        raise Unavailable(
            f"the storage {where} cannot be used: {brief(error)}; start it, or correct --storage"
        ) from error
