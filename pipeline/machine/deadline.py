"""Readings that may take for ever, and what is known when their time is up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import Any

from pipeline.machine.sources import Absent

DEADLINE_SECONDS = 2.0
"""For one source. Where nothing is wrong it is read in a millisecond; a crowded machine may take a second."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """value: None when there is none. up: None for a source that this machine never had."""

    value: Any
    up: bool | None
    seconds: float


class Source:
    """A name, and the reading of it. hangs_since: by the monotonic clock, while a reading does not come back."""

    def __init__(self, name: str, read: Callable[[], Any]) -> None:
        self.name, self.read = name, read
        self.hangs_since: float | None = None
        self._was_up = False
        self._trouble = ""

    def outcome(self, answer: _Answer) -> Outcome:
        error = answer.error
        if isinstance(error, Absent):
            return self._down(str(error), answer.seconds) if self._was_up else Outcome(None, None, answer.seconds)
        if error is not None:
            return self._down(f"{type(error).__name__}: {error}", answer.seconds)
        self._tell("")
        self._was_up = True
        return Outcome(answer.value, True, answer.seconds)

    def _down(self, why: str, seconds: float) -> Outcome:
        self._tell(why)
        return Outcome(None, False, seconds)

    def _tell(self, trouble: str) -> None:
        """Once when it begins and once when it ends, not at every scrape."""
        if trouble != self._trouble:
            _log.warning("source %s: %s", self.name, trouble or "answers again")
            self._trouble = trouble


class Crew:
    """Reads sources one after another in a thread of its own. One that passes the deadline keeps that thread, and
    another goes on with the rest; until it answers it is not read again, so threads never pile up.

    One reader at a time.
    """

    def __init__(self, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._deadline_seconds = deadline_seconds
        self._inbox: SimpleQueue[_Round | None] | None = None

    def read(self, sources: Sequence[Source]) -> dict[str, Outcome]:
        """By name. What a source raises is its outcome; this never raises and ends soon."""
        done = threading.Event()
        round_ = self._begin(sources, done.set)
        while (seconds := round_.seconds_left(self._deadline_seconds)) is not None:
            if not done.wait(seconds) and round_.leave_behind(self._deadline_seconds):
                self._hand_on(round_, None)
        return round_.outcomes(sources)

    async def read_soon(self, sources: Sequence[Source]) -> dict[str, Outcome]:
        """As `read`, and an event loop goes on meanwhile."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        round_ = self._begin(sources, lambda: loop.call_soon_threadsafe(done.set))
        while (seconds := round_.seconds_left(self._deadline_seconds)) is not None:
            try:
                await asyncio.wait_for(done.wait(), seconds)
            except TimeoutError:
                if round_.leave_behind(self._deadline_seconds):
                    self._hand_on(round_, None)
        return round_.outcomes(sources)

    def _begin(self, sources: Sequence[Source], on_done: Callable[[], object]) -> _Round:
        round_ = _Round([source for source in sources if source.hangs_since is None], on_done)
        self._hand_on(round_, self._inbox)
        return round_

    def close(self) -> None:
        """End the thread."""
        if self._inbox is not None:
            self._inbox.put(None)
            self._inbox = None

    def _hand_on(self, round_: _Round, inbox: SimpleQueue[_Round | None] | None) -> None:
        """To the thread that reads from `inbox`; None: to a new one."""
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=_serve, args=[inbox], name="read sources", daemon=True).start()
        self._inbox = round_.inbox = inbox
        inbox.put(round_)


def _serve(inbox: SimpleQueue[_Round | None]) -> None:
    while (round_ := inbox.get()) is not None:
        if not round_.work(inbox):
            return


@dataclass(frozen=True, slots=True)
class _Answer:
    value: Any
    error: Exception | None
    seconds: float


class _Round:
    """The sources of one scrape. inbox: of the thread that reads them; another's answers come too late.

    on_done: called by that thread when all are read.
    """

    def __init__(self, sources: Sequence[Source], on_done: Callable[[], object]) -> None:
        self.inbox: SimpleQueue[_Round | None] | None = None
        self._on_done, self._done = on_done, False
        self._lock = threading.Lock()
        self._left = deque(sources)
        self._answers: dict[str, _Answer] = {}
        self._current: Source | None = None
        self._began = monotonic()

    def work(self, inbox: SimpleQueue[_Round | None]) -> bool:
        """Read what is left; False when another thread has taken over."""
        while True:
            with self._lock:
                if not self._left:
                    self._done = True
                    self._on_done()
                    return True
                source = self._current = self._left.popleft()
                self._began = monotonic()
            answer = _read(source)
            with self._lock:
                if self.inbox is not inbox:
                    source.hangs_since = None
                    return False
                self._answers[source.name] = answer
                self._current = None

    def seconds_left(self, deadline_seconds: float) -> float | None:
        """Until the source that is being read passes its deadline; None when all are read."""
        with self._lock:
            if self._done:
                return None
            return deadline_seconds if self._current is None else self._began + deadline_seconds - monotonic()

    def leave_behind(self, deadline_seconds: float) -> bool:
        """Give up the source that is being read, if its time is over."""
        with self._lock:
            source = self._current
            if source is None or monotonic() < self._began + deadline_seconds:
                return False
            source.hangs_since = self._began
            self.inbox = self._current = None
            return True

    def outcomes(self, sources: Sequence[Source]) -> dict[str, Outcome]:
        return {source.name: source.outcome(self._answer(source)) for source in sources}

    def _answer(self, source: Source) -> _Answer:
        known = self._answers.get(source.name)
        if known is not None:
            return known
        since = source.hangs_since or self._began  # it may have come back just now, too late
        return _Answer(None, TimeoutError("does not answer in time"), monotonic() - since)


def _read(source: Source) -> _Answer:
    began = monotonic()
    try:
        return _Answer(source.read(), None, monotonic() - began)
    except Exception as error:  # noqa: BLE001 a source may fail in any way, and that costs its own metrics only
        return _Answer(None, error, monotonic() - began)
