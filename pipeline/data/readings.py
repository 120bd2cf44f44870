"""Reading many image files on all cores, and not reading again those that did not change.

A reading holds what the pixels say, never what the settings decide about categories, so a cache survives those.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, astuple, dataclass
from functools import cache
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
from tqdm import tqdm

from pipeline import pixels
from pipeline.data import hashes, images, probe
from pipeline.data.images import Limits, path_of
from pipeline.errors import ImageRejected
from pipeline.files import write_text
from pipeline.records import pixel_digest

FEW = 48  # images that are read sooner than worker processes start


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one image file.

    sha256: of the file. digest: of the pixels. mode: Pillow's name of the pixel format in the file. hash: perceptual,
    64 hex digits. measures: in the order of MEASURE_NAMES.
    """

    sha256: str
    digest: str
    file_bytes: int
    width: int
    height: int
    mode: str
    hash: str
    measures: tuple[float, ...]


Result = Reading | ImageRejected


def read_one(root: Path, path: str, limits: Limits) -> Reading:
    """Read and measure one image, named relative to the root as in `images.path_text`. Raises ImageRejected."""
    content = images.read_file(root / path_of(path), limits, path)
    rgba, mode = images.decode(content, limits, path)
    seen = pixels.on_background(rgba, pixels.rgb_of(limits.background))
    return Reading(
        sha256=hashlib.sha256(content).hexdigest(),
        digest=pixel_digest(rgba),
        file_bytes=len(content),
        width=rgba.shape[1],
        height=rgba.shape[0],
        mode=mode,
        hash=hashes.perceptual_hash(seen),
        measures=astuple(probe.measure_composited(seen, np.ascontiguousarray(rgba[..., 3]))),
    )


def read_all(root: Path, paths: Sequence[str], limits: Limits, workers: int, cache_folder: Path) -> dict[str, Result]:
    """Every path's reading or rejection, from the cache where size and time of change are as they were.

    What was read is kept even when this is interrupted.
    """
    kept = _Cache(cache_folder, root, limits)
    results: dict[str, Result] = {}
    unread: list[str] = []
    for path in paths:
        known = kept.get(path)
        if known is None:
            unread.append(path)
        else:
            results[path] = known
    try:
        for path, result in _read(root, unread, limits, workers):
            results[path] = result
            kept.put(path, result)
    finally:
        kept.save()
    return {path: results[path] for path in paths}


def _read(root: Path, paths: list[str], limits: Limits, workers: int) -> Iterator[tuple[str, Result]]:
    if not paths:
        return
    with tqdm(total=len(paths), desc="reading images", unit="image", disable=None) as bar:
        source = _in_processes if workers > 1 and len(paths) > FEW else _here
        for done in source(root, paths, limits, workers):
            bar.update()
            yield done


def _here(root: Path, paths: list[str], limits: Limits, workers: int) -> Iterator[tuple[str, Result]]:
    for path in paths:
        yield path, _result(_attempt(root, path, limits), path)


def _in_processes(root: Path, paths: list[str], limits: Limits, workers: int) -> Iterator[tuple[str, Result]]:
    """A file that ends its worker is found by reading what is left one at a time, and costs itself only."""
    done = 0
    while done < len(paths):
        try:
            for answer in _pooled(root, paths[done:], limits, workers):
                yield paths[done], _result(answer, paths[done])
                done += 1
        except BrokenProcessPool:
            if workers == 1:
                detail = "the process that decoded it ended; save it again as PNG"
                yield paths[done], ImageRejected(paths[done], "crashed", detail)
                done += 1
            workers = 1


def _pooled(root: Path, paths: list[str], limits: Limits, workers: int) -> Iterator[dict[str, Any]]:
    """Workers start as fresh interpreters; only strings, numbers and dicts of them cross."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (str(root), asdict(limits)))
    try:
        chunk = 1 if workers == 1 else min(16, 1 + len(paths) // (4 * workers))
        yield from pool.map(_attempt_in_worker, paths, chunksize=chunk)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_worker: tuple[Path, Limits] | None = None


def _start_worker(root: str, limits: dict[str, Any]) -> None:
    global _worker
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _worker = Path(root), Limits(**limits)


def _attempt_in_worker(path: str) -> dict[str, Any]:
    assert _worker is not None, "the pool's initializer ran"
    return _attempt(_worker[0], path, _worker[1])


def _attempt(root: Path, path: str, limits: Limits) -> dict[str, Any]:
    """A reading or a rejection as plain values, for a pipe or for the cache."""
    try:
        return asdict(read_one(root, path, limits))
    except ImageRejected as rejected:
        return {"reason": rejected.reason, "detail": rejected.detail}


def _result(answer: dict[str, Any], path: str) -> Result:
    if "reason" in answer:
        return ImageRejected(path, answer["reason"], answer["detail"])
    return Reading(**{**answer, "measures": tuple(answer["measures"])})


@cache
def _code_version() -> str:
    """Of all that decides a reading: this package's sources and the libraries that decode and measure."""
    hasher = hashlib.sha256(f"{PIL.__version__} {cv2.__version__} {np.__version__}".encode())
    for module in ("pixels.py", "data/images.py", "data/probe.py", "data/hashes.py"):
        hasher.update(files("pipeline").joinpath(module).read_bytes())
    return hasher.hexdigest()


class _Cache:
    """One JSON file per folder of images: path -> [bytes, time of change in ns, answer].

    Written under other limits or by other code, it is ignored; damaged, too: it only saves time.
    """

    def __init__(self, folder: Path, root: Path, limits: Limits) -> None:
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
        self._file = folder / f"{name}.json"
        self._root = root
        self._key = {"limits": asdict(limits), "code": _code_version()}
        self._known = self._load()
        self._stamps: dict[str, list[int]] = {}
        self._changed = False

    def get(self, path: str) -> Result | None:
        try:
            status = (self._root / path_of(path)).stat()
        except OSError:
            return None
        self._stamps[path] = stamp = [status.st_size, status.st_mtime_ns]
        known = self._known.get(path)
        return _result(known[1], path) if known and known[0] == stamp else None

    def put(self, path: str, result: Result) -> None:
        """A file that could not be opened is asked again next time: permissions change without a trace in it."""
        if path not in self._stamps:
            return
        match result:
            case Reading():
                self._known[path] = [self._stamps[path], asdict(result)]
            case ImageRejected(reason=reason, detail=detail) if reason not in ("unreadable", "crashed"):
                self._known[path] = [self._stamps[path], {"reason": reason, "detail": detail}]
        self._changed = True

    def save(self) -> None:
        if self._changed:
            write_text(self._file, json.dumps({**self._key, "known": self._known}))

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            same = all(content[key] == value for key, value in self._key.items())
            return dict(content["known"]) if same else {}
        except (OSError, ValueError, LookupError, TypeError):
            return {}
