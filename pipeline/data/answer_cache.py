"""Answers about image files: one SQLite file per folder of images, so that only changed files are read again.

An answer is a dict of plain values, valid while the file's size, its time of change and the key stay the same; the key
covers everything else that decides an answer. Answers are written every second, so a kill costs no more than that.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Self

from pipeline.core.errors import StorageError
from pipeline.data.images import path_of

WRITE_EVERY_SECONDS = 1.0
_BUSY_SECONDS = 20.0

_log = logging.getLogger(__name__)

CachedAnswer = dict[str, Any]

_TABLE = "CREATE TABLE IF NOT EXISTS stamped (path TEXT PRIMARY KEY, stamp TEXT, answer TEXT)"
"""stamp: the file's size and time of change, and the key of the answer."""


class AnswerCache:
    """Use it with `with`: new answers are written when the block ends, however it ends.

    folder: of the SQLite files. root: the folder of images. A damaged file costs only time. Raises StorageError when
    the file cannot be written.
    """

    def __init__(self, folder: Path, root: Path, key: str) -> None:
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
        self._file = folder / f"{name}.sqlite"
        self._root = root
        self._key = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._stamps: dict[str, str] = {}
        self._unwritten: dict[str, CachedAnswer] = {}
        self._written_at = monotonic()
        with self._repair():
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write()
        finally:
            self._connection.close()

    def get(self, path: str) -> CachedAnswer | None:
        """None when the file is new or has changed."""
        try:
            status = (self._root / path_of(path)).stat()
        except OSError:
            return None
        stamp = f"{status.st_size} {status.st_mtime_ns} {self._key}"
        row: tuple[str, str] | None = None
        query = "SELECT stamp, answer FROM stamped WHERE path = ?"
        with self._repair():
            row = self._connection.execute(query, (path,)).fetchone()
        if row is not None and row[0] == stamp:
            with suppress(ValueError):  # damage that SQLite does not see
                answer: CachedAnswer = json.loads(row[1])
                return answer
        self._stamps[path] = stamp
        return None

    def put(self, path: str, answer: CachedAnswer) -> None:
        """After `get` returned None. Ignored for a file that could not be examined."""
        if path in self._stamps:
            self._unwritten[path] = answer
        if monotonic() - self._written_at > WRITE_EVERY_SECONDS:
            self._write()

    def keep_only(self, paths: Iterable[str]) -> None:
        """Forgets all other paths."""
        with self._repair(), self._connection:
            gone = {path for (path,) in self._connection.execute("SELECT path FROM stamped")}.difference(paths)
            self._connection.executemany("DELETE FROM stamped WHERE path = ?", ((path,) for path in gone))

    def _write(self) -> None:
        rows = [(path, self._stamps[path], json.dumps(answer)) for path, answer in self._unwritten.items()]
        with self._repair(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO stamped VALUES (?, ?, ?)", rows)
        self._unwritten.clear()
        self._written_at = monotonic()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS)
        try:
            connection.execute(_TABLE)
        except BaseException:  # a signal as well: the caller gets no connection to close
            connection.close()
            raise
        return connection

    @contextmanager
    def _repair(self) -> Iterator[None]:
        """Replaces a damaged file by an empty one; the block's own work is then skipped."""
        try:
            try:
                yield
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                _log.warning("%s: is damaged (%s); starting a new one, images are read again", self._file, error)
                self._file.unlink()
                self._connection = self._open()
        except (OSError, sqlite3.Error) as error:
            remedy = "make room for it, and see that you may write it"
            raise StorageError(f"{self._file}: cannot be used ({error}); {remedy}") from error
