"""Parquet files whose pages have checksums: without them a flipped bit is another value that nothing reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.files import whole


def write_table(table: Any, path: Path) -> None:
    """table: of pyarrow. Whole or absent. Raises StorageError."""
    import pyarrow.parquet as pq

    with whole(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_table(path: Path, columns: Sequence[str] | None = None, filters: Any = None) -> Any:
    """A table of pyarrow. Raises OSError or ValueError where the file is missing or damaged."""
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns, filters=filters, page_checksum_verification=True)
    except NotImplementedError as error:  # the damage reads as an encoding of the future
        raise OSError(str(error)) from error
