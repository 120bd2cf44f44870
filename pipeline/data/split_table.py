"""data/splits.parquet: the assignment of images to splits, with the settings it was made with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.parquet import read_table, write_table
from pipeline.core.records import SplitName
from pipeline.data.catalogue import CatalogueEntry
from pipeline.data.links import Item
from pipeline.data.splits import SplitRow, assign
from pipeline.settings.params import Settings

TABLE = Path("data/splits.parquet")
SUMMARY = Path("data/splits.json")

_SCHEMA = pa.schema([(field.name, pa.string()) for field in fields(SplitRow)])
_MADE_WITH = b"tracewright"


def split_catalogue(
    entries: Sequence[CatalogueEntry], settings: Settings, previous: Sequence[SplitRow]
) -> list[SplitRow]:
    """Assign the images of a catalogue; those of `previous` stay where they are."""
    items = [Item(e.path, e.digest, e.category, e.brand, e.hash) for e in entries]
    split = settings.split
    ratios: dict[SplitName, float] = {"train": split.train_ratio, "val": split.val_ratio, "test": split.test_ratio}
    return assign(items, ratios, split.seed, split.near_duplicate_bits, previous)


def write_splits(rows: Sequence[SplitRow], settings: Settings, path: Path) -> None:
    """Raises StorageError."""
    schema = _SCHEMA.with_metadata({_MADE_WITH: json.dumps(_made_with(settings), sort_keys=True).encode()})
    write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), path)


def read_previous(path: Path, settings: Settings) -> list[SplitRow]:
    """An earlier assignment to keep; empty without a file, or when it was made with other settings or data."""
    try:
        table = read_table(path)
        same = json.loads((table.schema.metadata or {})[_MADE_WITH]) == _made_with(settings)
        return [SplitRow(**row) for row in table.to_pylist()] if same else []
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _made_with(settings: Settings) -> dict[str, Any]:
    return {"root": settings.data.root, **settings.split.model_dump()}
