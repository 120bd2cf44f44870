"""The table of all usable images: path, category and measures of each.

Processes that read images import this module through the program that started them, so pyarrow, which they do not need,
is imported where it is used.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.core.errors import DataError, ImageRejected
from pipeline.core.files import reading
from pipeline.core.parquet import write_table
from pipeline.core.records import Category
from pipeline.data.categories import categorise, category_of_folder
from pipeline.data.images import KINDS, ImageLimits, list_images, path_text
from pipeline.data.links import brand_of
from pipeline.data.probe import MEASURE_NAMES, Measures
from pipeline.data.readings import Reading, read_all
from pipeline.settings.params import DataSettings

TABLE = Path("data/catalogue.parquet")
CACHE = Path(".tracewright/catalogue")
_ROWS_AT_ONCE = 4096

CategorySource = Literal["folder", "pixels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One usable image.

    path: relative to data.root, as `images.path_text` writes it. digest: of the pixels. sha256: of the file.
    mode: Pillow's name of the pixel format in the file. confidence: the probability of the category, None where the
    folder decided. hash: perceptual (`data.hashes`). brand: what variants of one logo share (`links.brand_of`).
    """

    path: str
    digest: str
    sha256: str
    file_bytes: int
    width: int
    height: int
    mode: str
    category: Category
    category_source: CategorySource
    confidence: float | None
    brand: str
    hash: str
    measures: Measures

    @property
    def quality(self) -> float:
        return self.measures.quality


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Entries and rejects, each sorted by path."""

    entries: list[CatalogueEntry]
    rejected: list[ImageRejected]


def build_catalogue(settings: DataSettings, project: Path, workers: int = 0) -> Catalogue:
    """Finds, checks, measures and categorises every image below data.root.

    project: the folder that data.root and the cache are relative to. workers: processes that read; 0 = one per core.
    Raises DataError when the folder is missing or empty, or when more than data.max_reject_ratio of it is rejected.
    """
    root = project / settings.root
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; put logos there, or set data.root to the folder that has them")
    found, rejected = list_images(root)
    paths = [path_text(path) for path in found]
    workers = workers or len(os.sched_getaffinity(0))
    results = read_all(root, paths, ImageLimits.of(settings), workers, project / CACHE)
    entries = [_entry(path, result, settings) for path, result in results.items() if isinstance(result, Reading)]
    rejected += [result for result in results.values() if isinstance(result, ImageRejected)]
    catalogue = Catalogue(entries, sorted(rejected, key=lambda r: r.path))
    _check_rejects(catalogue, root, settings.max_reject_ratio)
    return catalogue


def _entry(path: str, read: Reading, settings: DataSettings) -> CatalogueEntry:
    measures = Measures(*read.measures)
    category = category_of_folder(PurePosixPath(path), settings.folders)
    source: CategorySource = "folder"
    confidence = None
    if category is None:
        source = "pixels"
        category, confidence = categorise(measures)
    return CatalogueEntry(
        path=path,
        category=category,
        category_source=source,
        confidence=confidence,
        brand=brand_of(path),
        **asdict(read) | {"measures": measures},
    )


def _check_rejects(catalogue: Catalogue, root: Path, allowed: float) -> None:
    rejected = catalogue.rejected
    total = len(catalogue.entries) + len(rejected)
    if total == 0:
        raise DataError(f"{root}: no images found ({KINDS}); put logos there, or set data.root to another folder")
    if catalogue.entries and len(rejected) <= allowed * total:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(r.reason for r in rejected).most_common())
    first = "\n  ".join(str(r) for r in rejected[:10])
    more = f"\n  and {len(rejected) - 10} more" if len(rejected) > 10 else ""
    raise DataError(
        f"{root}: {len(rejected)} of {total} images were rejected ({reasons}), more than data.max_reject_ratio "
        f"{allowed:g}; repair or remove them, or raise it:\n  {first}{more}"
    )


def write_catalogue(entries: Sequence[CatalogueEntry], path: Path) -> None:
    """One row per image, a column per measure. Raises StorageError."""
    import pyarrow as pa

    types = {"file_bytes": pa.int64(), "width": pa.int32(), "height": pa.int32(), "confidence": pa.float64()}
    names = [name for name in CatalogueEntry.__dataclass_fields__ if name != "measures"]
    columns = [(name, types.get(name, pa.string())) for name in names]
    columns += [(name, pa.float64()) for name in MEASURE_NAMES]
    # Column by column: a hundred thousand rows as dicts would be four times as large.
    values = {name: [getattr(entry, name) for entry in entries] for name in names}
    values |= {name: [getattr(entry.measures, name) for entry in entries] for name in MEASURE_NAMES}
    write_table(pa.table(values, schema=pa.schema(columns)), path)


def read_catalogue(path: Path) -> list[CatalogueEntry]:
    """Raises DataError when it is missing, damaged or of another version."""
    import pyarrow.parquet as pq

    with reading(path, "dvc repro catalogue"), pq.ParquetFile(path, page_checksum_verification=True) as file:
        rows = (row for batch in file.iter_batches(_ROWS_AT_ONCE) for row in batch.to_pylist())
        # `measures` first: it takes its columns out of the row.
        return [CatalogueEntry(measures=Measures(*map(row.pop, MEASURE_NAMES)), **row) for row in rows]
