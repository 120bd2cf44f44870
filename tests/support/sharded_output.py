"""What a sharded run has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.vectorizing.plan import open_plan


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """By path, without the seconds."""
    plan = open_plan(output)
    assert plan is not None
    every = [row for shard in range(plan.shards) for row in pq.read_table(plan.part(shard)).to_pylist()]
    assert len({row["path"] for row in every}) == len(every) == plan.files
    return {row["path"]: {name: value for name, value in row.items() if name != "seconds"} for row in every}


def svgs(output: Path) -> dict[str, bytes]:
    """And whatever else lies among them, but for the run's own files."""
    own = (".sharded", ".lock", "results.jsonl")
    files = [p.relative_to(output) for p in output.rglob("*") if p.is_file()]
    return {str(p): (output / p).read_bytes() for p in files if p.parts[0] not in own}
