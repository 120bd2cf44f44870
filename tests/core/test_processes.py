from __future__ import annotations

import signal
import subprocess
import sys
import time

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


def sleeper(first: str) -> subprocess.Popen[bytes]:
    code = f"import signal, time; {first}; print('ready', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_those_that_end_on_sigterm_are_waited_for() -> None:
    obedient = [sleeper("pass") for _ in range(2)]
    assert stop_processes(obedient, 120) == []
    for process in obedient:
        assert process.poll() == -signal.SIGTERM
        process.communicate()


def test_those_that_ignore_sigterm_are_returned() -> None:
    stubborn = sleeper("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert stop_processes([stubborn], 0.2) == [stubborn]
    stubborn.kill()
    stubborn.communicate()


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
