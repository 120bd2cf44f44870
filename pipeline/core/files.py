"""Files that are whole or absent, and the project's folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, StorageError, Unavailable


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash at any instant, sees the old content or the new, never a part.

    Raises StorageError when the folder cannot be made or written.
    """
    with whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """NaN and infinity are refused (ValueError): a value that was not measured is left out or null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of the same keys as CSV, with a header; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` for a library to write to; renamed to `path` when the block ends well.

    The temporary file is synced before the rename and the folder after it. Raises StorageError.
    """
    with writing(path, "choose a folder you may write to"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{secrets.token_hex(8)}{path.suffix}"
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with writing(path):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, remedy: str = "is the disk full?") -> Iterator[None]:
    """Turns an OSError in the block into a StorageError about `path`."""
    try:
        yield
    except OSError as error:
        # Libraries put words of their own around the system's, such as "Error writing bytes to file. Detail: ...".
        reason = os.strerror(error.errno) if error.errno else error
        raise StorageError(f"{path}: cannot be written ({reason}); {remedy}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def drop_torn_line(path: Path) -> int:
    """Truncates a file after its last whole line: a kill during an append leaves the start of one.

    Returns the number of lines. Raises OSError.
    """
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
    return content.count(b"\n")


def append_whole(file: io.FileIO, content: bytes, *, sync: bool = False) -> None:
    """All of it or nothing, since a part of a line would spoil the next one. Raises OSError."""
    end = os.fstat(file.fileno()).st_size
    try:
        rest = content
        while rest:
            rest = rest[os.write(file.fileno(), rest) :]
        if sync:
            os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file that one of our commands wrote.

    made_by: the command to run when it is missing. Raises DataError, also for NaN and infinity.
    """
    with reading(path, made_by):
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)


@contextmanager
def reading(path: Path, made_by: str) -> Iterator[None]:
    """Turns what reading and parsing `path` in the block raises into a DataError that says which command makes it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `{made_by}` first") from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it and run `{made_by}`") from error


def sha256_of(path: Path) -> str:
    """In hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def project_root(start: Path | None = None) -> Path | None:
    """The nearest folder at or above `start` (default: the current one) that holds params.yaml and dvc.yaml."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder
    return None


def required_root() -> Path:
    """The project's folder: at or above the current one, else where the package was installed from.

    Raises Unavailable when there is none.
    """
    root = project_root() or project_root(Path(__file__).parent)
    if root is None:
        raise Unavailable(
            "no project folder (params.yaml and dvc.yaml) at or above the current one; "
            "run from there, or name an agent's folder with --model PATH"
        )
    return root
