"""The images to vectorise, streamed, never all in memory: from folders, files or a list of paths."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pipeline.core.errors import DataError
from pipeline.data.images import MAX_NAME_BYTES, PassedOver, path_of, path_text, walk_images

OUTSIDE = "outside"
"""The folder, among the SVGs, of listed files that do not lie below the current folder."""

STDIN = Path("-")
_PIECE = 1 << 16
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def check_existence(paths: Sequence[Path]) -> None:
    """Raises DataError, which names every path that does not exist."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise DataError(f"{', '.join(missing)}: no such file or folder; give image files or folders of them")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as it was when it was listed. path: its name in the results. error: why it was rejected unread.

    file_bytes, mtime_ns: -1 where the file could not be examined; reading it will say why. svg: relative to the
    output's folder, from `with_svgs`.
    """

    file: str
    path: str
    file_bytes: int = -1
    mtime_ns: int = -1
    error: str | None = None
    svg: str | None = None

    def change(self) -> str | None:
        """How the file differs from when it was listed, in words; None when it does not."""
        try:
            status = path_of(self.file).stat()
        except OSError:
            return None  # the later read reports the error
        if self.mtime_ns < 0 or (status.st_size, status.st_mtime_ns) == (self.file_bytes, self.mtime_ns):
            return None
        return f"it is not the file that was listed ({self.file_bytes} bytes then, {status.st_size} now); list it again"


def with_svgs(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries with their SVGs' paths, each given once: the image's with `.svg` for its suffix.

    Where two images would share one, the later keeps its own suffix too, or gets a number. Hashes of the paths stay in
    memory, some 70 MB for a million.
    """
    taken: set[int] = set()
    for entry in entries:
        svg = _free_name(path_of(entry.path), taken)
        taken.add(hash(svg))
        yield replace(entry, svg=path_text(svg))


def _free_name(relative: Path, taken: set[int]) -> Path:
    plain = relative.with_suffix(".svg")
    full = relative.with_name(relative.name + ".svg")
    numbered = (relative.with_name(f"{relative.stem}-{n}.svg") for n in range(2, len(taken) + 3))
    last_resort = relative.with_name(hashlib.sha256(path_text(relative).encode()).hexdigest() + f"-{len(taken)}.svg")
    names = chain([plain, full], numbered, [last_resort])
    return next(n for n in names if hash(n) not in taken and len(os.fsencode(n.name)) <= MAX_NAME_BYTES)


class Inputs(Protocol):
    """Where the images of a run come from."""

    def described(self) -> dict[str, Any]:
        """Values that identify these inputs; may be asked before and after `entries`."""
        ...

    def entries(self) -> Iterator[Entry]: ...


class Folders:
    """Files, and folders with all images below them.

    Of a single folder the paths are relative to it; of several inputs each begins with its own name, numbered where
    two have the same. beside: paths begin as the inputs do instead. passed_over: counts what is no image by name.
    Raises DataError when one does not exist.
    """

    def __init__(self, paths: Sequence[Path], passed_over: PassedOver | None = None, *, beside: bool = False) -> None:
        check_existence(paths)
        self._passed_over = passed_over
        self._given = paths if beside else None
        self._paths = [Path(os.path.normpath(Path.cwd() / p)) for p in paths]

    def described(self) -> dict[str, Any]:
        return {"inputs": [path_text(p) for p in self._paths]}

    def entries(self) -> Iterator[Entry]:
        for path, label in zip(self._paths, self._given or self._labels(), strict=True):
            yield from self._below(path, label) if path.is_dir() else [_entry(path, label)]

    def _labels(self) -> list[Path]:
        if len(self._paths) == 1 and self._paths[0].is_dir():
            return [Path()]
        taken: list[str] = []
        for path in self._paths:
            name = path.name or "root"
            labels = (name if n == 1 else f"{name}-{n}" for n in range(1, len(taken) + 2))
            taken.append(next(label for label in labels if label not in taken))
        return list(map(Path, taken))

    def _below(self, root: Path, label: Path) -> Iterator[Entry]:
        for relative, rejection in walk_images(root, self._passed_over):
            if rejection is None:
                yield _entry(root / relative, label / relative)
            else:
                error = f"{rejection.reason}: {rejection.detail}"
                yield Entry(path_text(root / relative), path_text(label / relative), error=error)


class PathList:
    """Paths from a file or standard input, one per line, or separated by NUL when there is any NUL.

    Lines may end as on Windows, and a byte order mark says which Unicode they are in. A path with backslashes that does
    not exist is read as one with slashes. Results keep each path as it is listed; what lies outside the current folder
    goes below `outside/`.
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
            if b"\\" in line and not path.exists():
                path = Path(os.path.normpath(here / os.fsdecode(line.replace(b"\\", b"/"))))
            relative = path.relative_to(here) if path.is_relative_to(here) else None
            # A listed folder of that name goes there as well, or two files could share an SVG.
            leaves = relative is None or relative.parts[:1] == (OUTSIDE,)
            yield _entry(path, Path(OUTSIDE, *path.parts[1:]) if leaves or relative is None else relative)
        self._digest = hasher.hexdigest()

    def _lines(self) -> Iterator[bytes]:
        try:
            file = sys.stdin.buffer if self._path == STDIN else self._path.open("rb")
        except OSError as error:
            raise DataError(f"{self._path}: cannot be read ({error.strerror}); check that you may read it") from error
        with file:
            pieces = self._pieces(file)
            first = next(pieces, b"")
            separator = b"\0" if b"\0" in first else b"\n"
            # Where the first line ends as on Windows, all do.
            end = b"\r" if separator == b"\n" and first.partition(b"\n")[0].endswith(b"\r") else b""
            rest = b""
            for piece in chain([first], pieces):
                *lines, rest = (rest + piece).split(separator)
                yield from filter(None, (line.removesuffix(end) for line in lines))
            if rest := rest.removesuffix(end):
                yield rest

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        """The list; in UTF-8 and without a byte order mark if it begins with one."""
        pieces = iter(lambda: file.read(_PIECE), b"")
        first = next(pieces, b"")
        encoding = next((name for mark, name in _MARKS.items() if first.startswith(mark)), None)
        if encoding is None:
            yield first
            yield from pieces
            return
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for piece in chain([first], pieces):
                yield decoder.decode(piece).encode()
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            raise DataError(f"{self._path}: is no {encoding}, as its first bytes say; save it as UTF-8") from error


def _entry(file: Path, relative: Path) -> Entry:
    try:
        status = file.stat()
    except OSError:
        return Entry(path_text(file), path_text(relative))
    if stat.S_ISDIR(status.st_mode):
        return Entry(path_text(file), path_text(relative), error="unreadable: it is a folder; list the images in it")
    return Entry(path_text(file), path_text(relative), status.st_size, status.st_mtime_ns)
