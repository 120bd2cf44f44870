"""The local truth about a run's metrics: a file of JSON lines that is only appended to.

What MLflow already has is remembered beside it as a byte offset, so a later process sends the rest and nothing twice.
"""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import StorageError
from pipeline.files import write_json

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./ :-]{0,249}")


@dataclass(frozen=True, slots=True)
class Point:
    """One measured value. timestamp: milliseconds since 1970, UTC."""

    name: str
    value: float
    step: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Points that MLflow does not have yet. end: the offset in bytes behind the last of them."""

    points: Sequence[Point]
    end: int


class Journal:
    """`folder/journal.jsonl` and `folder/sent.json`. One process writes at a time; its threads may share it.

    refused: how often a value that is no finite number was offered, by name. Each is in the file too, but never sent.
    Raises StorageError when the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.jsonl"
        self.refused: Counter[str] = Counter()
        self._cursor = folder / "sent.json"
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            self._drop_torn_line()
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror}); is the disk full?") from error
        self._sent = min(self._read_cursor(), self.path.stat().st_size)

    def append(self, values: Mapping[str, float], step: int) -> list[Point]:
        """Write down values measured now; returns those accepted. Raises ValueError for a name MLflow cannot hold."""
        timestamp = time.time_ns() // 1_000_000
        accepted, lines = [], []
        for name, value in values.items():
            if not _NAME.fullmatch(name) or os.path.normpath(name) != name:
                raise ValueError(f"{name!r} cannot be the name of a metric")
            point = Point(name, float(value), int(step), timestamp)
            if math.isfinite(point.value):
                accepted.append(point)
                lines.append(json.dumps(asdict(point)))
            else:
                self.refused[name] += 1
                lines.append(json.dumps(asdict(point) | {"value": None, "refused": str(point.value)}))
        self._write("".join(line + "\n" for line in lines).encode())
        return accepted

    def pending(self, limit: int) -> Batch:
        """The oldest at most `limit` points that `mark_sent` has not confirmed."""
        points: list[Point] = []
        with self.path.open("rb") as file:
            file.seek(self._sent)
            end = self._sent
            for line in file:
                if len(points) == limit or not line.endswith(b"\n"):
                    break
                end += len(line)
                record = json.loads(line)
                if "refused" not in record:
                    points.append(Point(**record))
        return Batch(points, end)

    def mark_sent(self, end: int) -> None:
        """Everything before `end` is in MLflow."""
        if end != self._sent:
            self._sent = end
            write_json(self._cursor, {"bytes": end})

    def close(self) -> None:
        self._file.close()

    def _write(self, text: bytes) -> None:
        try:
            with self._lock:
                self._file.write(text)
                self._file.flush()
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written ({error.strerror}); is the disk full?") from error

    def _drop_torn_line(self) -> None:
        """A line without its end is what a kill left of a write that never happened."""
        content = self.path.read_bytes()
        self._file.truncate(content.rfind(b"\n") + 1)

    def _read_cursor(self) -> int:
        try:
            return int(json.loads(self._cursor.read_text())["bytes"])
        except FileNotFoundError:
            return 0
