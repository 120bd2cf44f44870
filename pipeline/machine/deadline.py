"""Readings that may take for ever, and what is known when their time is up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pipeline.machine.sources import SourceAbsentError

DEADLINE_SECONDS = 2.0
"""For one source. On an idle machine it takes a millisecond, on a crowded one perhaps a second."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SourceReading:
    """value: None when there is none. up: None for a source that this machine never had."""

    value: Any
    up: bool | None
    seconds: float


class Source:
    """A name, and the function that reads it."""

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        self.name, self.read = name, read
        self.hanging: _Reader | None = None
        self._was_up = False
        self._trouble = ""

    @property
    def hangs(self) -> bool:
        """Whether a reading that missed its deadline has not ended yet."""
        return self.hanging is not None and self.hanging.is_alive()

    def outcome(self, value: Any, error: Exception | None, seconds: float) -> SourceReading:
        if isinstance(error, SourceAbsentError) and not self._was_up:
            return SourceReading(None, None, seconds)
        self._was_up = self._was_up or error is None
        # A change is logged, and not the same trouble at every scrape.
        trouble = (
            ""
            if error is None
            else str(error)
            if isinstance(error, SourceAbsentError)
            else f"{type(error).__name__}: {error}"
        )
        if trouble != self._trouble:
            _log.warning("source %s: %s", self.name, trouble or "answers again")
            self._trouble = trouble
        return SourceReading(value, error is None, seconds)


class _Reader(threading.Thread):
    """Reads sources one after another, until all are read or it is abandoned.

    answers: by name, value or error, and seconds. began: when the current source was begun, by the monotonic clock.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        super().__init__(name="read sources", daemon=True)
        self._sources, self._lock, self._abandoned = sources, threading.Lock(), False
        self.answers: dict[str, tuple[Any, Exception | None, float]] = {}
        self.current, self.began = sources[0], monotonic()

    def run(self) -> None:
        for source in self._sources:
            with self._lock:
                if self._abandoned:
                    return
                self.current, self.began = source, monotonic()
            value, error = None, None
            try:
                value = source.read()
            except Exception as raised:  # noqa: BLE001 a source may fail in any way, and that costs its own metrics only
                error = raised
            self.answers[source.name] = value, error, monotonic() - self.began

    def wait(self, deadline_seconds: float) -> Source | None:
        """Until all are read; or the source that missed its deadline, which keeps this thread."""
        while self.is_alive():
            self.join(max(0.0, self.began + deadline_seconds - monotonic()))
            with self._lock:
                if self.is_alive() and monotonic() >= self.began + deadline_seconds:
                    self._abandoned = True
                    return self.current
        return None


def read_all(sources: Sequence[Source], deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, SourceReading]:
    """By name. What a source raises is its outcome. One caller at a time.

    A source that misses its deadline costs that time and a thread once: the others are read by another thread, and
    until its reading ends it is not read again. Its late answer is dropped.
    """
    answers: dict[str, tuple[Any, Exception | None, float]] = {}
    left = [source for source in sources if not source.hangs]
    while left:
        reader = _Reader(left)
        reader.start()
        late = reader.wait(deadline_seconds)
        done = left if late is None else left[: left.index(late)]
        answers |= {source.name: reader.answers[source.name] for source in done}
        left = left[len(done) + 1 :]
        if late is not None:
            late.hanging = reader
    late_error = TimeoutError("does not answer in time")
    for source in sources:
        if source.name not in answers:
            assert source.hanging is not None
            answers[source.name] = None, late_error, monotonic() - source.hanging.began
    return {source.name: source.outcome(*answers[source.name]) for source in sources}
