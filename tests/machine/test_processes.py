from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from pipeline.machine.processes import find_process, is_alive, read_tree
from pipeline.machine.readings import ProcessTree
from pipeline.machine.sources import Machine
from tests.support.machine import NOW, FakeProcess, FakePsutil, machine_of


def test_a_tree_is_added_up() -> None:
    processes = {pid: FakeProcess(pid, user=pid, rss=10 * pid) for pid in (1, 2, 3, 4)}
    processes[1].below, processes[2].below = [processes[2], processes[3]], [processes[4]]
    assert read_tree(processes[1]) == ProcessTree(frozenset({1, 2, 3, 4}), 1 + 2 + 3 + 4 + 4 * 0.5, 100, 8, 12)


def test_the_time_of_children_that_ended_stays() -> None:
    assert read_tree(FakeProcess(1, children_user=40.0, children_system=2.0)).cpu_seconds == 43.5


def test_a_child_that_ends_meanwhile_is_left_out() -> None:
    """It is in the list of children, and not there any more when it is looked at."""
    fading = FakeProcess(3)
    root = FakeProcess(1, below=[fading])
    assert read_tree(root).pids == {1, 3}
    fading.memory_info = lambda: (_ for _ in ()).throw(psutil.NoSuchProcess(3))  # type: ignore[method-assign]
    assert read_tree(root).pids == {1}


def test_a_root_that_has_ended_is_told() -> None:
    with pytest.raises(psutil.NoSuchProcess):
        read_tree(FakeProcess(1, ended=True))


def test_open_files_that_may_not_be_counted_are_not_zero() -> None:
    assert read_tree(FakeProcess(1, below=[FakeProcess(2, secret=True)])).open_files is None


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    ps = FakePsutil({7: FakeProcess(7, started=NOW - 50)})
    machine = machine_of(ps)
    assert find_process(machine, 7, NOW - 50.01) is ps.processes[7]
    assert find_process(machine, 7, NOW - 500) is None  # the number was given anew
    assert find_process(machine, 8, NOW - 50) is None


@pytest.mark.parametrize("pid", [-1, 2**31, 2**70])
def test_a_number_that_no_process_can_have_is_none(pid: int) -> None:
    assert find_process(Machine(), pid, NOW) is None


def test_what_waits_to_be_reaped_is_not_alive() -> None:
    assert is_alive(FakeProcess(1))
    assert not is_alive(FakeProcess(1, state=psutil.STATUS_ZOMBIE))
    assert not is_alive(FakeProcess(1, ended=True))


def test_a_real_tree_is_read() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        tree = ProcessTree(frozenset(), 0, 0, 0, 0)
        end = time.monotonic() + 120
        while len(tree.pids) < 3 and time.monotonic() < end:
            tree = read_tree(psutil.Process())
        child.communicate(b"\n")
    assert {os.getpid(), child.pid} < tree.pids
