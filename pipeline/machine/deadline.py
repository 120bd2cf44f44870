"""Readings that may take for ever, and what is known when their time is up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from pipeline.machine.sources import Absent

DEADLINE_SECONDS = 2.0
"""For the sources of one scrape. On an idle machine a source takes a millisecond, on a crowded one perhaps a second."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """value: None when there is none. up: None for a source that this machine never had."""

    value: Any
    up: bool | None
    seconds: float


class Source:
    """A name, and the function that reads it, in a thread of its own. One caller at a time.

    A reading that misses its deadline keeps its thread. Until it ends the source is not read again, so threads never
    pile up; its late answer is dropped.
    """

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        self.name, self.read = name, read
        self._reading: _Reading | None = None
        self._hangs = False
        self._was_up = False
        self._trouble = ""

    def start(self) -> None:
        """Begin a reading, unless an earlier one still hangs."""
        if self._reading is None or not self._reading.is_alive():
            self._reading, self._hangs = _Reading(self.name, self.read), False
            self._reading.start()

    def outcome(self, until: float) -> Outcome:
        """Of the reading that was started, at the monotonic time `until` at the latest. Raises nothing."""
        reading = self._reading
        assert reading is not None, "no reading was started"
        if not self._hangs:
            reading.join(max(0.0, until - monotonic()))
            self._hangs = reading.is_alive()
        if self._hangs:
            return self._down("TimeoutError: does not answer in time", monotonic() - reading.began)
        error = reading.error
        if isinstance(error, Absent):
            return self._down(str(error), reading.seconds) if self._was_up else Outcome(None, None, reading.seconds)
        if error is not None:
            return self._down(f"{type(error).__name__}: {error}", reading.seconds)
        self._log_change("")
        self._was_up = True
        return Outcome(reading.value, True, reading.seconds)

    def _down(self, trouble: str, seconds: float) -> Outcome:
        self._log_change(trouble)
        return Outcome(None, False, seconds)

    def _log_change(self, trouble: str) -> None:
        """Once when trouble begins and once when it ends, not at every scrape."""
        if trouble != self._trouble:
            _log.warning("source %s: %s", self.name, trouble or "answers again")
            self._trouble = trouble


class _Reading(threading.Thread):
    """began: by the monotonic clock. The rest is there when the thread has ended."""

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        super().__init__(name=f"read {name}", daemon=True)
        self._read = read
        self.began = monotonic()
        self.value: Any = None
        self.error: Exception | None = None
        self.seconds = 0.0

    def run(self) -> None:
        try:
            self.value = self._read()
        except Exception as error:  # noqa: BLE001 a source may fail in any way, and that costs its own metrics only
            self.error = error
        self.seconds = monotonic() - self.began


def read_all(sources: Sequence[Source], deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Outcome]:
    """By name, after `deadline_seconds` at the latest. What a source raises is its outcome."""
    for source in sources:
        source.start()
    until = monotonic() + deadline_seconds
    return {source.name: source.outcome(until) for source in sources}
