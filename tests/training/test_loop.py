import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.agent.agent import Agent
from pipeline.core.facts.training import (
    CheckpointProgress,
    EarlyStop,
    PreparationProgress,
    RolloutProgress,
    StageResult,
    Validation,
)
from pipeline.search.loop import run_agent
from pipeline.training.callbacks import TrainingCallback
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import Result, train
from tests.support.fakes import FakeEvaluator, task_of
from tests.support.tiny_training import TRAIN, VAL, tiny

pytestmark = pytest.mark.slow


ONCE = tiny(curriculum__stages=[dict(stage, retries=0) for stage in tiny().curriculum.model_dump()["stages"]])
"""No stage is trained again: as many timesteps as were asked for."""


class Notes(TrainingCallback):
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def on_table(self, progress: PreparationProgress) -> None:
        self.calls.append(("table", progress))

    def on_progress(self, progress: RolloutProgress) -> None:
        self.calls.append(("progress", progress))

    def on_validation(self, report: Validation, agent: Agent, is_best: bool) -> None:
        self.calls.append(("validation", report))

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        self.calls.append(("checkpoint", report))

    def on_stage(self, result: StageResult) -> None:
        self.calls.append(("stage", result))

    def of(self, name: str) -> list[Any]:
        return [value for kind, value in self.calls if kind == name]


@cache
def trained() -> tuple[Result, Notes]:
    notes = Notes()
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = CheckpointStore(Path(folder), ONCE.checkpoints)
        result = train(ONCE, TRAIN, VAL, FakeEvaluator(), seed=1, followers=[notes], checkpoints=checkpoints)
    return result, notes


def test_every_hook_is_called_in_its_time() -> None:
    result, notes = trained()
    assert notes.calls[0][0] == "table"
    told = [(p.phase, p.done / p.total) for p in notes.of("table")]
    assert list(dict.fromkeys(what for what, _ in told)) == ["portfolios", "table", "surrogate"]
    for what, share in dict(told).items():  # the last of each
        assert 0.8 < share <= 1, f"{what} ended at {share}"
    assert [p.timesteps for p in notes.of("progress")] == list(range(32, 257, 32))
    assert [v.timesteps for v in notes.of("validation")] == [0, 128, 256]
    assert [c.timesteps for c in notes.of("checkpoint")] == [0, 64, 128, 192, 256]
    assert [s.name for s in notes.of("stage")] == ["simple", "text", "gradient", "complex"]
    assert result.timesteps == 256
    assert result.stopped is None


def test_the_best_on_validation_is_what_comes_back() -> None:
    result, notes = trained()
    values = {v.timesteps: v.value.mean for v in notes.of("validation")}
    assert result.best_value == max(values.values()) == values[result.best_timesteps]
    assert sum(result.time_shares.values()) == pytest.approx(1.0)
    assert result.peak_memory_bytes > 10**7


def test_the_same_seed_gives_the_same_agent_and_another_another(tmp_path: Path) -> None:
    same, other = (train(ONCE, TRAIN, VAL, FakeEvaluator(), seed=seed).agent for seed in (1, 2))
    first = trained()[0].agent.save(tmp_path)
    assert same.save(tmp_path) == first
    assert other.save(tmp_path) != first


def test_inference_sees_what_training_saw() -> None:
    """The observation of a validated image is built by the same code, so replaying its actions repeats its values."""
    agent = trained()[0].agent
    first, again = (run_agent(agent, VAL, FakeEvaluator(), traces=4, seed=9) for _ in range(2))
    assert [o.values for o in first] == [o.values for o in again]
    one = run_agent(agent, VAL[3:4], FakeEvaluator(), traces=4, seed=9)
    assert one[0].values == first[3].values


def test_early_stopping_ends_a_training_that_does_not_improve() -> None:
    impatient = tiny(train__early_stopping_patience=1, train__eval_every_timesteps=32)
    result = train(impatient, TRAIN, VAL, FakeEvaluator(fails=lambda job: True), seed=1)
    assert result.stopped == EarlyStop(kind="no_improvement", text="no improvement in 1 validations")
    assert result.timesteps < 256
    assert result.failures == {"panic": result.timesteps}


def test_the_memory_limit_ends_a_training() -> None:
    limited = tiny(compute__memory_limit_bytes=500_000_000)
    limited = limited.model_copy(
        update={"compute": limited.compute.model_copy(update={"memory_limit_bytes": 1_000_000})}
    )
    result = train(limited, TRAIN, VAL, FakeEvaluator(), seed=1)
    assert result.stopped is not None
    assert (result.stopped.kind, result.stopped.text[:12]) == ("memory_limit", "memory limit")


def test_a_failed_stage_is_tried_again_and_can_stop_the_training() -> None:
    hard = [dict(s, goal=9.0) for s in tiny().curriculum.model_dump()["stages"]]
    result = train(tiny(curriculum__stages=hard, curriculum__on_failure="stop"), TRAIN, VAL, FakeEvaluator(), seed=1)
    assert [(s.name, s.attempts, s.passed) for s in result.stages] == [
        ("simple", 1, False),
        ("simple", 2, False),
    ]
    assert result.stopped == EarlyStop(kind="stage_not_passed", text="stage simple was not passed")


def test_one_category_alone_can_be_trained_on() -> None:
    tasks = [task_of(seed, "complex") for seed in range(6)]
    result = train(tiny(), tasks, tasks, FakeEvaluator(), seed=1)
    assert list(result.validations[-1].by_category) == ["complex"]
