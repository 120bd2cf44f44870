"""Processes to be killed: all is imported once, and each training is a child that begins at once.

Run as a program: a line FOLDER on the input starts a training of that folder, or goes on with it, and its process's
number is printed; when it has ended, its status follows (as `subprocess` gives it).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import TracewrightError
from pipeline.core.json_records import to_json
from pipeline.core.records import Evaluation, Job
from pipeline.core.stop_signals import stop_request
from pipeline.settings.params import Settings
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import Result, train
from tests.support.fakes import Done, FakeEvaluator, settings_with, task_of
from tests.support.source import ROOT

TRAIN, VAL = [task_of(seed) for seed in range(8)], [task_of(seed) for seed in range(100, 104)]
TRACE_SECONDS = 0.002
N_ENVS = 4


def settings() -> Settings:
    """A training of one or two seconds that saves at every rollout."""
    return settings_with(
        train__total_timesteps=128,
        train__n_envs=N_ENVS,
        train__max_steps=4,
        train__table_traces=8,
        train__simulated_timesteps=0,
        train__surrogate_steps=20,
        train__shortlist=6,
        train__portfolio_candidates=4,
        train__other_portfolio_candidates=0,
        train__eval_every_timesteps=48,
        train__ppo__n_steps=4,
        train__ppo__batch_size=8,
        train__ppo__n_epochs=2,
        train__ppo__hidden_units=[8, 8],
        checkpoints__every_timesteps=16,
        checkpoints__every_seconds=0.05,
        validation__images_per_category=1,
        validation__stochastic_runs=0,
        evaluate__bootstrap_samples=100,
    )


class SlowEvaluator(FakeEvaluator):
    """Takes a little time for each batch, and can be asked to stop meanwhile. steps: of PPO that were answered."""

    def __init__(self, check_stop: Callable[[], None], steps: int) -> None:
        super().__init__()
        self._check_stop = check_stop
        self.steps = steps

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        self._check_stop()
        time.sleep(TRACE_SECONDS)
        return super().evaluate(jobs)

    def submit(self, jobs: Sequence[Job]) -> Done:
        answered = super().submit(jobs)
        if len(jobs) == N_ENVS:  # only PPO submits so many at once
            self.steps += N_ENVS
        return answered


def run_training(folder: Path, check_stop: Callable[[], None] = lambda: None) -> str:
    """Train in `folder`, or go on with what was left there; returns the digest of all that must not differ."""
    store = CheckpointStore(folder, settings().checkpoints)
    store.clear_half_written()
    latest = store.latest()
    evaluator = SlowEvaluator(check_stop, int(latest[1].facts["summary"]["timesteps"]) if latest else 0)
    try:
        result = train(
            settings(),
            TRAIN,
            VAL,
            evaluator,
            seed=1,
            checkpoints=store,
            resume_from=latest[1] if latest else None,
            check_stop=check_stop,
        )
    finally:
        (folder / "steps").write_text(str(evaluator.steps))
    final = store.latest()
    assert final is not None
    digest = digest_of(result, final[1].arrays)
    (folder / "digest").write_text(digest)
    return digest


def digest_of(result: Result, arrays: Any) -> str:
    """SHA-256 over weights, optimizer, random generators and every figure but those of the clock and of memory."""
    hasher = hashlib.sha256()
    for name in sorted(arrays):
        hasher.update(name.encode() + arrays[name].tobytes())
    told = [result.validations, result.progress, result.stages, result.failures, result.best_timesteps]
    hasher.update(json.dumps(without_time(to_json(told)), sort_keys=True).encode())
    return hasher.hexdigest()


def without_time(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_time(v) for k, v in value.items() if "second" not in k and "memory" not in k}
    return [without_time(v) for v in value] if isinstance(value, list) else value


def child(folder: Path) -> int:
    """A training as a process: returns its exit code."""
    try:
        with stop_request() as stop:
            run_training(folder, stop.check)
    except TracewrightError as error:
        (folder / "error").write_text(str(error))
        return error.exit_code
    return 0


class Nursery:
    """EpisodeSampler trainings in processes that can be signalled; this file is the program they come from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def start(self, folder: Path) -> int:
        """Its process's number."""
        assert self._process.stdin is not None
        print(folder, file=self._process.stdin, flush=True)
        return int(self._line())

    def status(self) -> int:
        """Of the one started last, once it has ended."""
        return int(self._line())

    def close(self) -> None:
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as first:
        run_training(Path(first))  # what libraries put off until they are used takes longer than a training
    print("ready", flush=True)
    for line in sys.stdin:
        folder = Path(line.strip())
        pid = os.fork()
        if pid == 0:
            os._exit(child(folder))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
