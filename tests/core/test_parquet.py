"""A flipped bit in a Parquet file is an error or changes nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.parquet import read_table, write_table


@pytest.mark.parametrize("seed", range(40))
def test_no_flipped_bit_changes_a_value(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "table.parquet"
    rows = [{"name": f"image{i}", "value": rng.random(), "count": rng.randrange(9)} for i in range(2000)]
    write_table(pa.Table.from_pylist(rows), path)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    try:
        found = read_table(path).to_pylist()
    except (OSError, ValueError):
        return
    assert found == rows
