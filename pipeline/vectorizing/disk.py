"""Many small files, whole or absent, made sure of once for all of them instead of one by one.

`files.write_text` waits for the disk twice for each file: twelve milliseconds for an image that takes thirty. A shard
counts as done only when its part is there, and that is written after `sync_disk`; what a power cut takes before is done
again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import StorageError

_libc = ctypes.CDLL(None, use_errno=True)


def place(path: Path, text: str) -> None:
    """Write a file so that no reader and no kill sees a part of it; a power cut may, until `sync_disk` has returned.

    What a kill leaves is written over by the next who places this file. Raises StorageError.
    """
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(text.encode("utf-8"))
        with suppress(FileNotFoundError):  # A file that was listed twice: another process has placed the same.
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written ({error.strerror or error}); is the disk full?") from error


def sync_disk(folder: Path) -> None:
    """Wait until all that was written to the file system of `folder` is on the disk (syncfs(2)).

    Raises StorageError when the disk says that it is not.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if _libc.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)
    except OSError as error:
        lost = f"what was written may be lost ({error.strerror})"
        raise StorageError(f"{folder}: {lost}; look at the disk, then run again") from error
