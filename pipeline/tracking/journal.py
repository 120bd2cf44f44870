"""The local truth about a run: a file of JSON lines that only grows, and is synced at each append.

Every line is a record with a `kind`:

    start    time, experiment, name, params, tags, datasets
    metrics  step, time, values                      measured at a step
    refused  step, time, values                      not finite: counted, never sent
    tags     tags
    artifact path, folder, sha256                    a file, kept in the run's folder
    model    name, step, params, metrics, dataset, sha256
    resume                                           the run continues
    end      time, status, failure, refused

Each also has `crc`, the CRC-32 of the line before it. Times are milliseconds since 1970. A resumed training replays the
steps since its last checkpoint, so records that exist (a metric by name and step, a model by name, an artifact by
content) are not written again. After the end of the run, a metric that differs from the one at its step is a new
measurement, and is written.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import DataError, StorageError
from pipeline.core.files import append_whole, drop_torn_line, sha256_of, writing
from pipeline.tracking.lineage import Dataset

JOURNAL = "journal.jsonl"
VALUES_PER_RECORD = 1000

EndStatus = Literal["FINISHED", "FAILED", "KILLED"]
Record = dict[str, Any]

_log = logging.getLogger(__name__)

_CRC = b', "crc": "'
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ :-]{0,249}")


class Journal:
    """`folder/journal.jsonl`, and beside it the files and models that it names. One process writes at a time.

    Records that do not fit on the disk wait in memory, with a warning, and are written with the next.
    refused: number of values that were not finite, by name. status: that of the last `end`, None while the run
    continues. size: bytes of whole records. Raises StorageError when the folder cannot be used, DataError when the file
    is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL
        self.refused: Counter[str] = Counter()
        self.status: EndStatus | None = None
        self.size = 0
        self._waiting: list[Record] = []
        self._known: dict[tuple[str, int], tuple[int, float | str]] = {}
        self._models: set[str] = set()
        self._artifacts: set[tuple[str, str | None, str]] = set()
        with writing(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            drop_torn_line(self.path)
        with ExitStack() as opening:
            opening.callback(self.close)
            for record, end in records(self.path, 0):
                self._apply(record)
                self.size = end
            opening.pop_all()

    def start(
        self,
        experiment: str,
        name: str | None,
        params: Mapping[str, str],
        tags: Mapping[str, str],
        datasets: Sequence[Dataset],
    ) -> None:
        described = [asdict(dataset) for dataset in datasets]
        self._append(
            {"kind": "start", "time": _now(), "experiment": experiment, "name": name}
            | {"params": dict(params), "tags": dict(tags), "datasets": described}
        )

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Values measured now. Raises ValueError for a name that MLflow cannot hold."""
        wrong = [n for n in values if not _NAME.fullmatch(n) or os.path.normpath(n) != n]
        if wrong:
            raise ValueError(f"{wrong[0]!r} cannot be the name of a metric")
        fresh = {name: float(value) for name, value in values.items() if self._is_new(name, int(step), float(value))}
        finite = iter([(name, value) for name, value in fresh.items() if math.isfinite(value)])
        common: Record = {"step": int(step), "time": _now()}
        written = []
        while part := dict(islice(finite, VALUES_PER_RECORD)):
            written.append({"kind": "metrics", **common, "values": part})
        if odd := {name: str(value) for name, value in fresh.items() if not math.isfinite(value)}:
            written.append({"kind": "refused", **common, "values": odd})
        self._append(*written)

    def tags(self, tags: Mapping[str, str]) -> None:
        self._append({"kind": "tags", "tags": {name: str(value) for name, value in tags.items()}})

    def artifact(self, path: Path, folder: str | None) -> None:
        """Records a file, and copies it, because it may change before it is sent. Raises StorageError."""
        with writing(self.path):
            digest = sha256_of(path)
            if (path.name, folder, digest) in self._artifacts:
                return
            kept = Path("files", digest[:16], path.name)
            (self.folder / kept).parent.mkdir(parents=True, exist_ok=True)
            _copy(path, self.folder / kept)
        self._append({"kind": "artifact", "path": str(kept), "folder": folder, "sha256": digest})

    def model(
        self,
        files: Sequence[Path],
        name: str,
        step: int,
        params: Mapping[str, str],
        metrics: Mapping[str, float],
        dataset: str | None,
    ) -> None:
        """Records an agent with copies of its files, and its results on `dataset`, written before by `metrics`."""
        if name in self._models:
            return
        kept = self.folder / "models" / name
        with writing(self.path):
            kept.mkdir(parents=True, exist_ok=True)
            for file in files:
                _copy(file, kept / file.name)
        achieved = {n: [known[1], known[0]] for n in metrics if (known := self._known.get((n, step))) is not None}
        self._append(
            {"kind": "model", "name": name, "step": step, "params": {k: str(v) for k, v in params.items()}}
            | {"metrics": {n: v for n, v in achieved.items() if isinstance(v[0], float)}, "dataset": dataset}
            | {"sha256": {file.name: sha256_of(kept / file.name) for file in files}}
        )

    def resume(self) -> None:
        self._append({"kind": "resume"})

    def end(self, status: EndStatus, failure: str | None) -> None:
        """Raises StorageError when waiting records still cannot be written."""
        ended = {"kind": "end", "time": _now(), "status": status, "failure": failure}
        self._append(ended | {"refused": dict(self.refused)})
        if self._waiting:
            self._write_waiting()

    def close(self) -> None:
        self._file.close()

    def _is_new(self, name: str, step: int, value: float) -> bool:
        known = self._known.get((name, step))
        if known is None:
            return True
        return self.status is not None and known[1] != (value if math.isfinite(value) else str(value))

    def _append(self, *written: Record) -> None:
        """All records in one write, synced once."""
        for record in written:
            self._apply(record)
        self._waiting += written
        try:
            self._write_waiting()
        except StorageError as error:
            _log.warning("%s; %d records wait for it", error, len(self._waiting))

    def _write_waiting(self) -> None:
        content = b"".join(map(line_of, self._waiting))
        if not content:
            return
        with writing(self.path):
            append_whole(self._file, content, sync=True)
        self.size += len(content)
        self._waiting.clear()

    def _apply(self, record: Record) -> None:
        match record["kind"]:
            case "metrics" | "refused":
                if record["kind"] == "refused":
                    self.refused.update(record["values"].keys())
                step, when = record["step"], record["time"]
                self._known |= {(name, step): (when, value) for name, value in record["values"].items()}
            case "model":
                self._models.add(record["name"])
            case "artifact":
                self._artifacts.add((Path(record["path"]).name, record["folder"], record["sha256"]))
            case "start" | "resume":
                self.status = None
            case "end":
                self.status = record["status"]


def line_of(record: Record) -> bytes:
    body = json.dumps(record, allow_nan=False)[:-1].encode()
    return b'%b%b%08x"}\n' % (body, _CRC, zlib.crc32(body))


def _record_of(line: bytes) -> Record:
    """Raises ValueError for a line that is not what was written. One without a checksum is of an earlier release."""
    record: Record = json.loads(line)
    body, _, checksum = line.rpartition(_CRC)
    if record.pop("crc", None) is not None and checksum != b'%08x"}\n' % zlib.crc32(body):
        raise ValueError("its checksum is another")
    record["kind"]
    return record


def records(path: Path, begin: int) -> Iterator[tuple[Record, int]]:
    """Whole records from the byte offset `begin` on, each with the offset of its end.

    Raises DataError for any other line: the journal is of an earlier release, or damaged.
    """
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                return
            begin += len(line)
            try:
                record = _record_of(line)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
                raise DataError(
                    f"{path}: the line that ends at byte {begin} is no record of this release ({error!r}); "
                    "move the run's folder away, or train again with `make repro`"
                ) from error
            yield record, begin


def _now() -> int:
    return time.time_ns() // 1_000_000


def _copy(source: Path, target: Path) -> None:
    """Copies and syncs, since the record that follows promises the file."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
