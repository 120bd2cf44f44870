"""`tracewright tune`: a study of trainings with other settings, by workers on this machine and on others."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from optuna.trial import FrozenTrial

from pipeline.core.cluster import connect
from pipeline.core.errors import DataError, SettingsError, Stopped, Unavailable
from pipeline.core.facts.data import SplitSummary
from pipeline.core.files import read_json, write_json
from pipeline.core.processes import Process
from pipeline.core.stop_signals import stop_request
from pipeline.data.dataset import split_summary
from pipeline.settings.params import Settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.run import Run
from pipeline.tuning.report import StudyReport, write_report
from pipeline.tuning.study import ENDED, Study, reachable
from pipeline.tuning.worker import TuneTask
from pipeline.tuning.worker_pool import RemoteTask, RemoteWorker, WorkerPool, cpus_per_worker, start_worker

PARENT, LOG = "run.json", "log.txt"
LOOK_SECONDS = 1.0

TrialCallback = Callable[[FrozenTrial, bool], None]


def tune(
    root: Path,
    settings: Settings,
    name: str,
    *,
    workers: int,
    storage: str | None,
    on_trial: TrialCallback = lambda trial, is_new: None,
) -> StudyReport:
    """Runs the trials that the study `name` still lacks, then writes its report.

    settings: `tune.trials` is the number of trials in all, `compute.backend` says whether the workers are processes of
    this machine or of a Ray cluster. storage: a database's address; None for a journal in the study's folder.
    on_trial: called for each trial that has ended, with whether it ended during this call. Raises SettingsError,
    Mismatch, DataError, Unavailable, StorageError, and Stopped when a signal asks for it: the next call resumes the
    interrupted trials.
    """
    split = split_summary(root)
    with (
        stop_request() as stop,
        reachable(storage),
        closing(Study(root, settings, split, name, storage)) as study,
        _parent_run(root, settings, study, split) as (run_id, run),
    ):
        order = TuneTask(
            root=str(root),
            study=name,
            storage=storage,
            settings={},
            limit=settings.tune.trials,
            parent_run_id=run_id,
        )
        with _starter(study, order, workers, stop.check) as (start, check_stop):
            pool = WorkerPool(start, workers, study.folder / LOG)
            try:
                _watch(study, pool, check_stop, on_trial)
            except Stopped as stopped:
                rest = "" if pool.stop() else "; a worker has not ended yet"
                command = f"`tracewright tune --study {study.optuna.study_name}`"
                raise Stopped(f"{stopped}; {command} resumes the interrupted trials{rest}") from stopped
            finally:
                pool.stop()
        report = write_report(study)
        if run is not None:
            for path in report.files:
                run.log_artifact(path, "tune")
            run.set_tags(report.tags)
    return report


def report_of(root: Path, settings: Settings, name: str, storage: str | None) -> StudyReport:
    """The report of a study as it is now. Raises as `tune`, and DataError when there is no such study."""
    if storage is None and not (mlflow_store.home(root) / ".tracewright/tune" / name).is_dir():
        raise DataError(f"there is no study {name!r}; `tracewright tune --study {name}` begins it")
    with reachable(storage), closing(Study(root, settings, split_summary(root), name, storage)) as study:
        return write_report(study)


@contextmanager
def _starter(
    study: Study, order: TuneTask, workers: int, check_stop: Callable[[], None]
) -> Iterator[tuple[Callable[[], Process], Callable[[], None]]]:
    """A function that starts a worker, here or on the cluster as compute.backend says, and one that checks for a stop
    and for the cluster's loss.
    """
    log = study.folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    compute = study.settings.compute
    if compute.backend == "local":
        cores = compute.workers or len(os.sched_getaffinity(0))
        text = _text(order, study.settings, max(1, cores // workers))
        yield (lambda: start_worker(order.root, text, log, os.environ)), check_stop
        return
    with connect(compute.workers) as cluster:
        cpus = cpus_per_worker(cluster.node_cpus, workers)
        if not cpus:
            raise SettingsError(f"--workers {workers}: the Ray cluster has {cluster.cpus} CPUs; ask for no more")
        text = _text(replace(order, shared=True), study.settings, cpus)
        path = study.folder / PARENT
        mark = (str(path), read_json(path, "tracewright tune"))
        remote = RemoteTask(order.root, text, str(log), mark, socket.gethostname())

        def check() -> None:
            check_stop()
            cluster.look()

        yield (lambda: RemoteWorker(remote, cpus)), check


def _text(order: TuneTask, settings: Settings, tracing_processes: int) -> str:
    """The order with the study's settings, for a worker that has so many CPUs of one machine."""
    compute = settings.compute.model_copy(update={"backend": "local", "workers": tracing_processes})
    shared = settings.model_copy(update={"compute": compute})
    return json.dumps(asdict(replace(order, settings=shared.to_json())))


@contextmanager
def _parent_run(
    root: Path, settings: Settings, study: Study, summary: SplitSummary
) -> Iterator[tuple[str, Run | None]]:
    """The study's own run on this machine, the parent of its trials' runs; None when another process writes it."""
    path = study.folder / PARENT
    if path.is_file():
        run_id = str(read_json(path, "tracewright tune")["run_id"])
        try:
            run = Run.resume(root, run_id)
        except Unavailable:
            yield run_id, None
            return
    else:
        name = study.optuna.study_name
        tags = {"tune.study": name}
        run = Run.start(root, settings, stage=None, inputs=summary, tags=tags, name=f"tune {name}")
        write_json(path, {"run_id": run.run_id})
    with run:
        yield run.run_id, run


def _watch(study: Study, pool: WorkerPool, check_stop: Callable[[], None], on_trial: TrialCallback) -> None:
    seen: set[int] = set()
    before = {trial.number for trial in study.trials() if trial.state in ENDED}
    is_running = True
    while is_running:
        check_stop()
        is_running = pool.is_running()
        for trial in study.trials():
            if trial.state in ENDED and trial.number not in seen:
                seen.add(trial.number)
                on_trial(trial, trial.number not in before)
        if is_running:
            time.sleep(LOOK_SECONDS)
