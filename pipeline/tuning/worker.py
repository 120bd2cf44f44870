"""The process that runs trials one after another: `python -m pipeline.tuning.worker`, which `tracewright tune` starts.

Its order comes as JSON on standard input, so that no password of a storage shows in the list of processes.
"""

from __future__ import annotations

import json
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
from pipeline.core.processes import end_with_parent
from pipeline.runs import resume
from pipeline.runs.session import NewRun, TrainingContext, TrainingRequest, prepared, train_one
from pipeline.settings.overrides import with_overrides
from pipeline.settings.params import Settings, parse_settings
from pipeline.tracing.store_pool import LEDGER, Ledger
from pipeline.tracking import mlflow_store
from pipeline.tracking.run import new_run_id
from pipeline.training.callbacks import TrainingCallback
from pipeline.training.loop import Result
from pipeline.tuning.score import measure, values_of
from pipeline.tuning.study import ERROR, RUN, SEEN, Claim, Study, reachable

SEEN_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneTask:
    """What a worker is to do.

    limit: number of trials in the study. parent_run_id: the study's own run on this machine. shared: see Study.
    """

    root: str
    study: str
    storage: str | None
    settings: dict[str, Any]
    limit: int
    parent_run_id: str
    shared: bool = False


class TrialPruned(Stopped):
    """The pruner gave the trial up."""


class PruningCallback(TrainingCallback):
    """Reports each validation to the study. Raises TrialPruned when the pruner gives the trial up."""

    def __init__(self, study: Study, claim: Claim, own: Settings, validate: Callable[[Agent], Validation]) -> None:
        """own: the trial's settings. validate: a validation under conditions that no trial changes."""
        self._study, self._trial, self._own, self._validate = study, claim.trial, own, validate
        self._reported = set(claim.reported)
        self._seen = 0.0

    def on_table(self, progress: PreparationProgress) -> None:
        self._sign_of_life()

    def on_progress(self, progress: RolloutProgress) -> None:
        self._sign_of_life()

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        tune = self._study.settings.tune
        [first, *others] = tune.objectives
        # Counted, since rollouts of another length validate at other timesteps.
        number = round(report.timesteps / self._own.train.eval_every_timesteps)
        if others or tune.pruner == "none" or number in self._reported:
            return
        comparable = self._validate(agent) if self._study.space.changes_what_is_measured else report
        self._reported.add(number)
        self._trial.report(comparable.figures()[first], number)
        if self._trial.should_prune():
            raise TrialPruned(f"pruned at {report.timesteps} steps: worse than most trials were at this validation")

    def _sign_of_life(self) -> None:
        if time.monotonic() - self._seen > SEEN_EVERY_SECONDS or not self._seen:
            self._trial.set_user_attr(SEEN, time.time())
            self._seen = time.monotonic()


def work(order: TuneTask) -> None:
    """Runs trials until the study has enough. Raises Stopped; another worker can resume the interrupted trial."""
    root = Path(order.root)
    settings = parse_settings(order.settings, "the study's settings")
    with (
        prepared(root, settings) as context,
        reachable(order.storage),
        closing(Study(root, settings, context.split, order.study, order.storage, shared=order.shared)) as study,
    ):
        while claim := study.claim(order.limit):
            with claim.lock:
                run_trial(context, study, claim, order.parent_run_id)
            context.stop.check()


def run_trial(context: TrainingContext, study: Study, claim: Claim, parent_run_id: str) -> None:
    """Trains with the trial's settings, and tells the study the result.

    Raises Stopped, Unavailable or StorageError, for which the settings are not to blame: the trial stays as it is.
    """
    trial, tell = claim.trial, study.optuna.tell
    try:
        folder, values = _train(context, study, claim, parent_run_id)
    except TrialPruned as pruned:
        print(f"trial {trial.number}: {pruned}", flush=True)
        tell(trial, state=TrialState.PRUNED)
    # Extreme settings can end a training so: a network of NaN, a batch that does not fit.
    except (SettingsError, DataError, ValueError, ArithmeticError, RuntimeError) as error:
        traceback.print_exc()
        print(f"trial {trial.number} failed: {error}", flush=True)
        trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}"[:1000])
        tell(trial, state=TrialState.FAIL)
    else:
        print(f"trial {trial.number}: {values}", flush=True)
        tell(trial, values)
        resume.deliver(folder)
        return
    # A trial that ended early is not a run that `make repro` should resume.
    run_id = next((t.user_attrs.get(RUN) for t in study.trials() if t.number == trial.number), None)
    folder = study.folder.parents[1] / mlflow_store.RUNS_FOLDER.name / str(run_id)
    if (folder / resume.TRAINING).is_file():
        resume.deliver(folder)


def _train(context: TrainingContext, study: Study, claim: Claim, parent_run_id: str) -> tuple[Path, list[float]]:
    base, trial = study.settings, claim.trial
    own = with_overrides(base, claim.overrides, f"trial {trial.number}")
    evaluator = context.evaluator
    evaluator.forget()

    def validate(agent: Agent) -> Validation:
        return measure(agent, base, context.val_tasks, evaluator)

    tags = {"tune.study": study.optuna.study_name, "tune.trial": str(trial.number)}
    run = NewRun(claim.run_id, parent_run_id, f"trial {trial.number}", tags)
    request = TrainingRequest(base.train.seed, run, [PruningCallback(study, claim, own, validate)], best_only=True)
    folder, result = _train_run(replace(context, settings=own), request, run, claim)
    with Ledger(folder / LEDGER) as ledger:  # the training has closed its own
        evaluator.note_in(ledger)
        report = validate(result.agent)
    trial.set_user_attr(
        "report",
        {name: to_json(getattr(report, name)) for name in ("value", "bytes_ratio", "damaged_ratio", "delta")},
    )
    trial.set_user_attr("timesteps", result.timesteps)
    return folder, values_of(base.tune.objectives, report, result)


def _train_run(context: TrainingContext, request: TrainingRequest, run: NewRun, claim: Claim) -> tuple[Path, Result]:
    """Resumes the trial's interrupted run, or begins a new one if there is none or it cannot be resumed."""
    if run.run_id is not None:
        try:
            return train_one(context, request)
        except Mismatch as error:
            print(f"trial {claim.trial.number} begins again: {error}", flush=True)
    run_id = new_run_id()
    claim.trial.set_user_attr(RUN, run_id)
    return train_one(context, replace(request, run=replace(run, run_id=run_id)))


def main() -> int:
    """Returns the exit code."""
    order = TuneTask(**json.load(sys.stdin))
    try:
        end_with_parent()
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
