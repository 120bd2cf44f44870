"""Many small files, whole or absent, synced once for all of them instead of one by one.

`files.write_text` waits for the disk twice per file: 12 ms for an image that takes 30. A shard counts as done only when
its part exists, and that is written after `sync_disk`; whatever a power cut destroys before is done again.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.files import writing

_libc = ctypes.CDLL(None, use_errno=True)


def write_unsynced(path: Path, text: str) -> None:
    """Writes a file so that no reader and no kill sees a part of it; a power cut may, until `sync_disk` has returned.

    The next write of the same file overwrites what a kill left. Raises StorageError.
    """
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(text.encode("utf-8"))
            with suppress(FileNotFoundError):  # a cluster repeats a shard: another process has just written the same
                temporary.replace(path)
    except StorageError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync_disk(folder: Path) -> None:
    """Waits until everything written to the file system of `folder` is on the disk (syncfs(2)). Raises StorageError."""
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
