"""`tracewright tune`: a study of trainings with other settings, by workers on this machine and on others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from optuna.trial import FrozenTrial

from pipeline.data.dataset import split_summary
from pipeline.errors import DataError, Stopped, TracewrightError, Unavailable
from pipeline.files import read_json, write_json
from pipeline.settings import Settings
from pipeline.stop import stop_request
from pipeline.tracking import store
from pipeline.tracking.run import Run
from pipeline.tuning.report import Report, write_report
from pipeline.tuning.study import ENDED, Study, reachable
from pipeline.tuning.worker import Order

PARENT = "run.json"
LOOK_SECONDS = 1.0
STOP_SECONDS = 60.0
MOST_RESTARTS = 3
"""Of workers that were killed, in all: more is no accident."""

Tell = Callable[[FrozenTrial, bool], None]


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

    settings: `tune.trials` of them says how many trials there are to be. workers: processes on this machine. storage: a
    database's address; None for a journal in the study's folder. tell: told of each trial that has ended, and whether
    it did now. Raises SettingsError, Mismatch, DataError, Unavailable, StorageError, and Stopped when a signal asks for
    it: trials that were at work are gone on with by the next call.
    """
    summary, images = _split(root)
    with (
        stop_request() as stop,
        reachable(storage),
        closing(Study(root, settings, images, name, storage)) as study,
        _parent_run(root, settings, study, summary) as (run_id, run),
    ):
        shared = _share(settings, workers).to_json()
        order = Order(
            root=str(root),
            study=name,
            storage=storage,
            settings=shared,
            limit=settings.tune.trials,
            parent_run_id=run_id,
        )
        _work(study, Crew(order, study.folder, workers), stop.check, tell)
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
    if storage is None and not (store.home(root) / ".tracewright/tune" / name).is_dir():
        raise DataError(f"there is no study {name!r}; `tracewright tune --study {name}` begins it")
    with reachable(storage), closing(Study(root, settings, _split(root)[1], name, storage)) as study:
        return write_report(study)


def _split(root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The split's summary, and the digests of the images that trials may see."""
    summary = split_summary(root)
    return summary, {part: str(summary[part]["digest"]) for part in ("train", "val")}


def _share(settings: Settings, workers: int) -> Settings:
    """With as many tracing processes for each worker as there are cores for it."""
    cores = settings.compute.workers or len(os.sched_getaffinity(0))
    compute = settings.compute.model_copy(update={"workers": max(1, cores // workers)})
    return settings.model_copy(update={"compute": compute})


@contextmanager
def _parent_run(
    root: Path, settings: Settings, study: Study, summary: dict[str, object]
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
    """The worker processes of this call."""

    order: Order
    folder: Path
    workers: int
    running: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    restarts: int = 0

    def __post_init__(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        for number in range(self.workers):
            self._start(number)

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def at_work(self) -> bool:
        """Whether any is; one that was killed is started again. Raises TracewrightError when the last has failed."""
        for number, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[number]
            if code < 0 and self.restarts < MOST_RESTARTS:
                self.restarts += 1
                self._start(number)
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

    def _start(self, number: int) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.tuning.worker"],
                cwd=self.order.root,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
            )
        order: IO[str] | None = process.stdin
        assert order is not None
        with order:
            json.dump(asdict(self.order), order)
        self.running[number] = process


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
