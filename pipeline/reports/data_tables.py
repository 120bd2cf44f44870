"""The catalogue, the splits and the quality report as the app shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError
from pipeline.core.facts.data import QualityReport
from pipeline.core.json_records import read_record
from pipeline.core.parquet import read_table

CATALOGUE, SPLITS, QUALITY = "data/catalogue.parquet", "data/splits.parquet", "data/quality.json"
SHOWN = ["path", "category", "category_source", "confidence", "width", "height", "file_bytes", "mode", "quality",
         "sharpness", "contrast",
         "noise", "complexity", "digest"]  # fmt: skip


def read_catalogue(root: Path) -> Any:
    """One row per image, as pandas; split and group are there once the images were split. Raises DataError."""
    try:
        table = read_table(root / CATALOGUE).to_pandas()
        table = table[[name for name in SHOWN if name in table.columns]]
        if (root / SPLITS).is_file():
            placed = read_table(root / SPLITS, ["path", "split", "group"]).to_pandas()
            table = table.merge(placed, on="path", how="left")
        missing = {"path", "category", "digest"} - set(table.columns)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{root / CATALOGUE}: cannot be read ({error}); run `dvc repro --force catalogue`") from error
    if missing:
        raise DataError(f"{root / CATALOGUE}: lacks {', '.join(sorted(missing))}; run `dvc repro --force catalogue`")
    return table


def read_quality(root: Path) -> QualityReport:
    """Raises DataError."""
    return read_record(QualityReport, root / QUALITY, "dvc repro --force catalogue")
