"""One process at a time writes a folder. The kernel frees the lock when its holder dies, however it dies."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from pipeline.core.errors import StorageError, Unavailable

LOCK = "lock"


class Lock:
    """Held from its creation until `release`, the end of a `with` block, or the end of the process.

    wait_seconds: how long to wait for another holder. Raises Unavailable, which names the holder, or StorageError.
    """

    def __init__(self, folder: Path, name: str = LOCK, *, wait_seconds: float = 0.0) -> None:
        path = folder / name
        # No fallback to a marker file, which would outlive its holder.
        self._lock = FileLock(path, wait_seconds, thread_local=False, fallback_to_soft=False)
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv)[:200],
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            path.write_text(json.dumps(holder))  # for messages only: what counts is the kernel's lock
        except Timeout:
            raise Unavailable(
                f"run {folder.name} is being written by {_holder(path)}; wait for it, or stop it"
            ) from None
        except OSError as error:
            self._lock.release()
            raise StorageError(f"{path}: cannot be written ({error.strerror}); choose a folder you own") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        self._lock.release()


@contextmanager
def free(folder: Path, name: str = LOCK) -> Iterator[bool]:
    """Holds the lock for the block unless another process holds it; yields whether it does."""
    try:
        lock = Lock(folder, name)
    except Unavailable:
        yield False
        return
    with lock:
        yield True


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
