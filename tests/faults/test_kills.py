"""Trainings killed at any instant: what is left is sound, and goes on to the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.training.checkpoint import read_checkpoint
from pipeline.training.checkpoint_store import files_in, latest_in
from tests.support.nursery import Nursery
from tests.support.tally import tally

KILLS = int(os.environ.get("TRACEWRIGHT_KILLS", "3"))
STOPS = int(os.environ.get("TRACEWRIGHT_STOPS", "1"))
LONGEST_SECONDS = 1.5

pytestmark = pytest.mark.slow


def damaged(folder: Path) -> int:
    """How many of a training's checkpoints cannot be read."""
    count = 0
    for path in files_in(folder / "checkpoints"):
        try:
            read_checkpoint(path)
        except DataError:
            count += 1
    return count


def test_a_training_killed_again_and_again_comes_to_the_same_bits(
    nursery: Nursery, undisturbed: str, tmp_path: Path
) -> None:
    rng = random.Random(1)
    killed = finished = in_a_save = corrupt = 0
    folder = tmp_path / "0"
    while killed < KILLS:
        folder.mkdir(exist_ok=True)
        process = nursery.start(folder)
        # Late enough, on the whole, for some progress each time: the first state is saved after half a second.
        time.sleep(rng.uniform(0, LONGEST_SECONDS))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        if nursery.status() == -signal.SIGKILL:
            killed += 1
            in_a_save += bool(list((folder / "checkpoints").glob(".*.ckpt")))
            corrupt += damaged(folder)
            continue
        assert (folder / "digest").read_text() == undisturbed
        finished += 1
        folder = tmp_path / str(finished)
    nursery.start(folder)
    assert nursery.status() == 0
    assert (folder / "digest").read_text() == undisturbed
    assert corrupt == 0
    tally(
        "SIGKILL at a random instant",
        killed=killed,
        inside_a_save=in_a_save,
        corrupt=corrupt,
        trainings_to_the_same_bits=finished + 1,
    )


def saved_steps(folder: Path) -> int:
    latest = latest_in(folder / "checkpoints")
    return int(latest[1].facts["summary"]["timesteps"]) if latest else 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_leaves_a_checkpoint_and_loses_no_step(
    nursery: Nursery, undisturbed: str, tmp_path: Path, number: signal.Signals
) -> None:
    rng = random.Random(int(number))
    stopped, lost, slowest = 0, 0, 0.0
    folder = tmp_path / "0"
    while stopped < STOPS:
        folder.mkdir(exist_ok=True)
        process = nursery.start(folder)
        time.sleep(rng.uniform(0.05, LONGEST_SECONDS))
        started = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(process, number)
        status = nursery.status()
        if status == 75:
            stopped += 1
            slowest = max(slowest, time.monotonic() - started)
            lost += int((folder / "steps").read_text()) - saved_steps(folder)
            continue
        assert status == 0, (folder / "error").read_text()
        assert (folder / "digest").read_text() == undisturbed
        folder = tmp_path / str(int(folder.name) + 1)
    nursery.start(folder)
    assert nursery.status() == 0
    assert (folder / "digest").read_text() == undisturbed
    assert lost == 0
    tally(f"{number.name} at a random instant", stopped=stopped, slowest_seconds=round(slowest, 3), steps_lost=lost)
