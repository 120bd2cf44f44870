"""Requests to stop: a signal is noted, and work checks for it where it can stop."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from pipeline.core.errors import Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """What SIGTERM or a first SIGINT turns into. A second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self._signal: int | None = None

    def check(self) -> None:
        """Raises Stopped once a signal has come."""
        if self._signal is not None:
            raise stopped(self._signal)

    def note(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler."""
        if self._signal is not None and number == signal.SIGINT:
            # Every file is whole or absent at any instant, so there is nothing to clean up.
            os._exit(Stopped.exit_code)
        self._signal = number


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """While the block runs, signals are noted instead of ending it. Only for the main thread."""
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_on_sigterm() -> None:
    """From now on SIGTERM raises Stopped in the main thread, as SIGINT raises KeyboardInterrupt."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise stopped(number)

    signal.signal(signal.SIGTERM, stop)


def sigterm_when_parent_ends() -> None:
    """Asks the kernel for SIGTERM when the parent ends, however it does (prctl(2)); one that ended before is missed."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


def stopped(number: int) -> Stopped:
    return Stopped(f"stopped on request ({signal.Signals(number).name}); what was done is kept")
