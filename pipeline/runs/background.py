"""Trainings in the background: each a process that outlives the terminal, with all it makes in its run's folder.

`start` writes launch.json and settings.json into `.tracewright/runs/<run>/` and starts
`python -m pipeline.runs.process` there. That process waits until the machine has room, trains, and writes into
launch.json how it ended. No server is needed: a process that waits looks itself whether those before it still run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil

from pipeline.core.errors import DataError, Mismatch, StorageError, Unavailable
from pipeline.core.files import read_json, write_json
from pipeline.core.locks import Lock
from pipeline.machine.sources import Machine
from pipeline.runs.launch import LAUNCH, Launch, read_launch
from pipeline.runs.state import process_of
from pipeline.settings.overrides import Overrides
from pipeline.settings.params import Settings, parse_settings
from pipeline.tracking import mlflow_store

SETTINGS = "settings.json"
LOG = "log.txt"
OUT = "out"
"""In a run's folder, beside what every run has: what it was started with, what it said, what it made."""

START_SECONDS = 30.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 1.0
_MACHINE = Machine()
_STARTED: list[subprocess.Popen[bytes]] = []
"""By this process; kept so that Python reaps those that end before it does, and does not mind the others."""


def runs_folder(root: Path) -> Path:
    return mlflow_store.home(root) / mlflow_store.RUNS_FOLDER


def start(root: Path, settings: Settings, overrides: Overrides, *, now: bool = False) -> list[Launch]:
    """Start a training per seed, each in the background, and return when their processes have begun.

    settings: checked, with the overrides in them. now: without waiting for room on the machine. Raises DataError where
    nothing can be trained on yet, StorageError, and Unavailable when a process does not begin.
    """
    from pipeline.tracking.run import new_run_id  # a second of imports that who only looks can spare

    if not (root / "data/splits.parquet").is_file():
        raise DataError(f"{root / 'data/splits.parquet'}: not found; run `dvc repro split` first")
    launches = []
    for seed in range(settings.train.seed, settings.train.seed + settings.train.n_seeds):
        own = settings.model_copy(update={"train": settings.train.model_copy(update={"seed": seed, "n_seeds": 1})})
        launch = Launch(
            run_id=new_run_id(),
            overrides=dict(overrides) | ({"train.seed": seed} if settings.train.n_seeds > 1 else {}),
            cores=settings.compute.workers or _cores(),
            memory_bytes=settings.compute.memory_limit_bytes,
            now=now,
        )
        folder = runs_folder(root) / launch.run_id
        write_json(folder / SETTINGS, own.to_json())
        launches.append(_spawn(root, folder, launch))
    return launches


def resume(root: Path, run_id: str) -> Launch:
    """Resume a background training from its latest checkpoint, in the background, with the settings it began with.

    Raises DataError for a run that is none, Unavailable while a process has it, Mismatch when it is finished.
    """
    folder = runs_folder(root) / run_id
    launch = load_launch(root, run_id)
    if process_of(_MACHINE, None, launch) is not None:
        raise Unavailable(f"run {run_id} is being trained by process {launch.pid}; `tracewright runs follow {run_id}`")
    if launch.exit_code == 0:
        raise Mismatch(f"run {run_id} is finished; what it made is in {folder / OUT}")
    fresh = replace(launch, phase="starting", pid=None, process_started_seconds=None, exit_code=None, error=None)
    return _spawn(root, folder, fresh)


def load_launch(root: Path, run_id: str) -> Launch:
    """Raises DataError for a run that was not started in the background."""
    launch = read_launch(runs_folder(root) / run_id) if "/" not in run_id and run_id not in ("", ".", "..") else None
    if launch is None:
        raise DataError(
            f"there is no background run {run_id!r}; `tracewright runs list` shows those there are, and `make repro` "
            "or `tracewright checkpoints resume` resume others"
        )
    return launch


def settings_of(folder: Path) -> Settings:
    """Those that a background run began with. Raises DataError, or SettingsError when they are of another release."""
    return parse_settings(read_json(folder / SETTINGS, "tracewright runs start"), str(folder / SETTINGS))


def _spawn(root: Path, folder: Path, launch: Launch) -> Launch:
    """Start the process, and wait until it has said that it has begun."""
    launch.write(folder)
    try:
        log = (folder / LOG).open("ab")
    except OSError as error:
        raise StorageError(f"{folder / LOG}: cannot be written ({error.strerror}); choose a folder you own") from error
    with log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.runs.process", launch.run_id],
            cwd=root,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # no terminal's hang-up or Ctrl-C reaches it
        )
    _STARTED.append(process)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        begun = read_launch(folder)
        if begun is not None and begun.phase != "starting":
            return begun
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise Unavailable(f"run {launch.run_id} did not begin; {folder / LOG} says why")


def wait_for_room(home: Path, folder: Path, check_stop: Callable[[], None], look_seconds: float = LOOK_SECONDS) -> None:
    """Return when the cores and the memory that the training may use are free of other background trainings.

    The oldest that waits is the next. One that needs more than there is trains alone. check_stop: called often.
    """
    told = ""
    while True:
        check_stop()
        lock = Lock(home / ".tracewright", "room.lock", wait_seconds=START_SECONDS)
        try:
            mine = read_launch(folder)
            assert mine is not None
            before = blocking_runs(mine, list(living(home)))
            if not before or mine.now:
                replace(mine, phase="running").write(folder)
                return
        finally:
            lock.release()
        if (names := ", ".join(before)) != told:
            print(
                f"waiting for {names} to make room ({mine.cores} cores, {mine.memory_bytes / 1e9:.1f} GB)", flush=True
            )
            told = names
        time.sleep(look_seconds)


def living(home: Path) -> Iterator[Launch]:
    """The background trainings whose process lives."""
    for path in sorted((home / mlflow_store.RUNS_FOLDER).glob(f"*/{LAUNCH}")):
        try:
            launch = read_launch(path.parent)
        except DataError:
            continue  # `tracewright runs list` names it
        if launch is not None and launch.phase in ("waiting", "running") and process_of(_MACHINE, None, launch):
            yield launch


def blocking_runs(mine: Launch, others: list[Launch]) -> list[str]:
    """Names of those that `mine` has to wait for; none where there is room.

    others: background trainings that live, `mine` may be among them.
    """
    older = [o.run_id for o in others if o.phase == "waiting" and o.run_id < mine.run_id]
    if older:
        return older
    running = [o for o in others if o.phase == "running" and o.run_id != mine.run_id]
    cores = sum(o.cores for o in running) + mine.cores
    memory_bytes = sum(o.memory_bytes for o in running) + mine.memory_bytes
    if cores <= _cores() and memory_bytes <= psutil.virtual_memory().total:
        return []
    return [o.run_id for o in running]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def stop(process: psutil.Process, seconds: float = STOP_SECONDS) -> bool:
    """Ask a training to save its state and end. Returns whether it did within so many seconds."""
    try:
        process.terminate()  # SIGTERM; psutil sees to it that it is still that process
        process.wait(seconds)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def last_lines(folder: Path, count: int) -> list[str]:
    """Of what a background training said."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16_384))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


def describe(overrides: Overrides) -> str:
    """`train.seed=2, ...`, or a note that nothing was overridden."""
    parts: list[str] = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    return ", ".join(parts) or "params.yaml as it was"
