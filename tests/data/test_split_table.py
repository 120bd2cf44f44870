from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.split_table import read_previous, write_splits
from pipeline.data.splits import SplitRow
from tests.support.fakes import settings_with

ROWS = [
    SplitRow("a/ü\n.png", "d1", "simple", "a/ü\n.png", "train"),
    SplitRow("b.png", "d2", "text", "b.png", "val"),
    SplitRow("c.png", "d3", "complex", "c.png", "aside"),
]


def test_the_table_gives_the_rows_back(tmp_path: Path) -> None:
    write_splits(ROWS, settings_with(), tmp_path / "data/splits.parquet")
    assert read_previous(tmp_path / "data/splits.parquet", settings_with()) == ROWS


@pytest.mark.parametrize(
    "changes",
    [
        {"split__seed": 2},
        {"split__train_ratio": 0.6, "split__val_ratio": 0.3},
        {"split__near_duplicate_bits": 5},
        {"data__root": "elsewhere"},
    ],
)
def test_other_settings_start_anew(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    write_splits(ROWS, settings_with(), path)
    assert read_previous(path, settings_with(**changes)) == []


def test_settings_that_do_not_matter_do_not(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    write_splits(ROWS, settings_with(), path)
    assert read_previous(path, settings_with(train__seed=9)) == ROWS


def test_none_or_a_damaged_table_start_anew(tmp_path: Path) -> None:
    path = tmp_path / "splits.parquet"
    assert read_previous(path, settings_with()) == []
    path.write_bytes(b"no table")
    assert read_previous(path, settings_with()) == []
