from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pipeline.core.processes import describe_exit, stop_processes
from tests.support.source import ROOT

ORPHAN = """
import os, sys, time
from pipeline.core.processes import end_with_parent
child = os.fork()
if child:
    print(child, flush=True)
    time.sleep(60)
end_with_parent()
time.sleep(60)
"""


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a process that does something first and sleeps then."""
    with ExitStack() as stack:

        def started(first: str) -> subprocess.Popen[bytes]:
            code = f"import signal, time; {first}; print('ready', flush=True); time.sleep(600)"
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return process

        yield started


def test_those_that_end_on_sigterm_are_waited_for(start: Callable[[str], subprocess.Popen[bytes]]) -> None:
    obedient = [start("pass"), start("pass")]
    assert stop_processes(obedient, 60) == []
    assert [process.poll() for process in obedient] == [-signal.SIGTERM] * 2


def test_those_that_ignore_sigterm_are_returned(start: Callable[[str], subprocess.Popen[bytes]]) -> None:
    stubborn = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert stop_processes([stubborn], 0.2) == [stubborn]


def test_a_child_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) > 0
        time.sleep(0.3)
        parent.kill()
        assert parent.stdout.read() == "", "the pipe closes once the child has ended, too"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "ended with status 0"),
        (7, "ended with status 7"),
        (-9, "was ended by SIGKILL"),
        (-99, "was ended by signal 99"),
    ],
)
def test_an_exit_is_described(status: int, text: str) -> None:
    assert describe_exit(status) == text
