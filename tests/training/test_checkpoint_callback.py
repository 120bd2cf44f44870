from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import StorageError
from pipeline.core.facts.training import CheckpointEntry, CheckpointProgress, CheckpointReason
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_callback import CheckpointCallback
from pipeline.training.checkpoint_store import CheckpointStore
from tests.support.fakes import settings_with

SETTINGS = settings_with(checkpoints__every_timesteps=100, checkpoints__every_seconds=60.0).checkpoints


def state(timesteps: int) -> Checkpoint:
    summary = {"timesteps": timesteps, "seed": 1, "phase": "training", "metrics": {}}
    return Checkpoint({"summary": summary}, {"weights": np.zeros(3)})


class Full(CheckpointStore):
    """A disk that refuses while `full`."""

    full = True

    def save(self, checkpoint: Checkpoint, reason: CheckpointReason) -> CheckpointEntry:
        if self.full:
            raise StorageError("disk: No space left on device")
        return super().save(checkpoint, reason)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def keeper(
    store: CheckpointStore | None, clock: Clock | None = None
) -> tuple[CheckpointCallback, list[CheckpointProgress]]:
    saved: list[CheckpointProgress] = []
    return CheckpointCallback(store, SETTINGS, saved.append, clock or Clock()), saved


def test_it_is_time_after_so_many_timesteps_or_seconds(tmp_path: Path) -> None:
    clock = Clock()
    keep, saved = keeper(CheckpointStore(tmp_path, SETTINGS), clock)
    assert not keep.due(99)
    assert keep.due(100)
    keep.hold(state(100))
    keep.save("interval")
    assert [report.timesteps for report in saved] == [100]
    assert not keep.due(199)
    clock.now = 59.9
    assert not keep.due(101)
    clock.now = 60.0
    assert keep.due(101)


def test_the_same_state_is_written_once(tmp_path: Path) -> None:
    keep, saved = keeper(CheckpointStore(tmp_path, SETTINGS))
    keep.save("stopped")
    keep.hold(state(1))
    keep.save("interval")
    keep.save_at_the_end("stopped")
    assert len(saved) == 1


def test_a_disk_that_refuses_is_a_warning_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Full(tmp_path, SETTINGS)
    keep, saved = keeper(store)
    keep.hold(state(5))
    keep.save("interval")
    assert "the state at 5 steps is not saved: disk: No space left" in caplog.text
    assert keep.due(6), "at the next chance"
    store.full = False
    keep.hold(state(6))
    keep.save("interval")
    assert [report.timesteps for report in saved] == [6]
    assert not keep.due(7)


def test_at_the_end_a_disk_that_refuses_is_an_error(tmp_path: Path) -> None:
    keep, _ = keeper(Full(tmp_path, SETTINGS))
    keep.hold(state(5))
    with pytest.raises(StorageError, match="No space left"):
        keep.save_at_the_end("stopped")


def test_without_a_store_nothing_is_written() -> None:
    keep, saved = keeper(None)
    keep.hold(state(5))
    keep.save_at_the_end("finished")
    assert saved == []
