"""A training that is left at a chosen place, and gone on with, comes to the bits of one that was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import Stopped
from pipeline.core.records import Evaluation, Job
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import train
from pipeline.training.table import ROUNDS
from tests.support.fakes import Done
from tests.support.nursery import N_ENVS, TRAIN, VAL, SlowEvaluator, digest_of, settings

STEPS = settings().train.total_timesteps // N_ENVS


class Leaving(SlowEvaluator):
    """Raises at the `nth` thing of a kind that is asked for: a step of PPO, or a batch of anything else."""

    def __init__(self, kind: str, nth: int) -> None:
        super().__init__(lambda: None, 0)
        self._left = {kind: nth}

    def _count(self, kind: str) -> None:
        if kind in self._left:
            self._left[kind] -= 1
            if self._left[kind] == 0:
                raise Stopped("as asked")

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        self._count("batch")
        return super().evaluate(jobs)

    def submit(self, jobs: Sequence[Job]) -> Done:
        if len(jobs) == N_ENVS:  # only PPO submits so many at once
            self._count("step")
        return super().submit(jobs)

    def check_stop(self) -> None:
        self._count("check")


def go(folder: Path, evaluator: Leaving) -> tuple[str, Checkpoint]:
    """Train in `folder`, or go on with what was left there."""
    store = CheckpointStore(folder, settings().checkpoints)
    left = store.latest()
    begin: Any = left[1] if left else None
    result = train(
        settings(),
        TRAIN,
        VAL,
        evaluator,
        seed=1,
        checkpoints=store,
        resume_from=begin,
        check_stop=evaluator.check_stop,
    )
    last = store.latest()
    assert last is not None
    return digest_of(result, last[1].arrays), last[1]


def left_at(folder: Path, evaluator: Leaving) -> Checkpoint:
    """The state that a training leaves which is stopped there."""
    with pytest.raises(Stopped):
        go(folder, evaluator)
    latest = CheckpointStore(folder, settings().checkpoints).latest()
    assert latest is not None
    assert latest[1].facts["summary"]["reason"] == "stopped"
    return latest[1]


def in_the_fit(state: Checkpoint) -> bool:
    return bool(state.facts["summary"]["phase"] == "surrogate" and state.facts["fit"]["step"] == 10)


def within_a_rollout(state: Checkpoint) -> bool:
    return len(state.arrays.get("rollout.rewards", [])) > 0


def between_rollouts(state: Checkpoint) -> bool:
    return state.facts["summary"]["phase"] == "training" and "rollout.rewards" not in state.arrays


PLACES: dict[str, tuple[str, int, Callable[[Checkpoint], bool]]] = {
    "in the surrogate's fit": ("check", (1 + ROUNDS) * len(TRAIN) + 10, in_the_fit),
    "at the first step": ("step", 1, between_rollouts),
    "within a rollout": ("step", STEPS // 2 - 1, within_a_rollout),
    "at a rollout's last step": ("step", STEPS, within_a_rollout),
}


@pytest.mark.parametrize(("kind", "nth", "there"), PLACES.values(), ids=PLACES.keys())
def test_it_goes_on_to_the_same_bits(
    undisturbed: str, tmp_path: Path, kind: str, nth: int, there: Callable[[Checkpoint], bool]
) -> None:
    assert there(left_at(tmp_path, Leaving(kind, nth)))
    assert go(tmp_path, Leaving("never", 1))[0] == undisturbed
