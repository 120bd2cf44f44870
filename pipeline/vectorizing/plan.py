"""The plan of a sharded run: the files, cut into shards, and the conditions under which they are vectorised.

    DIR/.sharded/plan/plan.json      the conditions; the number of files and shards; their digest
    DIR/.sharded/plan/00000.jsonl    the files of a shard, one per line
    DIR/.sharded/results/            part-00000.parquet: a shard that is done; summary.json
    DIR/                             the SVGs, at their images' paths; results.jsonl, once all is done

The plan is written once, whole, before anything else. A shard is done when its part exists.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, Mismatch
from pipeline.core.files import writing
from pipeline.core.mappings import flatten
from pipeline.data.images import KINDS, path_of
from pipeline.vectorizing.disk import sync_disk, write_unsynced
from pipeline.vectorizing.inputs import Entry, Inputs, with_svgs

SCHEMA_VERSION = 3
PLAN, PARTS = Path(".sharded/plan"), Path(".sharded/results")
FILE = "plan.json"
_HALF_WRITTEN = ".plan-"


@dataclass(frozen=True, slots=True)
class Plan:
    """output: DIR. asked: the conditions and inputs that decide the results, as plain values.

    lists: the SHA-256 of each shard's list. digest: of all else.
    """

    output: Path
    files: int
    shards: int
    shard_files: int
    lists: Sequence[str]
    asked: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.values()).encode()).hexdigest()

    def values(self) -> dict[str, Any]:
        """What plan.json holds beside the digest."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "output"}

    def entries(self, shard: int) -> list[Entry]:
        """Raises DataError when its list cannot be read, or is not the one that was written."""
        path = self.output / PLAN / _list_name(shard)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}); start again with another -o") from error
        if hashlib.sha256(content).hexdigest() != self.lists[shard]:
            raise DataError(f"{path}: is damaged; start again with another -o")
        return [Entry(**json.loads(line)) for line in content.decode().splitlines()]

    def count(self, shard: int) -> int:
        """The number of files in a shard."""
        return min(self.shard_files, self.files - shard * self.shard_files)

    def part(self, shard: int) -> Path:
        return self.output / PARTS / f"part-{shard:05d}.parquet"

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
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); start again with another -o") from error
    if not isinstance(values, dict) or values.pop("schema_version", None) != SCHEMA_VERSION:
        raise Mismatch(f"{path}: is not a plan of this version of tracewright; choose another -o")
    digest = values.pop("digest", None)
    try:
        plan = Plan(output=output, **values)
    except TypeError as error:
        raise DataError(f"{path}: is damaged ({error}); start again with another -o") from error
    if plan.digest != digest:
        raise DataError(f"{path}: is damaged; start again with another -o")
    return plan


def write_plan(
    output: Path,
    inputs: Inputs,
    asked: Mapping[str, Any],
    shard_files: int,
    check_stop: Callable[[], None] = lambda: None,
) -> Plan:
    """Lists the inputs and writes the plan, whole or not at all. Raises DataError if there is no file, StorageError."""
    folder = (output / PLAN).with_name(f"{_HALF_WRITTEN}{secrets.token_hex(4)}")
    files, lists = 0, list[str]()
    try:
        entries = (_unless_there(entry, output) for entry in with_svgs(inputs.entries()))
        while shard := list(islice(entries, shard_files)):
            check_stop()
            text = "".join(
                json.dumps({name: value for name, value in asdict(entry).items() if value is not None}) + "\n"
                for entry in shard
            )
            write_unsynced(folder / _list_name(len(lists)), text)
            lists.append(hashlib.sha256(text.encode()).hexdigest())
            files += len(shard)
        if not files:
            raise DataError(f"no images found ({KINDS}); check the inputs")
        plan = Plan(output, files, len(lists), shard_files, lists, dict(asked) | inputs.described())
        values = {"schema_version": SCHEMA_VERSION} | plan.values() | {"digest": plan.digest}
        write_unsynced(folder / FILE, json.dumps(values, indent=2) + "\n")
        sync_disk(folder)
        with writing(output / PLAN):
            folder.rename(output / PLAN)
        sync_disk(output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return plan


def _unless_there(entry: Entry, output: Path) -> Entry:
    """An SVG that is there before the run may be the designer's own."""
    if entry.error is None and entry.svg is not None and (there := output / path_of(entry.svg)).exists():
        return replace(entry, error=f"exists: {there} is there already; give another -o")
    return entry


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
        parts = output / PARTS
        for left in [*parts.parent.glob(f"{_HALF_WRITTEN}*"), *parts.glob(".*.parquet")]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        parts.mkdir(parents=True, exist_ok=True)
