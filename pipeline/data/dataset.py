"""The images of a split, decoded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.core.errors import DataError, ImageRejected, Mismatch
from pipeline.core.facts.data import SplitSummary
from pipeline.core.files import reading
from pipeline.core.json_records import read_record
from pipeline.core.parquet import read_table
from pipeline.core.records import Logo, SplitName
from pipeline.data import split_table
from pipeline.data.images import load_logo
from pipeline.data.splits import SplitRow
from pipeline.settings.params import DataSettings


def read_splits(root: Path) -> list[SplitRow]:
    """All rows of data/splits.parquet. Raises DataError when it is missing or unreadable."""
    path = root / split_table.TABLE
    with reading(path, "dvc repro split"):
        return [SplitRow(**row) for row in read_table(path).to_pylist()]


def load_split(root: Path, settings: DataSettings, names: Iterable[SplitName]) -> dict[SplitName, list[Logo]]:
    """The images of each split named, in the order of the table.

    Raises Mismatch when an image is gone or is not what it was when it was split.
    """
    entries = read_splits(root)
    folder = root / settings.root
    loaded: dict[SplitName, list[Logo]] = {}
    for name in names:
        loaded[name] = [_load(folder, entry, settings) for entry in entries if entry.split == name]
        if not loaded[name]:
            raise DataError(
                f"{root / split_table.TABLE}: no image is in {name}; add images to {folder} and run `dvc repro`"
            )
    return loaded


def _load(folder: Path, entry: SplitRow, settings: DataSettings) -> Logo:
    try:
        logo = load_logo(folder, entry.path, entry.category, settings)
    except ImageRejected as error:
        raise Mismatch(f"{error}; it was usable when the dataset was split: run `dvc repro` again") from error
    if logo.digest != entry.digest:
        raise Mismatch(f"{folder / entry.path}: has changed since the dataset was split; run `dvc repro` again")
    return logo


def split_summary(root: Path) -> SplitSummary:
    """data/splits.json: counts and content digests of the splits. Raises DataError."""
    return read_record(SplitSummary, root / split_table.SUMMARY, "dvc repro split")
