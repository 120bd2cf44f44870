"""Reading many image files on all cores, and unchanged files only once.

A reading holds what the pixels say, never what the settings decide about categories, so that a cache survives those.
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

from pipeline.core import pixels
from pipeline.core.errors import ImageRejected
from pipeline.core.processes import end_with_parent
from pipeline.core.records import pixel_digest
from pipeline.data import hashes, images, probe
from pipeline.data.answer_cache import AnswerCache, CachedAnswer
from pipeline.data.images import ImageLimits, path_of

FEW = 48  # so many images are read sooner than worker processes start


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of one image file.

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


WHITE = "#ffffff"

ReadingResult = Reading | ImageRejected


def read_one(root: Path, path: str, limits: ImageLimits) -> Reading:
    """Read and measure one image, named relative to the root as in `images.path_text`. Raises ImageRejected."""
    content = images.read_file(root / path_of(path), limits, path)
    rgba, mode = images.decode(content, limits, path)
    seen = pixels.on_background(rgba, pixels.rgb_of(limits.background or WHITE))
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


def read_all(
    root: Path, paths: Sequence[str], limits: ImageLimits, workers: int, cache_folder: Path
) -> dict[str, ReadingResult]:
    """Every path's reading or rejection, from the cache where size and time of change are the same.

    Readings survive an interruption or a kill. Raises StorageError when the cache cannot be written.
    """
    key = json.dumps({"limits": asdict(limits), "code": _code_version()})
    results: dict[str, ReadingResult] = {}
    unread: list[str] = []
    with AnswerCache(cache_folder, root, key) as cached:
        for path in paths:
            answer = cached.get(path)
            if answer is None:
                unread.append(path)
            else:
                results[path] = _result(answer, path)
        if unread:
            read = _in_processes if workers > 1 and len(unread) > FEW else _here
            steps = read(root, unread, limits, workers)
            for path, answer in tqdm(steps, total=len(unread), desc="reading images", unit="image", disable=None):
                results[path] = _result(answer, path)
                # A file that could not be opened is tried again next time: its permissions may change without a trace.
                if answer.get("reason") not in ("unreadable", "crashed"):
                    cached.put(path, answer)
        cached.keep_only(paths)
    return {path: results[path] for path in paths}


def _here(root: Path, paths: list[str], limits: ImageLimits, workers: int) -> Iterator[tuple[str, CachedAnswer]]:
    for path in paths:
        yield path, _attempt(root, path, limits)


def _in_processes(
    root: Path, paths: list[str], limits: ImageLimits, workers: int
) -> Iterator[tuple[str, CachedAnswer]]:
    """A file that ends its worker is found by reading the rest one at a time, and costs only itself."""
    done = 0
    while done < len(paths):
        try:
            for answer in _pooled(root, paths[done:], limits, workers):
                yield paths[done], answer
                done += 1
        except BrokenProcessPool:
            if workers == 1:
                detail = "the process that decoded it ended; save it again as PNG"
                yield paths[done], {"reason": "crashed", "detail": detail}
                done += 1
            workers = 1


def _pooled(root: Path, paths: list[str], limits: ImageLimits, workers: int) -> Iterator[CachedAnswer]:
    """Workers start as fresh interpreters; only strings, numbers and dicts of them cross."""
    arguments = (str(root), asdict(limits), os.getpid())
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, arguments)
    try:
        chunk = 1 if workers == 1 else min(16, 1 + len(paths) // (4 * workers))
        yield from pool.map(_attempt_in_worker, paths, chunksize=chunk)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


_worker: tuple[Path, ImageLimits] | None = None


def _start_worker(root: str, limits: dict[str, Any], parent: int) -> None:
    global _worker
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    cv2.setNumThreads(1)
    _worker = Path(root), ImageLimits(**limits)


def _attempt_in_worker(path: str) -> CachedAnswer:
    assert _worker is not None, "the pool's initializer ran"
    return _attempt(_worker[0], path, _worker[1])


def _attempt(root: Path, path: str, limits: ImageLimits) -> CachedAnswer:
    """A reading or a rejection as plain values, for a pipe or for the cache."""
    try:
        return asdict(read_one(root, path, limits))
    except ImageRejected as rejected:
        return {"reason": rejected.reason, "detail": rejected.detail}


def _result(answer: CachedAnswer, path: str) -> ReadingResult:
    if "reason" in answer:
        return ImageRejected(path, answer["reason"], answer["detail"])
    return Reading(**{**answer, "measures": tuple(answer["measures"])})


@cache
def _code_version() -> str:
    """A digest of everything that decides a reading: our sources, and the libraries that decode and measure."""
    hasher = hashlib.sha256(f"{PIL.__version__} {cv2.__version__} {np.__version__}".encode())
    for module in ("core/pixels.py", "data/images.py", "data/probe.py", "data/hashes.py"):
        hasher.update(files("pipeline").joinpath(module).read_bytes())
    return hasher.hexdigest()
