"""One image of a visitor, vectorised as `tracewright vectorize` does it: by that command itself, in child processes.

The image lies in a temporary folder while it is worked on; nothing of it stays on disk.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.reports.trial_limits import MAX_FILE_BYTES, MAX_PIXELS, MIN_SIDE_PIXELS

SECONDS = 180.0  # of one child process
WAIT_SECONDS = 20.0  # for another visitor's image
TICK_SECONDS = 0.25

ALLOWED = (
    f"Allowed are PNG, JPEG, BMP, TIFF and WebP images, not animated, up to {MAX_FILE_BYTES // 1_000_000} MB and "
    f"{MAX_PIXELS:,} pixels, at least {MIN_SIDE_PIXELS} pixels wide and high."
)

_turn = threading.BoundedSemaphore(1)


class TrialError(Exception):
    """The image, or the machine, is not up to it. The message is for the visitor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoPoint:
    """One of the traces that no other beats in bytes and in damage. chosen: it is what the command wrote."""

    bytes: int
    damage: float
    knee: bool
    chosen: bool
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One SVG. traces: settings tried, 0 for VTracer's default. kept: nothing better than the default was found.

    note: what could not be kept. curve: fewest bytes first, where it was requested.
    """

    traces: int
    svg: str
    bytes: int
    damage: float
    delta: float
    seconds: float
    kept: bool = False
    note: str | None = None
    curve: tuple[ParetoPoint, ...] = ()


Tick = Callable[[float], None]
"""Called several times a second with the seconds since the child began; what it raises ends the child."""


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """One image on this machine at once. Raises TrialError when the wait is long."""
    if not _turn.acquire(timeout=WAIT_SECONDS):
        raise TrialError("Another image is being vectorised on this machine; try again in a moment.")
    try:
        yield
    finally:
        _turn.release()


@contextmanager
def image_file(content: bytes) -> Iterator[Path]:
    """The image in a folder of its own, which is gone afterwards. Raises TrialError for what is seen to be no image."""
    if not content:
        raise TrialError(f"The file is empty. {ALLOWED}")
    if len(content) > MAX_FILE_BYTES:
        raise TrialError(f"The file has {len(content):,} bytes. {ALLOWED}")
    if b"<svg" in content[:4096].lower():
        raise TrialError(f"This is an SVG, a vector drawing already. {ALLOWED}")
    with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
        path = Path(folder) / "image.png"  # decoders go by the content
        path.write_bytes(content)
        yield path


@dataclass(frozen=True, slots=True, kw_only=True)
class InputImage:
    """The image that came in, as PNG, and its size in pixels."""

    png: bytes
    width: int
    height: int


def default_of(path: Path, root: Path, tick: Tick, background: str | None = None) -> tuple[Attempt, InputImage]:
    """VTracer's default, and the image. Raises TrialError for an image that cannot be used.

    background: #rrggbb, below what is transparent.
    """
    started = time.monotonic()
    command = ["pipeline.reports.default_trace", str(path), *([background] if background else [])]
    code, out, err = _child(command, root, tick)
    if code != 0:
        raise TrialError(f"This file cannot be used: {_reason(err)}. {ALLOWED}")
    found = json.loads(out)
    attempt = Attempt(
        traces=0, svg=found["svg"], bytes=found["bytes"], damage=found["damage"], delta=found["delta"],
        seconds=time.monotonic() - started,
    )  # fmt: skip
    return attempt, InputImage(png=base64.b64decode(found["png"]), width=found["width"], height=found["height"])


def ours_of(
    path: Path,
    root: Path,
    traces: int,
    *,
    model: str | None,
    objective: str | None,
    background: str | None = None,
    curve: bool = False,
    tick: Tick,
) -> Attempt:
    """What `tracewright vectorize` makes of it. model: an agent's folder; None for the champion. Raises TrialError."""
    started = time.monotonic()
    output = path.parent / f"out-{traces}"
    command = ["pipeline.cli.main", "vectorize", str(path), "-o", str(output), "--traces", str(traces)]
    command += ["--model", model] if model else []
    command += ["--objective", objective] if objective else []
    command += ["--background", background] if background else []
    command += ["--curve"] if curve else []
    code, _, err = _child(command, root, tick)
    try:
        line = json.loads((output / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
        svg = (output / line["svg"]).read_text(encoding="utf-8") if line["status"] != "failed" else ""
        points = [
            ParetoPoint(**point | {"svg": (output / point["svg"]).read_text(encoding="utf-8")})
            for point in (line["curve"] or [] if curve else [])
        ]
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        raise TrialError(f"It could not be vectorised: {_reason(err) or f'exit code {code}'}") from None
    if line["status"] == "failed":
        raise TrialError(f"It could not be vectorised: {_reason(line['error'])}. {ALLOWED}")
    return Attempt(
        traces=traces, svg=svg, bytes=line["bytes"], damage=line["damage"], delta=line["delta"],
        seconds=time.monotonic() - started, kept=line["status"] == "default", note=line.get("note"),
        curve=tuple(points),
    )  # fmt: skip


def _reason(err: str) -> str:
    """The last line that a command said, without its name and without the short word for programs."""
    last = ([line for line in err.strip().splitlines() if line.strip()] or [""])[-1]
    said = last.removeprefix("tracewright: ").removeprefix("image: ")
    return re.sub(r"^[a-z-]+: ", "", said).rstrip(".")


def _child(command: Sequence[str], root: Path, tick: Tick) -> tuple[int, str, str]:
    """Run a module of ours to its end: (exit code, output, errors). It and all below it end with this call."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as err,
    ):
        child = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=root, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip
        started = time.monotonic()
        try:
            while child.poll() is None:
                passed = time.monotonic() - started
                if passed > SECONDS:
                    raise TrialError(f"It took longer than {SECONDS:.0f} s and was stopped; try a smaller image.")
                tick(passed)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(TICK_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        out.seek(0)
        err.seek(0)
        return child.returncode, out.read(), err.read()
