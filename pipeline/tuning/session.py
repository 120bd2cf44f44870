"""`tracewright tune`: a study of trainings with other settings, by workers on this machine and on others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from optuna.trial import FrozenTrial

from pipeline.core.cluster import joined
from pipeline.core.errors import DataError, SettingsError, Stopped, TracewrightError, Unavailable
from pipeline.core.facts.data import SplitSummary
from pipeline.core.files import read_json, write_json
from pipeline.core.stop_signals import stop_request
from pipeline.data.dataset import split_summary
from pipeline.settings.params import Settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.run import Run
from pipeline.tuning.process import started
from pipeline.tuning.ray_worker import Place, Placed, cpus_each
from pipeline.tuning.report import Report, write_report
from pipeline.tuning.study import ENDED, Study, reachable
from pipeline.tuning.worker import Order

PARENT, LOG = "run.json", "log.txt"
LOOK_SECONDS = 1.0
STOP_SECONDS = 60.0
MOST_RESTARTS = 3
"""Of workers that were killed, in all: more is no accident."""

Tell = Callable[[FrozenTrial, bool], None]


class Process(Protocol):
    """A worker's, on this machine or another; as subprocess.Popen."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def wait(self, timeout: float) -> int: ...


def tune(
    root: Path,
    settings: Settings,
    name: str,
    *,
    workers: int,
    storage: str | None,
    tell: Tell = lambda trial, is_new: None,
) -> Report:
    """Do the trials that the study `name` lacks, then write its report.

    settings: `tune.trials` of them says how many trials there are to be, `compute.backend` whether the workers are
    processes of this machine or of a Ray cluster. storage: a database's address; None for a journal in the study's
    folder. tell: told of each trial that has ended, and whether it did now. Raises SettingsError, Mismatch, DataError,
    Unavailable, StorageError, and Stopped when a signal asks for it: trials that were at work are gone on with by the
    next call.
    """
    summary, images = _split(root)
    with (
        stop_request() as stop,
        reachable(storage),
        closing(Study(root, settings, images, name, storage)) as study,
        _parent_run(root, settings, study, summary) as (run_id, run),
    ):
        order = Order(
            root=str(root),
            study=name,
            storage=storage,
            settings={},
            limit=settings.tune.trials,
            parent_run_id=run_id,
        )
        with _starting(study, order, workers, stop.check) as (start, check):
            _work(study, Crew(start, workers, study.folder / LOG), check, tell)
        report = write_report(study)
        if run is not None:
            for path in report.files:
                run.log_artifact(path, "tune")
            run.set_tags(report.tags)
    return report


def _work(study: Study, crew: Crew, check_stop: Callable[[], None], tell: Tell) -> None:
    try:
        _watch(study, crew, check_stop, tell)
    except Stopped as stopped:
        ended = crew.stop()
        goes_on = f"`tracewright tune --study {study.optuna.study_name}` goes on with the trials that were at work"
        raise Stopped(f"{stopped}; {goes_on}{'' if ended else '; a worker has not ended yet'}") from stopped
    finally:
        crew.stop()


def report_of(root: Path, settings: Settings, name: str, storage: str | None) -> Report:
    """The report of a study as it is now. Raises as `tune`, and DataError when there is no such study."""
    if storage is None and not (mlflow_store.home(root) / ".tracewright/tune" / name).is_dir():
        raise DataError(f"there is no study {name!r}; `tracewright tune --study {name}` begins it")
    with reachable(storage), closing(Study(root, settings, _split(root)[1], name, storage)) as study:
        return write_report(study)


def _split(root: Path) -> tuple[SplitSummary, dict[str, str]]:
    """The split's summary, and the digests of the images that trials may see."""
    summary = split_summary(root)
    return summary, {"train": summary.train.digest, "val": summary.val.digest}


@contextmanager
def _starting(
    study: Study, order: Order, workers: int, check_stop: Callable[[], None]
) -> Iterator[tuple[Callable[[], Process], Callable[[], None]]]:
    """What starts a worker, here or on the cluster where compute.backend says so, and what is to be checked then."""
    log = study.folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    compute = study.settings.compute
    if compute.backend == "local":
        cores = compute.workers or len(os.sched_getaffinity(0))
        text = _text(order, study.settings, max(1, cores // workers))
        yield (lambda: started(order.root, text, log, dict(os.environ))), check_stop
        return
    with joined(compute.workers) as cluster:
        cpus = cpus_each(cluster.node_cpus, workers)
        if not cpus:
            raise SettingsError(f"--workers {workers}: the Ray cluster has {cluster.cpus} CPUs; ask for no more")
        text = _text(replace(order, shared=True), study.settings, cpus)
        mark = study.folder / PARENT
        place = Place(
            order.root, text, str(log), (str(mark), read_json(mark, "tracewright tune")), socket.gethostname()
        )

        def check() -> None:
            check_stop()
            cluster.look()

        yield (lambda: Placed(place, cpus)), check


def _text(order: Order, settings: Settings, tracing_processes: int) -> str:
    """The order with the study's settings, for a worker that has so many CPUs of one machine."""
    compute = settings.compute.model_copy(update={"backend": "local", "workers": tracing_processes})
    shared = settings.model_copy(update={"compute": compute})
    return json.dumps(asdict(replace(order, settings=shared.to_json())))


@contextmanager
def _parent_run(
    root: Path, settings: Settings, study: Study, summary: SplitSummary
) -> Iterator[tuple[str, Run | None]]:
    """The study's own run on this machine, of which its trials are parts; None where another process has it."""
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


@dataclass(slots=True)
class Crew:
    """The worker processes of this call. start: begins another. log: what they say."""

    start: Callable[[], Process]
    workers: int
    log: Path
    running: dict[int, Process] = field(default_factory=dict)
    restarts: int = 0

    def __post_init__(self) -> None:
        for number in range(self.workers):
            self.running[number] = self.start()

    def at_work(self) -> bool:
        """Whether any is; one that was killed is started again. Raises TracewrightError when the last has failed."""
        for number, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[number]
            if code < 0 and self.restarts < MOST_RESTARTS:
                self.restarts += 1
                self.running[number] = self.start()
            elif code and not self.running:
                raise _failed(code, self.log)
        return bool(self.running)

    def stop(self) -> bool:
        """Ask all to leave their trials and end; whether they did."""
        for process in self.running.values():
            process.terminate()
        until = time.monotonic() + STOP_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return False
        self.running.clear()
        return True


def _failed(code: int, log: Path) -> TracewrightError:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    error = TracewrightError(
        f"the workers failed; {log} has it all, and ends with: {lines[-1] if lines else 'nothing'}"
    )
    error.exit_code = code if code > 0 else Unavailable.exit_code
    return error


def _watch(study: Study, crew: Crew, check_stop: Callable[[], None], tell: Tell) -> None:
    told: set[int] = set()
    before = {trial.number for trial in study.trials() if trial.state in ENDED}
    at_work = True
    while at_work:
        check_stop()
        at_work = crew.at_work()
        for trial in study.trials():
            if trial.state in ENDED and trial.number not in told:
                told.add(trial.number)
                tell(trial, trial.number not in before)
        if at_work:
            time.sleep(LOOK_SECONDS)
