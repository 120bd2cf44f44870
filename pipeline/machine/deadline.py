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
    """A name, and the function that reads it: each time in a thread, which it keeps while it hangs."""

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        self.name, self.read = name, read
        self._reading: _Reading | None = None
        self._was_up = False
        self._trouble = ""

    def outcome(self, deadline_seconds: float) -> SourceReading:
        """One that missed its deadline is not read again until that reading has ended; its late answer is dropped."""
        reading, hangs = self._reading, self._reading is not None and self._reading.is_alive()
        if reading is None or not hangs:
            reading = self._reading = _Reading(self.read)
            reading.start()
            reading.join(deadline_seconds)
            hangs = reading.is_alive()
        if hangs:
            return self._told(None, TimeoutError("does not answer in time"), monotonic() - reading.began)
        return self._told(reading.value, reading.error, reading.seconds)

    def _told(self, value: Any, error: Exception | None, seconds: float) -> SourceReading:
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


class _Reading(threading.Thread):
    """began: by the monotonic clock. value, error, seconds: when it has ended."""

    def __init__(self, read: Callable[[], Any]) -> None:
        super().__init__(name="read source", daemon=True)
        self._read, self.began = read, monotonic()
        self.value: Any = None
        self.error: Exception | None = None
        self.seconds = 0.0

    def run(self) -> None:
        try:
            self.value = self._read()
        except Exception as raised:  # noqa: BLE001 a source may fail in any way, and that costs its own metrics only
            self.error = raised
        self.seconds = monotonic() - self.began


def read_all(sources: Sequence[Source], deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, SourceReading]:
    """By name, one source after the other. What a source raises is its outcome. One caller at a time."""
    return {source.name: source.outcome(deadline_seconds) for source in sources}
