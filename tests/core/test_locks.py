from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.core.errors import StorageError, Unavailable
from pipeline.core.locks import Lock, free
from tests.support.source import ROOT

HOLD = """
import sys, time
from pathlib import Path
from pipeline.core.locks import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_holder_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(Unavailable, match=rf"run {tmp_path.name} is being written by process {process.pid} on "):
        Lock(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    Lock(tmp_path).release()


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    process = holder(tmp_path)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        Lock(tmp_path, wait_seconds=0.2)
    assert time.monotonic() - started >= 0.2
    threading.Timer(0.3, process.kill).start()
    Lock(tmp_path, wait_seconds=120).release()
    process.communicate()


def test_free_says_whether_it_holds_it(tmp_path: Path) -> None:
    with free(tmp_path) as is_ours:
        assert is_ours
        with free(tmp_path) as again:
            assert not again
        with free(tmp_path, "other") as other:
            assert other
    with free(tmp_path) as is_ours:
        assert is_ours


@pytest.mark.parametrize("content", ["", "no json", "[]", '{"pid": 1}'])
def test_a_garbled_signature_hides_nothing(tmp_path: Path, content: str) -> None:
    lock = Lock(tmp_path)
    (tmp_path / "lock").write_text(content)
    with pytest.raises(Unavailable, match="is being written by another process"):
        Lock(tmp_path)
    lock.release()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a folder you own"):
        Lock(tmp_path / "file" / "run")


def test_a_child_that_is_forked_while_it_is_held_does_not_hold_it(tmp_path: Path) -> None:
    """Worker processes are started while a run is locked, and may outlive a kill by a moment."""
    lock = Lock(tmp_path)
    child = subprocess.Popen(["sleep", "60"])
    try:
        lock.release()
        Lock(tmp_path).release()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
