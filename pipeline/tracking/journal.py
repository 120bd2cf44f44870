"""The local truth about a run: a file of JSON lines that is only appended to, and synced at each append.

Every line is a record with a `kind`:

    start    time, experiment, name, params, tags, datasets
    metrics  step, time, values                      what was measured at a step
    refused  step, time, values                      what was no finite number: counted, never sent
    tags     tags
    artifact path, folder, sha256                    a file, kept in the run's folder
    model    name, step, params, metrics, dataset, sha256
    resume                                           the run goes on
    end      time, status, failure, refused

Times are milliseconds since 1970. A resumed training replays the steps since its last checkpoint, so what is there
already, a metric by name and step, a model by name, an artifact by content, is not written again. Once the run has
ended, a metric that differs from the one known at its step was measured anew, and is written.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import DataError, StorageError
from pipeline.tracking.lineage import Dataset

JOURNAL = "journal.jsonl"
VALUES_PER_RECORD = 1000

Status = Literal["FINISHED", "FAILED", "KILLED"]
Record = dict[str, Any]

_log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ :-]{0,249}")


class Journal:
    """`folder/journal.jsonl`, with the files and models it speaks of beside it. One process writes at a time.

    Records that a full disk refuses wait in memory, with a warning, and are written with the next.
    refused: how often a value that is no finite number was offered, by name. status: what the last `end` said, None
    while the run goes on. size: bytes of whole records. Raises StorageError when the folder cannot be used, DataError
    when the file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL
        self.refused: Counter[str] = Counter()
        self.status: Status | None = None
        self.size = 0
        self._waiting: list[Record] = []
        self._known: dict[tuple[str, int], tuple[int, float | str]] = {}
        self._models: set[str] = set()
        self._artifacts: set[tuple[str, str | None, str]] = set()
        with self._writable():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            self._drop_torn_line()
        with ExitStack() as opening:
            opening.callback(self.close)
            for record, end in records(self.path, 0):
                self._take_in(record)
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
        finite = {name: value for name, value in fresh.items() if math.isfinite(value)}
        now = _now()
        written = [
            {"kind": "metrics", "step": int(step), "time": now, "values": part}
            for part in _parts(finite, VALUES_PER_RECORD)
        ]
        odd = {name: str(value) for name, value in fresh.items() if name not in finite}
        if odd:
            written.append({"kind": "refused", "step": int(step), "time": now, "values": odd})
        self._append(*written)

    def tags(self, tags: Mapping[str, str]) -> None:
        self._append({"kind": "tags", "tags": {name: str(value) for name, value in tags.items()}})

    def artifact(self, path: Path, folder: str | None) -> None:
        """A file, copied because it may change before it is sent. Raises StorageError when it cannot be."""
        with self._writable():
            digest = _sha256(path)
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
        """An agent's files, copied; and what it achieved on `dataset`, whose values `metrics` wrote at this step."""
        if name in self._models:
            return
        kept = self.folder / "models" / name
        with self._writable():
            kept.mkdir(parents=True, exist_ok=True)
            for file in files:
                _copy(file, kept / file.name)
        achieved = {n: [known[1], known[0]] for n in metrics if (known := self._known.get((n, step))) is not None}
        self._append(
            {"kind": "model", "name": name, "step": step, "params": {k: str(v) for k, v in params.items()}}
            | {"metrics": {n: v for n, v in achieved.items() if isinstance(v[0], float)}, "dataset": dataset}
            | {"sha256": {file.name: _sha256(kept / file.name) for file in files}}
        )

    def resume(self) -> None:
        self._append({"kind": "resume"})

    def end(self, status: Status, failure: str | None) -> None:
        """Raises StorageError when what waits for the disk cannot be written even now."""
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
        """All of them in one write, synced once."""
        for record in written:
            self._take_in(record)
        self._waiting += written
        try:
            self._write_waiting()
        except StorageError as error:
            _log.warning("%s; %d records wait for it", error, len(self._waiting))

    def _write_waiting(self) -> None:
        content = "".join(json.dumps(record, allow_nan=False) + "\n" for record in self._waiting).encode()
        if not content:
            return
        with self._writable():
            try:
                _write_whole(self._file.fileno(), content)
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(self.size)  # a part of a line would spoil the next one
                raise
        self.size += len(content)
        self._waiting.clear()

    def _take_in(self, record: Record) -> None:
        match record["kind"]:
            case "metrics":
                self._remember(record)
            case "refused":
                self.refused.update(record["values"].keys())
                self._remember(record)
            case "model":
                self._models.add(record["name"])
            case "artifact":
                self._artifacts.add((Path(record["path"]).name, record["folder"], record["sha256"]))
            case "start" | "resume":
                self.status = None
            case "end":
                self.status = record["status"]

    def _remember(self, record: Record) -> None:
        step, when = record["step"], record["time"]
        self._known |= {(name, step): (when, value) for name, value in record["values"].items()}

    def _drop_torn_line(self) -> None:
        """A line without its end is what a kill left of a write that never happened."""
        content = self.path.read_bytes()
        if not content.endswith(b"\n"):
            self._file.truncate(content.rfind(b"\n") + 1)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror}); is the disk full?") from error


def records(path: Path, begin: int) -> Iterator[tuple[Record, int]]:
    """Whole records from the offset `begin` in bytes on, each with the offset behind it.

    Raises DataError for a line that is none: a journal of an earlier release, or a damaged one.
    """
    with path.open("rb") as file:
        file.seek(begin)
        for line in file:
            if not line.endswith(b"\n"):
                return
            begin += len(line)
            try:
                record = json.loads(line)
                record["kind"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{path}: the line that ends at byte {begin} is no record of this release ({error!r}); "
                    "move the run's folder away, or train again with `make repro`"
                ) from error
            yield record, begin


def _now() -> int:
    return time.time_ns() // 1_000_000


def _parts(values: Mapping[str, float], size: int) -> Iterator[dict[str, float]]:
    rest = iter(values.items())
    while part := dict(islice(rest, size)):
        yield part


def _write_whole(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Synced, since the record that follows says that it is there."""
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
