"""The images to be vectorised, one after another and never all in memory: from folders, files or a list of paths."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.core.errors import DataError
from pipeline.data.images import SUFFIXES, path_of, path_text
from pipeline.vectorizing.batch import MAX_NAME_BYTES

OUTSIDE = "outside"
"""The folder, among the SVGs, of listed files that do not lie below the current folder."""

STDIN = Path("-")
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was when it was listed. path: that of the results, as text. error: why it was turned away unread.

    file_bytes, mtime_ns: -1 where it could not be asked, which its reading will tell.
    """

    file: str
    path: str
    file_bytes: int = -1
    mtime_ns: int = -1
    error: str | None = None

    @property
    def svg(self) -> Path:
        """Relative to the folder of SVGs; it needs no other file's name to be told from it."""
        relative = path_of(self.path)
        if len(os.fsencode(relative.name)) + len(".svg") > MAX_NAME_BYTES:
            return relative.with_name(hashlib.sha256(os.fsencode(relative.name)).hexdigest() + ".svg")
        return relative.with_name(relative.name + ".svg")

    def change(self) -> str | None:
        """What is no longer as it was listed, in words."""
        try:
            status = path_of(self.file).stat()
        except OSError:
            return None  # Whoever reads it says more.
        if self.mtime_ns < 0 or (status.st_size, status.st_mtime_ns) == (self.file_bytes, self.mtime_ns):
            return None
        return f"it is not the file that was listed ({self.file_bytes} bytes then, {status.st_size} now); list it anew"


class Inputs(Protocol):
    """What a command was given."""

    def described(self) -> dict[str, Any]:
        """What makes it another command; may be asked before and after `entries`."""
        ...

    def entries(self) -> Iterator[Entry]: ...


class Folders:
    """Files, and folders with all images below them.

    Of a single folder the paths are relative to it; of several inputs each begins with its own name, numbered where
    two have the same. Raises DataError when one does not exist.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        missing = [str(p) for p in paths if not p.exists()]
        if missing:
            raise DataError(f"{', '.join(missing)}: no such file or folder; give image files or folders of them")
        self._paths = [Path(os.path.normpath(Path.cwd() / p)) for p in paths]

    def described(self) -> dict[str, Any]:
        return {"inputs": [path_text(p) for p in self._paths]}

    def entries(self) -> Iterator[Entry]:
        if len(self._paths) == 1 and self._paths[0].is_dir():
            yield from _below(self._paths[0], Path())
            return
        taken: set[str] = set()
        for path in self._paths:
            label = _free(path.name or "root", taken)
            taken.add(label)
            yield from _below(path, Path(label)) if path.is_dir() else [_entry(path, Path(label))]


class Listed:
    """Paths from a file or standard input, one a line, or with NUL between them when there is any NUL.

    Each is its own path in the results; what does not lie below the current folder is put below `outside/`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest: str | None = None
        if path != STDIN and not path.is_file():
            raise DataError(f"{path}: no such file; give a text file with one path per line, or - for standard input")

    def described(self) -> dict[str, Any]:
        if self._digest is None:
            for _ in self.entries():
                pass
        return {"list_sha256": self._digest}

    def entries(self) -> Iterator[Entry]:
        hasher = hashlib.sha256()
        here = Path.cwd()
        for line in self._lines():
            hasher.update(line + b"\0")
            path = Path(os.path.normpath(here / os.fsdecode(line)))
            relative = path.relative_to(here) if path.is_relative_to(here) else None
            # What lies in a folder of that name is put there too, or two files could share an SVG.
            leaves = relative is None or relative.parts[:1] == (OUTSIDE,)
            yield _entry(path, Path(OUTSIDE, *path.parts[1:]) if leaves or relative is None else relative)
        self._digest = hasher.hexdigest()

    def _lines(self) -> Iterator[bytes]:
        with sys.stdin.buffer if self._path == STDIN else self._path.open("rb") as file:
            yield from (line for line in _split(file) if line)


def _split(file: IO[bytes]) -> Iterator[bytes]:
    piece = file.read(_PIECE)
    separator = b"\0" if b"\0" in piece else b"\n"
    rest = b""
    while piece:
        *lines, rest = (rest + piece).split(separator)
        yield from lines
        piece = file.read(_PIECE)
    yield rest


def _free(name: str, taken: set[str]) -> str:
    candidates = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
    return next(n for n in candidates if n not in taken)


def _entry(file: Path, relative: Path) -> Entry:
    try:
        status = file.stat()
    except OSError:
        return Entry(path_text(file), path_text(relative))
    return Entry(path_text(file), path_text(relative), status.st_size, status.st_mtime_ns)


def _below(root: Path, label: Path) -> Iterator[Entry]:
    """As `list_images`, in the order of the file system; a folder's subfolders after its files, sorted."""
    real_root = os.path.realpath(root)
    folders = [Path()]
    while folders:
        folder = folders.pop()
        inner: list[Path] = []
        try:
            with os.scandir(root / folder) as found:
                for entry in found:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(folder / entry.name)
                    else:
                        yield from _file(entry, folder / entry.name, label, real_root)
        except OSError as error:
            detail = f"unreadable: {error.strerror}; check that you may open the folder"
            yield Entry(path_text(root / folder), path_text(label / folder), error=detail)
        folders += sorted(inner, reverse=True)


def _file(entry: os.DirEntry[str], relative: Path, label: Path, real_root: str) -> Iterator[Entry]:
    is_folder = entry.is_dir()
    if not is_folder and Path(entry.name).suffix.lower() not in SUFFIXES:
        return
    if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(real_root):
        detail = "link: it is a link out of the folder; copy what it points to"
        yield Entry(path_text(Path(entry.path)), path_text(label / relative), error=detail)
    elif not is_folder:
        try:
            status = entry.stat()
        except OSError:
            status = None
        size, mtime = (status.st_size, status.st_mtime_ns) if status else (-1, -1)
        yield Entry(path_text(Path(entry.path)), path_text(label / relative), size, mtime)
