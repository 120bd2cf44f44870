"""One trial after another, with an evaluator that scores by formula."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.errors import Stopped, StorageError
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.records import Job
from pipeline.core.stop_signals import StopRequest
from pipeline.runs import resume
from pipeline.runs.session import TrainingContext
from pipeline.settings.params import Settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.journal import records
from pipeline.training.callbacks import TrainingCallback
from pipeline.tuning import worker
from pipeline.tuning.study import ERROR, RUN, Claim, Study
from pipeline.tuning.worker import run_trial
from tests.support.facts import split_summary
from tests.support.fakes import Done, FakeEvaluator, task_of
from tests.support.tiny_training import tiny

TRAIN, VAL = [task_of(seed) for seed in range(8)], [task_of(seed) for seed in range(100, 104)]
SPLIT = split_summary()
SPACE = {"train.ppo.learning_rate": {"low": 0.0001, "high": 0.01, "log": True}}
N_ENVS = 4
PARENT = "20260101-000000-000000"


pytestmark = pytest.mark.slow


class Evaluator(FakeEvaluator):
    """What a trial needs of a StoredEvaluator beside what a training does."""

    asked = found = 0
    pool = SimpleNamespace(versions={"tracer": "1"})

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self._stop_after = stop_after

    def note_in(self, ledger: object) -> None:
        """Nothing to note."""

    def forget(self) -> None:
        """Nothing was noted."""

    def summary(self) -> EvaluationTotals:
        return EvaluationTotals(asked=1, found=0, failures={}, bit_comparable=True, versions={"tracer": "1"})

    def submit(self, jobs: Sequence[Job]) -> Done:
        if self._stop_after is not None and len(jobs) == N_ENVS:  # a step of PPO
            if self._stop_after == 0:
                raise Stopped("stopped on request (SIGTERM)")
            self._stop_after -= 1
        return super().submit(jobs)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    return tmp_path


def settings(**changes: Any) -> Settings:
    small = {"train__total_timesteps": 128, "train__eval_every_timesteps": 32, "monitoring__sample_every_seconds": 0.0}
    small |= {"curriculum__enabled": False}  # a stage that is trained again would add validations
    return tiny(**(small | {"tune__space": SPACE, "tune__startup_trials": 1} | changes))


def study_of(root: Path, **changes: Any) -> Study:
    return Study(root, settings(**changes), SPLIT, "s", None)


def do(root: Path, study: Study, evaluator: Evaluator | None = None, claimed: Claim | None = None) -> FrozenTrial:
    context = TrainingContext(
        root, study.settings, TRAIN, VAL, cast(Any, evaluator or Evaluator()), SPLIT, StopRequest()
    )
    claimed = claimed or study.claim(100)
    assert claimed is not None
    try:
        run_trial(context, study, claimed, PARENT)
    finally:
        claimed.lock.release()
    return study.trials()[claimed.trial.number]


def journal(root: Path, trial: FrozenTrial) -> list[dict[str, Any]]:
    return [
        record for record, _ in records(root / mlflow_store.RUNS_FOLDER / trial.user_attrs[RUN] / "journal.jsonl", 0)
    ]


def test_a_trial_tells_what_its_best_agent_is_worth_and_is_a_run_below_the_study(root: Path) -> None:
    trial = do(root, study_of(root))
    assert trial.state == TrialState.COMPLETE
    assert trial.values == [trial.user_attrs["report"]["value"]["mean"]]
    assert list(trial.intermediate_values) == [0, 1, 2, 3, 4]
    start, *_, end = [r for r in journal(root, trial) if r["kind"] in ("start", "end")]
    assert start["tags"]["tracewright.parent"] == PARENT
    assert (start["name"], start["tags"]["tune.trial"]) == ("trial 0", "0")
    assert float(start["params"]["train.ppo.learning_rate"]) == trial.params["train.ppo.learning_rate"]
    assert end["status"] == "FINISHED"
    assert len([r for r in journal(root, trial) if r["kind"] == "model"]) == 1
    assert resume.read_lineage(root / mlflow_store.RUNS_FOLDER / trial.user_attrs[RUN]).delivered


def test_a_trial_that_was_stopped_goes_on_to_what_it_would_have_come_to(root: Path, tmp_path: Path) -> None:
    study = study_of(root)
    with pytest.raises(Stopped):
        do(root, study, Evaluator(stop_after=20))
    left = study.trials()[0]
    assert left.state == TrialState.RUNNING
    assert list(root.glob(".tracewright/runs/*/checkpoints/*.ckpt"))
    trial = do(root, study)
    assert trial.number == 0
    assert trial.user_attrs[RUN] == left.user_attrs[RUN]
    assert "resume" in {r["kind"] for r in journal(root, trial)}
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "dvc.yaml").write_text("stages: {}")
    undisturbed = do(whole, study_of(whole))
    assert trial.values == undisturbed.values
    assert trial.intermediate_values == undisturbed.intermediate_values


def test_one_whose_run_cannot_be_gone_on_with_begins_anew(root: Path) -> None:
    study = study_of(root)
    with pytest.raises(Stopped):
        do(root, study, Evaluator(stop_after=20))
    first = study.trials()[0].user_attrs[RUN]
    (root / "dvc.yaml").write_text("stages: {train: {deps: [pipeline/code.py]}}")
    (root / "pipeline").mkdir()
    (root / "pipeline/code.py").write_text("")
    trial = do(root, study)
    assert (trial.number, trial.state) == (0, TrialState.COMPLETE)
    assert trial.user_attrs[RUN] != first


def test_a_trial_that_is_worse_than_the_others_is_pruned_and_not_left_for_others(root: Path) -> None:
    study = study_of(root)
    good = do(root, study)
    for value in (9.0, 9.1):  # of trials that were far better at each validation
        better = study.optuna.ask()
        study.space.suggest(better)
        for number in range(5):
            better.report(value, number)
        study.optuna.tell(better, value)
    trial = do(root, study)
    assert good.state == TrialState.COMPLETE
    assert (trial.state, trial.last_step) == (TrialState.PRUNED, 1)
    end = journal(root, trial)[-1]
    assert (end["status"], end["failure"].partition(":")[0]) == ("KILLED", "TrialPruned")
    assert resume.read_lineage(root / mlflow_store.RUNS_FOLDER / trial.user_attrs[RUN]).delivered


def test_a_setting_that_nothing_can_be_trained_with_fails_its_trial_alone(root: Path) -> None:
    study = study_of(root, tune__space={"train.ppo.batch_size": {"choices": [4096]}})
    trial = do(root, study)
    assert trial.state == TrialState.FAIL
    assert "ppo.batch_size 4096 is more than one rollout" in trial.user_attrs[ERROR]


def test_what_says_nothing_of_the_settings_leaves_the_trial_as_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(TrainingCallback):
        def __init__(self, *_: object) -> None:
            """As PruningCallback."""

        def on_table(self, progress: object) -> None:
            raise StorageError("the disk is full")

    monkeypatch.setattr(worker, "PruningCallback", Full)
    study = study_of(root)
    with pytest.raises(StorageError):
        do(root, study)
    assert study.trials()[0].state == TrialState.RUNNING


def test_trials_with_other_objectives_are_measured_by_the_same(root: Path) -> None:
    """An agent that is to weigh size ten times as high is still measured by the study's own weights."""
    weights = {"tune__space": {"objective.weights.size": {"choices": [1.0]}}, "objective__name": "balanced"}
    trial = do(root, study_of(root, **weights))
    assert trial.state == TrialState.COMPLETE
    own = [r["values"]["val/value"] for r in journal(root, trial) if "val/value" in r.get("values", {})]
    assert max(trial.intermediate_values.values()) < max(own)


def test_several_objectives_are_told_in_their_order_and_nobody_prunes(root: Path) -> None:
    study = study_of(root, tune__objectives=["bytes_ratio", "seconds"], tune__pruner="none")
    trial = do(root, study)
    assert trial.values is not None
    assert trial.values[0] == pytest.approx(trial.user_attrs["report"]["bytes_ratio"]["mean"])
    assert trial.values[1] > 0
    assert trial.intermediate_values == {}


def test_no_test_image_is_ever_asked_for(root: Path) -> None:
    evaluator = Evaluator()
    do(root, study_of(root), evaluator)
    allowed = {task.logo.digest for task in (*TRAIN, *VAL)}
    jobs: list[Job] = evaluator.jobs
    assert len(jobs) > 100
    assert {job.logo.digest for job in jobs} <= allowed
