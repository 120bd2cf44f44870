"""A training's checkpoint, damaged in every way that a disk can: it is noticed and named, and the one before is used.

TRACEWRIGHT_FLIPS says how many bits are flipped, one at a time.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.core.facts.training import CheckpointEntry
from pipeline.training.checkpoint import pack, read_checkpoint, unpack
from pipeline.training.checkpoint_store import INDEX, CheckpointStore, files_in, latest_in
from tests.support.nursery import run_training, settings
from tests.support.tally import tally

FLIPS = int(os.environ.get("TRACEWRIGHT_FLIPS", "100"))
FILES = max(1, FLIPS // 100)
EDGE_BYTES = 80  # the header's and the trailer's


@pytest.fixture(scope="module", params=["plain", "compressed"])
def content(request: pytest.FixtureRequest, finished: Path) -> bytes:
    newest = read_checkpoint(files_in(finished / "checkpoints")[-1])
    return pack(newest, compress=request.param == "compressed")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run's folder."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def some_bits(content: bytes, count: int) -> list[int]:
    """A sample of those of the header and the trailer, and one of all."""
    size, rng = 8 * len(content), random.Random(1)
    edges = [*range(8 * EDGE_BYTES), *range(size - 8 * EDGE_BYTES, size)]
    return [*rng.sample(edges, min(count, len(edges))), *rng.sample(range(size), min(count, size))]


def unnoticed(content: bytes | memoryview) -> bool:
    """Whether nothing is said of it, or something that does not name the file and the damage."""
    try:
        unpack(content, "run/000007-9.ckpt")
    except DataError as error:
        return not (str(error).startswith("run/000007-9.ckpt: ") and "damaged" in str(error))
    return True


def test_every_bit_that_flips_is_noticed_and_named(content: bytes) -> None:
    unpack(content, "as it was written")
    bits = some_bits(content, FLIPS)
    assert [bit for bit in bits if unnoticed(flipped(content, bit))] == []
    tally("a bit of a checkpoint flipped", flips=len(bits), bytes=len(content), unnoticed=0)


def test_every_truncation_is_noticed_and_named(content: bytes) -> None:
    whole = memoryview(content)
    assert [length for length in range(len(content)) if unnoticed(whole[:length])] == []
    tally("a checkpoint cut short", lengths=len(content), unnoticed=0)


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a bit flipped": lambda content, rng: flipped(content, rng.randrange(8 * len(content))),
    "cut short": lambda content, rng: content[: rng.randrange(len(content))],
    "empty": lambda content, rng: b"",
    "a page of zeros": lambda content, rng: _with_zeros(content, 4096 * rng.randrange(len(content) // 4096)),
    "zeros all over": lambda content, rng: bytes(len(content)),
    "longer": lambda content, rng: content + b"\0",
    "twice": lambda content, rng: content + content,
    "its halves swapped": lambda content, rng: content[len(content) // 2 :] + content[: len(content) // 2],
}


def _with_zeros(content: bytes, start: int) -> bytes:
    return content[:start] + bytes(len(content[start : start + 4096])) + content[start + 4096 :]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_the_one_before_is_used(
    run: Path, damage: Callable[[bytes, random.Random], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    *_, before, newest = files_in(run / "checkpoints")
    content, rng = newest.read_bytes(), random.Random(2)
    for _ in range(FILES):
        caplog.clear()
        newest.write_bytes(damage(content, rng))
        latest = latest_in(run / "checkpoints")
        assert latest is not None
        assert latest[0] == before
        assert str(newest) in caplog.text
        assert "taking the one before it" in caplog.text


def test_a_training_goes_on_from_the_one_before_to_the_same_bits(run: Path, undisturbed: str) -> None:
    newest = files_in(run / "checkpoints")[-1]
    newest.write_bytes(flipped(newest.read_bytes(), 8 * 50_000))
    assert run_training(run) == undisturbed


def test_when_all_are_damaged_there_is_none(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    every = files_in(run / "checkpoints")
    for path in every:
        path.write_bytes(path.read_bytes()[:-1])
    assert latest_in(run / "checkpoints") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(every)


def entries_of(run: Path) -> tuple[list[CheckpointEntry], CheckpointEntry | None]:
    store = CheckpointStore(run, settings().checkpoints)
    return store.entries(), store.best()


def test_an_index_that_is_lost_or_garbled_changes_nothing(run: Path) -> None:
    before = entries_of(run)
    assert len(before[0]) > 2
    assert before[1] is not None
    path = run / "checkpoints" / INDEX
    content, rng = path.read_bytes(), random.Random(3)
    path.unlink()
    assert entries_of(run) == before
    bits = [rng.randrange(8 * len(content)) for _ in range(min(FLIPS // 10, 2000))]
    for changed in [*(flipped(content, bit) for bit in bits), *(content[:-cut] for cut in range(1, 20)), b"", b"[]"]:
        path.write_bytes(changed)
        assert entries_of(run) == before, changed
    tally("a bit of the index flipped", flips=len(bits), wrong=0)
