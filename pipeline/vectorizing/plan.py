"""The plan of a sharded run: the files, cut into shards, and the conditions under which they are vectorised.

    DIR/plan/plan.json      the conditions; the number of files and shards; their digest
    DIR/plan/00000.jsonl    the files of a shard, one per line
    DIR/results/            part-00000.parquet: a shard that is done; summary.json
    DIR/svg/                the SVGs, at their images' paths

The plan is written once, whole, before anything else. A shard is done when its part exists.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, Mismatch
from pipeline.core.files import read_json, writing
from pipeline.core.mappings import flatten
from pipeline.data.images import KINDS
from pipeline.vectorizing.disk import sync_disk, write_unsynced
from pipeline.vectorizing.inputs import Entry, Inputs

SCHEMA_VERSION = 2
PLAN, RESULTS, SVGS = "plan", "results", "svg"
FILE = "plan.json"
MADE_BY = "tracewright vectorize --sharded"
_HALF_WRITTEN = ".plan-"


@dataclass(frozen=True, slots=True)
class Plan:
    """output: DIR. asked: the conditions and inputs that decide the results, as plain values."""

    output: Path
    files: int
    shards: int
    shard_files: int
    digest: str
    asked: Mapping[str, Any]

    def entries(self, shard: int) -> list[Entry]:
        """Raises DataError when its list cannot be read."""
        path = self.output / PLAN / _list_name(shard)
        try:
            return [Entry(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); start again with another -o") from error

    def count(self, shard: int) -> int:
        """The number of files in a shard."""
        return min(self.shard_files, self.files - shard * self.shard_files)

    def part(self, shard: int) -> Path:
        return self.output / RESULTS / f"part-{shard:05d}.parquet"

    def missing(self) -> list[int]:
        """The shards that are not done."""
        return [shard for shard in range(self.shards) if not self.part(shard).is_file()]


def _list_name(shard: int) -> str:
    return f"{shard:05d}.jsonl"


def open_plan(output: Path) -> Plan | None:
    """The plan of a folder, if it has one. Raises DataError when it is damaged."""
    path = output / PLAN / FILE
    if not path.parent.is_dir():
        return None
    values = read_json(path, MADE_BY)
    if not isinstance(values, dict) or values.pop("schema_version", None) != SCHEMA_VERSION:
        raise Mismatch(f"{path}: is not a plan of this version of tracewright; choose another -o")
    try:
        return Plan(output=output, **values)
    except TypeError as error:
        raise DataError(f"{path}: is damaged ({error}); start again with another -o") from error


def write_plan(
    output: Path,
    inputs: Inputs,
    asked: Mapping[str, Any],
    shard_files: int,
    check_stop: Callable[[], None] = lambda: None,
) -> Plan:
    """Lists the inputs and writes the plan, whole or not at all. Raises DataError if there is no file, StorageError."""
    folder = output / f"{_HALF_WRITTEN}{secrets.token_hex(4)}"
    hasher = hashlib.sha256()
    files = shards = 0
    try:
        entries = inputs.entries()
        while shard := list(islice(entries, shard_files)):
            check_stop()
            text = "".join(
                json.dumps({name: value for name, value in asdict(entry).items() if value is not None}) + "\n"
                for entry in shard
            )
            hasher.update(text.encode())
            write_unsynced(folder / _list_name(shards), text)
            files, shards = files + len(shard), shards + 1
        if not files:
            raise DataError(f"no images found ({KINDS}); check the inputs")
        plan = Plan(output, files, shards, shard_files, hasher.hexdigest(), dict(asked) | inputs.described())
        values = {name: value for name, value in asdict(plan).items() if name != "output"}
        write_unsynced(folder / FILE, json.dumps({"schema_version": SCHEMA_VERSION} | values, indent=2) + "\n")
        sync_disk(folder)
        with writing(output / PLAN):
            folder.rename(output / PLAN)
        sync_disk(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return plan


def check_same(plan: Plan, asked: Mapping[str, Any]) -> None:
    """Raises Mismatch, which names every difference, when a plan was made for something else."""
    before, now = flatten(plan.asked), flatten(asked)
    names = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if names:
        changes = "; ".join(
            "the list of files has changed"
            if name == "list_sha256"
            else f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
            for name in names
        )
        raise Mismatch(f"{plan.output}: was begun with something else: {changes}; give the same, or another -o")


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def make_folders(output: Path) -> None:
    """Makes DIR's folders, and removes what a kill left half written. Raises StorageError."""
    with writing(output, "choose a folder you own"):
        for left in [*output.glob(f"{_HALF_WRITTEN}*"), *output.glob(f"{RESULTS}/.*.parquet")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        for name in (RESULTS, SVGS):
            (output / name).mkdir(parents=True, exist_ok=True)
