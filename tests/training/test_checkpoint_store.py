import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DataError
from pipeline.core.facts.training import CheckpointEntry
from pipeline.settings.params import CheckpointSettings
from pipeline.training.checkpoint import Checkpoint, pack
from pipeline.training.checkpoint_store import INDEX, CheckpointStore, best_of, bound_store, entry_of, files_in, kept_of
from tests.support.fakes import settings_with


def keeping(**changes: Any) -> CheckpointSettings:
    return settings_with(**{f"checkpoints__{name}": value for name, value in changes.items()}).checkpoints


def state(timesteps: int, **metrics: float) -> Checkpoint:
    summary = {"timesteps": timesteps, "seed": 1, "phase": "training", "metrics": metrics}
    return Checkpoint({"summary": summary}, {"weights": np.full(4, timesteps, np.float32)})


def filled(folder: Path, count: int = 3, **changes: Any) -> CheckpointStore:
    store = CheckpointStore(folder, keeping(**changes))
    for number in range(1, count + 1):
        store.save(state(10 * number), "interval")
    return store


def steps(store: CheckpointStore) -> list[int]:
    return [entry.timesteps for entry in store.entries()]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_last_the_best_and_every_nth_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keeping(keep_last=2, keep_every=5))
    for number in range(1, 13):
        store.save(state(number, value=-abs(number - 3)), "validation")
    assert steps(store) == [3, 5, 10, 11, 12]
    best = store.best()
    assert best is not None
    assert best.timesteps == 3
    latest = store.latest()
    assert latest is not None
    assert latest[1].facts["summary"]["timesteps"] == 12


entries = st.lists(st.one_of(st.none(), st.floats(-9, 9)), max_size=30).map(
    lambda values: [
        CheckpointEntry(
            name=f"{n:06d}-{n}.ckpt",
            number=n,
            seed=1,
            timesteps=n,
            phase="training",
            reason="interval",
            saved_seconds=0.0,
            bytes=1,
            metrics={} if value is None else {"ssim": value},
        )
        for n, value in enumerate(values, 1)
    ]
)


@given(entries, st.integers(1, 5), st.integers(0, 4), st.sampled_from(["max", "min"]))
def test_retention_never_loses_the_best_or_the_latest(
    found: list[CheckpointEntry], last: int, every: int, mode: str
) -> None:
    settings = keeping(keep_last=last, keep_every=every, best_metric="ssim", best_mode=mode)
    kept = kept_of(found, settings)
    assert {e.name for e in found[-last:]} <= kept
    assert len(kept) <= last + 1 + (len(found) // every if every else 0)
    measured = [e.metrics["ssim"] for e in found if e.metrics]
    best = best_of(found, settings)
    assert (best is None) == (not measured)
    if best is not None:
        assert best.name in kept
        assert best.metrics["ssim"] == (max(measured) if mode == "max" else min(measured))
    # Letting go again of what was kept lets go of nothing.
    assert kept_of([e for e in found if e.name in kept], settings) == kept


@pytest.mark.parametrize("index", [None, "", "[{}]", "{", "[" * 100_000, '[{"name": "../../x"}]'])
def test_a_lost_or_garbled_index_is_made_anew_from_the_files(tmp_path: Path, index: str | None) -> None:
    before = filled(tmp_path).entries()
    path = tmp_path / "checkpoints" / INDEX
    path.unlink() if index is None else path.write_text(index)
    assert filled(tmp_path, 0).entries() == before


def test_an_index_with_another_figure_is_not_believed(tmp_path: Path) -> None:
    before = filled(tmp_path).entries()
    path = tmp_path / "checkpoints" / INDEX
    text = path.read_text()
    path.write_text(text.replace('"timesteps": 20', '"timesteps": 21'))
    assert path.read_text() != text
    assert filled(tmp_path, 0).entries() == before


def test_a_file_that_the_index_does_not_know_is_read(tmp_path: Path) -> None:
    store = filled(tmp_path)
    known = (tmp_path / "checkpoints" / INDEX).read_bytes()
    store.save(state(40), "interval")
    (tmp_path / "checkpoints" / INDEX).write_bytes(known)
    assert steps(filled(tmp_path, 0)) == [20, 30, 40]


def test_a_damaged_one_is_named_and_the_one_before_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(tmp_path)
    newest = files_in(store.folder)[-1]
    damage(newest)
    latest = filled(tmp_path, 0).latest()
    assert latest is not None
    assert latest[1].facts["summary"]["timesteps"] == 20
    assert newest.name in caplog.text
    assert "SHA-256" in caplog.text


def test_no_number_is_given_twice_even_after_a_damaged_one(tmp_path: Path) -> None:
    store = filled(tmp_path)
    damage(files_in(store.folder)[-1])
    (store.folder / INDEX).unlink()
    filled(tmp_path, 0).save(state(30), "interval")
    assert [path.name for path in files_in(store.folder)][-1] == "000004-30.ckpt"


def test_what_a_kill_left_is_cleared_away(tmp_path: Path) -> None:
    store = filled(tmp_path)
    left = store.folder / ".0123456789abcdef.ckpt"
    left.write_bytes(b"half")
    store.clear_half_written()
    assert not left.exists()
    assert steps(store) == [10, 20, 30]


def test_pruning_removes_damaged_ones_and_what_new_settings_do_not_keep(tmp_path: Path) -> None:
    store = filled(tmp_path, 3)
    damage(files_in(store.folder)[0])
    (store.folder / INDEX).unlink()
    again = CheckpointStore(tmp_path, keeping(keep_last=1))
    assert again.prune() == ["000001-10.ckpt", "000002-20.ckpt"]
    assert steps(again) == [30]


def test_the_store_of_all_runs_is_bounded_oldest_first(tmp_path: Path) -> None:
    for run in ("a", "b", "c"):
        for path in files_in(filled(tmp_path / run).folder):
            os.utime(path, (ord(run), ord(run)))
    size = next((tmp_path / "a").glob("checkpoints/*.ckpt")).stat().st_size
    gone = bound_store(tmp_path, 9 * size // 2, spare=[tmp_path / "c"])  # room for four; sizes differ by a byte or two
    assert [f"{p.parent.parent.name}/{p.name[:6]}" for p in gone] == [
        "a/000001",
        "a/000002",
        "b/000001",
        "b/000002",
        "a/000003",
    ]
    assert bound_store(tmp_path, 10**9, spare=[]) == []


def test_compressed_ones_are_smaller_and_read_alike(tmp_path: Path) -> None:
    even = Checkpoint(state(1).facts, {"weights": np.zeros(10_000, np.float32)})
    plain, small = (CheckpointStore(tmp_path / str(c), keeping(compress=c)) for c in (False, True))
    assert small.save(even, "interval").bytes < plain.save(even, "interval").bytes / 10
    latest = small.latest()
    assert latest is not None
    np.testing.assert_array_equal(latest[1].arrays["weights"], even.arrays["weights"])


WHOLE = {"number": 1, "seed": 1, "timesteps": 1, "phase": "training", "reason": "interval", "saved_seconds": 1.0}


@pytest.mark.parametrize(
    "summary",
    [
        None,
        7,
        {},
        WHOLE,
        WHOLE | {"metrics": 3},
        WHOLE | {"metrics": {"value": "much"}},
        WHOLE | {"metrics": {"value": 10**400}},
        WHOLE | {"metrics": {}, "phase": "lunch"},
        WHOLE | {"metrics": {}, "reason": ["interval"]},
        WHOLE | {"metrics": {}, "saved_seconds": 1e300},
        WHOLE | {"metrics": {}, "timesteps": 1.5},
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, summary: Any) -> None:
    path = tmp_path / "000001-1.ckpt"
    path.write_bytes(pack(Checkpoint({"summary": summary}, {}), compress=False))
    with pytest.raises(DataError, match="does not say what it is a checkpoint of"):
        entry_of(path, Checkpoint({"summary": summary}, {}))


def test_a_folder_that_cannot_be_tidied_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    store = filled(tmp_path)
    (store.folder / "index.new").mkdir()
    store.save(state(40), "interval")
    assert "not tidied up" in caplog.text
    assert files_in(store.folder)[-1].name == "000004-40.ckpt"
