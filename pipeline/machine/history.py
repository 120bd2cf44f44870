"""The machine during one run: a line for every few seconds, kept beside the run's journal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from pipeline.core.files import append_whole, drop_torn_line
from pipeline.machine.deadline import DEADLINE_SECONDS, Source, read_all
from pipeline.machine.gpus import Gpus
from pipeline.machine.processes import read_tree
from pipeline.machine.samples import Moment, ResourceSample, from_line, merged, sample_between, to_line
from pipeline.machine.sources import Machine, disk_space, read_host, read_pressure

HISTORY = "resources.jsonl"
INTERVAL_SECONDS = 5.0
MOST_SAMPLES = 8640
"""Twelve hours of samples, 6 MB. Beyond it two become one, again and again, so the older the coarser."""

CLOSING_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Recorder:
    """Appends a sample of the machine to `folder/resources.jsonl` every few seconds, from a thread of its own.

    Nothing that goes wrong here reaches who records: what cannot be read makes the next interval longer, what cannot
    be written is written later. latest: the newest sample, None before the first. gpus: None for NVIDIA's, by NVML.
    """

    def __init__(
        self,
        folder: Path,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        machine: Machine | None = None,
        gpus: Gpus | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        most_samples: int = MOST_SAMPLES,
    ) -> None:
        self.latest: ResourceSample | None = None
        self._interval_seconds = interval_seconds
        self._machine = here = machine or Machine()
        self._file = _File(folder / HISTORY, most_samples)
        self._sources = [
            Source("host", lambda: read_host(here)),
            Source("disk", lambda: disk_space(here, str(folder))),
            Source("pressure", lambda: read_pressure(here)),
            Source("training", lambda: read_tree(here.psutil.Process())),  # this very process
            Source("gpu", (gpus or Gpus(here.monotonic)).read),
        ]
        self._deadline_seconds = deadline_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="record resources", daemon=True)
        self._first: Moment | None = None
        self._before: Moment | None = None
        self._trouble = ""

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the last sample and end, or give up after a few seconds."""
        self._stopping.set()
        self._thread.join(CLOSING_SECONDS)

    def _run(self) -> None:
        self._note()
        while not self._stopping.wait(self._interval_seconds):
            self._note()
        self._note()

    def _note(self) -> None:
        now = self._moment()
        if now is None:
            return
        if self._first is None or self._before is None:
            self._first = self._before = now
            return
        self.latest = sample_between(self._before, now, self._first)
        self._before = now
        trouble = ""
        try:
            self._file.append(self.latest)
        except OSError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:  # once when it begins, not every few seconds
            _log.warning("the history of the machine will be written later: %s", trouble)
        self._trouble = trouble

    def _moment(self) -> Moment | None:
        """None when something that every sample has cannot be read, or hangs."""
        found = {name: outcome.value for name, outcome in read_all(self._sources, self._deadline_seconds).items()}
        host, disk, tree = found["host"], found["disk"], found["training"]
        if host is None or disk is None or tree is None:
            return None
        machine = self._machine
        pressure, gpus = found["pressure"] or {}, found["gpu"] or ()
        return Moment(machine.clock(), machine.monotonic(), host, disk, pressure, tree, gpus)


class _File:
    """Whole lines only; those that could not be written wait for the next time."""

    def __init__(self, path: Path, most_samples: int) -> None:
        self._path, self._most_samples = path, most_samples
        self._waiting: list[ResourceSample] = []
        self._lines: int | None = None

    def append(self, sample: ResourceSample) -> None:
        """Raises OSError when it cannot be written; nothing is lost then."""
        self._waiting.append(sample)
        if len(self._waiting) > self._most_samples:
            self._waiting = downsampled(self._waiting)
        if self._lines is None:
            self._lines = drop_torn_line(self._path) if self._path.exists() else 0
        with self._path.open("ab", buffering=0) as file:
            append_whole(file, "".join(f"{to_line(waiting)}\n" for waiting in self._waiting).encode())
        self._lines += len(self._waiting)
        self._waiting = []
        if self._lines >= self._most_samples:
            self._lines = self._thin()

    def _thin(self) -> int:
        samples = downsampled(read_history(self._path))
        temporary = self._path.with_suffix(".new")
        temporary.write_text("".join(f"{to_line(sample)}\n" for sample in samples), encoding="utf-8")
        temporary.replace(self._path)
        return len(samples)


def downsampled(samples: Sequence[ResourceSample]) -> list[ResourceSample]:
    """Each two in one; a last one alone stays."""
    pairs = [merged(a, b) for a, b in zip(samples[::2], samples[1::2], strict=False)]
    return pairs + ([samples[-1]] if len(samples) % 2 else [])


def read_history(path: Path) -> list[ResourceSample]:
    """All samples, in the order written; none where there is no file yet.

    A last line that is torn is left out, and so are lines that are no samples, with a warning. Raises OSError.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    read = list(_samples(lines[:-1]))
    if len(read) < len(lines) - 1:
        _log.warning("%s: %d lines are no samples and are left out", path, len(lines) - 1 - len(read))
    return read


def _samples(lines: Sequence[bytes]) -> Iterator[ResourceSample]:
    for line in lines:
        try:
            yield from_line(line)
        except (ValueError, RecursionError):
            continue
