"""The results of a shard as Parquet, one row per file with the fields of VectorizeResult, and sums over many shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import DataError
from pipeline.core.parquet import read_table, write_table
from pipeline.vectorizing.batch import VectorizeResult

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("status", pa.string()),
        ("svg", pa.string()),
        ("sha256", pa.string()),
        ("params", pa.string()),
        ("traces", pa.int32()),
        ("bytes", pa.int64()),
        ("default_bytes", pa.int64()),
        ("damage", pa.float64()),
        ("default_damage", pa.float64()),
        ("delta", pa.float64()),
        ("seconds", pa.float64()),
        ("parsed", pa.bool_()),
        ("note", pa.string()),
        ("curve", pa.string()),
        ("error", pa.string()),
    ]
)


_SUMS = ("bytes", "default_bytes", "seconds")


@dataclass(frozen=True, slots=True)
class Tally:
    """How many files there were of each status, the bytes of the SVGs, those of VTracer's defaults, and seconds.

    unparsed: SVGs that are as VTracer printed them.
    """

    improved: int = 0
    default: int = 0
    failed: int = 0
    unparsed: int = 0
    bytes: int = 0
    default_bytes: int = 0
    seconds: float = 0.0

    @property
    def files(self) -> int:
        return self.improved + self.default + self.failed

    def plus(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def write_part(path: Path, results: Sequence[VectorizeResult]) -> None:
    """Whole or absent. `params` and `curve` become JSON text. Raises StorageError."""
    rows = [asdict(r) | {"params": _json(r.params), "curve": _json(r.curve)} for r in results]
    write_table(pa.Table.from_pylist(rows, SCHEMA), path)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def read_results(path: Path) -> Iterator[VectorizeResult]:
    """The rows of a part, as they were before it was written. Raises DataError."""
    for row in _read(path).to_pylist():
        for name in ("params", "curve"):
            row[name] = row[name] and json.loads(row[name])
        yield VectorizeResult(**row)


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return read_table(path, columns)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise DataError(f"{path}: is damaged ({error}); delete it, and the same command does it again") from error


def tally_of(results: Iterable[VectorizeResult]) -> Tally:
    return _tally(pa.Table.from_pylist([asdict(r) | {"params": None, "curve": None} for r in results], SCHEMA))


def read_tally(paths: Iterable[Path]) -> Tally:
    """Sums over parts, one at a time. Raises DataError when one cannot be read."""
    total = Tally()
    for path in paths:
        total = total.plus(_tally(_read(path, ["status", "parsed", *_SUMS])))
    return total


def _tally(table: pa.Table) -> Tally:
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["status"]).to_pylist()}
    sums = {name: pc.sum(table[name]).as_py() or 0 for name in _SUMS}
    unparsed = pc.sum(pc.invert(table["parsed"])).as_py() or 0
    statuses = {status: counts.get(status, 0) for status in ("improved", "default", "failed")}
    return Tally(**statuses, unparsed=unparsed, **sums)
