"""The process that does trials one after another: `python -m pipeline.tuning.worker`, which `tracewright tune` starts.

What it is to do comes as JSON on standard input, so that no password of a storage is in the list of processes.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from pipeline.agent.agent import Agent
from pipeline.core.errors import DataError, Mismatch, SettingsError, Stopped, StorageError, TracewrightError
from pipeline.core.facts.training import PreparationProgress, RolloutProgress, Validation
from pipeline.core.json_records import to_json
from pipeline.core.stop_signals import sigterm_when_parent_ends
from pipeline.runs import resume
from pipeline.runs.session import NewRun, TrainingContext, TrainingRequest, prepared, train_one
from pipeline.settings.overrides import with_overrides
from pipeline.settings.params import Settings, parse_settings
from pipeline.tracing.store_pool import Ledger
from pipeline.tracking import mlflow_store
from pipeline.tracking.run import new_run_id
from pipeline.training.callbacks import Hooks
from pipeline.training.loop import Result
from pipeline.tuning.score import measured, values_of
from pipeline.tuning.study import ERROR, RUN, SEEN, Claimed, Study, reachable

SEEN_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is told.

    limit: of trials in the study. parent_run_id: of the study's own run on this machine. shared: see Study.
    """

    root: str
    study: str
    storage: str | None
    settings: dict[str, Any]
    limit: int
    parent_run_id: str
    shared: bool = False


class Pruned(Stopped):
    """A trial that is not worth going on with."""


class Judge(Hooks):
    """Tells the study of each validation, and ends a trial that the pruner gives up. Raises Pruned."""

    def __init__(self, study: Study, claimed: Claimed, own: Settings, measure: Callable[[Agent], Validation]) -> None:
        """own: the trial's settings. measure: a validation under conditions that no trial changes."""
        self._study, self._trial, self._own, self._measure = study, claimed.trial, own, measure
        self._told = set(claimed.told)
        self._seen = 0.0

    def on_table(self, progress: PreparationProgress) -> None:
        self._say_that_it_lives()

    def on_progress(self, progress: RolloutProgress) -> None:
        self._say_that_it_lives()

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        tune = self._study.settings.tune
        [first, *others] = tune.objectives
        # The n-th, since another length of rollouts validates at other timesteps.
        number = round(report.timesteps / self._own.train.eval_every_timesteps)
        if others or tune.pruner == "none" or number in self._told:
            return
        comparable = self._measure(agent) if self._study.space.changes_what_is_measured else report
        self._told.add(number)
        self._trial.report(comparable.figures()[first], number)
        if self._trial.should_prune():
            raise Pruned(f"pruned at {report.timesteps} steps: worse than most trials were at this validation")

    def _say_that_it_lives(self) -> None:
        if time.monotonic() - self._seen > SEEN_EVERY_SECONDS or not self._seen:
            self._trial.set_user_attr(SEEN, time.time())
            self._seen = time.monotonic()


def work(order: Order) -> None:
    """Do trials until the study has enough. Raises Stopped, leaving the trial that it is at to be gone on with."""
    root = Path(order.root)
    settings = parse_settings(order.settings, "the study's settings")
    with prepared(root, settings) as context:
        images = {"train": context.split.train.digest, "val": context.split.val.digest}
        with (
            reachable(order.storage),
            closing(Study(root, settings, images, order.study, order.storage, shared=order.shared)) as study,
        ):
            while claimed := study.claim(order.limit):
                try:
                    do_trial(context, study, claimed, order.parent_run_id)
                finally:
                    claimed.lock.release()
                context.stop.check()


def do_trial(context: TrainingContext, study: Study, claimed: Claimed, parent_run_id: str) -> None:
    """Train with the trial's settings, and tell the study what came of it.

    Raises Stopped, Unavailable or StorageError, which say nothing of the settings: the trial is left as it is.
    """
    trial, told = claimed.trial, study.optuna.tell
    try:
        folder, values = _trained(context, study, claimed, parent_run_id)
    except Pruned as pruned:
        print(f"trial {trial.number}: {pruned}", flush=True)
        told(trial, state=TrialState.PRUNED)
    # What a setting that is out of its depth can make of a training: a network of NaN, a batch that does not fit.
    except (SettingsError, DataError, ValueError, ArithmeticError, RuntimeError) as error:
        traceback.print_exc()
        print(f"trial {trial.number} failed: {error}", flush=True)
        trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}"[:1000])
        told(trial, state=TrialState.FAIL)
    else:
        print(f"trial {trial.number}: {values}", flush=True)
        told(trial, values)
        resume.deliver(folder)
        return
    _put_away(study, trial.number)


def _trained(context: TrainingContext, study: Study, claimed: Claimed, parent_run_id: str) -> tuple[Path, list[float]]:
    base, trial = study.settings, claimed.trial
    own = with_overrides(base, claimed.overrides, f"trial {trial.number}")
    evaluator = context.evaluator
    evaluator.asked = evaluator.found = 0
    evaluator.known.clear()

    def measure(agent: Agent) -> Validation:
        return measured(agent, base, context.val_tasks, evaluator)

    tags = {"tune.study": study.optuna.study_name, "tune.trial": str(trial.number)}
    run = NewRun(claimed.run_id, parent_run_id, f"trial {trial.number}", tags)
    request = TrainingRequest(base.train.seed, run, [Judge(study, claimed, own, measure)], best_only=True)
    folder, result = _train(replace(context, settings=own), request, run, claimed)
    with Ledger(folder / "asked.bin") as ledger:  # the training has closed its own
        evaluator.note_in(ledger)
        report = measure(result.agent)
    trial.set_user_attr(
        "report",
        {name: to_json(getattr(report, name)) for name in ("value", "bytes_ratio", "skill", "ssim", "zoom_ssim")},
    )
    trial.set_user_attr("timesteps", result.timesteps)
    return folder, values_of(base.tune.objectives, report, result)


def _train(context: TrainingContext, request: TrainingRequest, run: NewRun, claimed: Claimed) -> tuple[Path, Result]:
    """The trial's run to its end: the one that was left, or a new one where that cannot be gone on with."""
    if run.run_id is not None:
        try:
            return train_one(context, request)
        except Mismatch as error:
            print(f"trial {claimed.trial.number} begins anew: {error}", flush=True)
    run_id = new_run_id()
    claimed.trial.set_user_attr(RUN, run_id)
    return train_one(context, replace(request, run=replace(run, run_id=run_id)))


def _put_away(study: Study, number: int) -> None:
    """A trial that ended early is not what `make repro` should go on with."""
    run_id = next((t.user_attrs.get(RUN) for t in study.trials() if t.number == number), None)
    folder = study.folder.parents[1] / mlflow_store.RUNS.name / str(run_id)
    if (folder / resume.TRAINING).is_file():
        resume.deliver(folder)


def _end_with_parent() -> None:
    """SIGTERM comes when `tracewright tune` ends. Raises Stopped when it has."""
    sigterm_when_parent_ends()
    if os.getppid() == 1:
        raise Stopped("stopped: `tracewright tune` has ended")


def main() -> int:
    """Returns the exit code."""
    order = Order(**json.load(sys.stdin))
    try:
        _end_with_parent()
        work(order)
    except TracewrightError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or 'file system'}: {error.strerror or error}", file=sys.stderr, flush=True)
        return StorageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
