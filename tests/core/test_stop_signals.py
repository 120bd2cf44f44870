from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline.core.errors import Stopped
from pipeline.core.stop_signals import StopRequest, stop_on_sigterm, stop_request
from tests.support.source import ROOT


def test_nothing_asked_nothing_raised() -> None:
    StopRequest().check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_raised_where_it_is_asked_for(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_request() as request:
        os.kill(os.getpid(), number)
        for _ in range(2):  # as often as it is asked for
            with pytest.raises(Stopped, match=rf"stopped on request \({number.name}\); what was done is kept"):
                request.check()
    assert signal.getsignal(number) is before


def test_a_second_sigterm_changes_nothing() -> None:
    """Whoever stops processes may send it again while the state is being written."""
    with stop_request() as request:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped, match="SIGTERM"):
            request.check()


def test_handlers_are_put_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(ValueError, match="x"), stop_request():
        raise ValueError("x")
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_sigterm_raises_wherever_it_is() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop_on_sigterm()
        with pytest.raises(Stopped, match="SIGTERM") as raised:
            signal.raise_signal(signal.SIGTERM)
        assert raised.value.exit_code == 75
    finally:
        signal.signal(signal.SIGTERM, before)


BUSY = """
import time
from pipeline.core.stop_signals import stop_request
with stop_request() as request:
    print("ready", flush=True)
    while True:
        try:
            time.sleep(60)
        finally:
            print("finally", flush=True)
"""


def test_a_second_sigint_ends_the_process_at_once() -> None:
    """Even where nobody asks for the request; nothing is unwound."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None, "the first is only noted"
        process.send_signal(signal.SIGINT)
        assert process.wait(50) == 75
        assert process.stdout.read() == ""
