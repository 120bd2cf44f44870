"""One process at a time writes a run's folder. The kernel frees the lock when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pipeline.core.errors import StorageError, Unavailable

LOCK = "lock"
_PAUSE_SECONDS = 0.05


class Lock:
    """Taken when made; `release` or the end of the process gives it back.

    wait_seconds: how long to wait for whoever has it. Raises Unavailable, which names the holder, or StorageError.
    """

    def __init__(self, folder: Path, name: str = LOCK, *, wait_seconds: float = 0.0) -> None:
        self._path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+")
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot be written ({error.strerror}); choose a folder you own"
            ) from error
        if not self._taken(time.monotonic() + wait_seconds):
            holder = _described(self._file)
            self._file.close()
            raise Unavailable(f"run {folder.name} is being written by {holder}; wait for it, or stop it")
        self._sign()

    def release(self) -> None:
        self._file.close()

    def _taken(self, until: float) -> bool:
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(_PAUSE_SECONDS)

    def _sign(self) -> None:
        """Say who has it. Only for people: what counts is the kernel's lock."""
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv)[:200],
        }
        self._file.truncate(0)
        self._file.write(json.dumps(holder))
        self._file.flush()


@contextmanager
def free(folder: Path, name: str = LOCK) -> Iterator[bool]:
    """Holds the lock for the block where nobody has it; says whether it does."""
    try:
        lock = Lock(folder, name)
    except Unavailable:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _described(file: IO[str]) -> str:
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
