from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.machine.processes import find_process, is_alive, read_tree
from pipeline.machine.readings import ProcessTree
from pipeline.machine.sources import Machine
from tests.support.machine import NOW, FakeProcess, FakePsutil, machine_of


def family(tmp_path: Path, tree: dict[int, list[int]]) -> Path:
    """A /proc that tells who started whom, each process with one thread."""
    for pid, children in tree.items():
        task = tmp_path / str(pid) / "task" / str(pid)
        task.mkdir(parents=True)
        (task / "children").write_text("".join(f"{child} " for child in children))
    (tmp_path / "self").symlink_to("1")
    (tmp_path / "thread-self").symlink_to("1/task/1")
    return tmp_path


def test_a_tree_is_added_up(tmp_path: Path) -> None:
    proc = family(tmp_path, {1: [2, 3], 2: [4], 3: [], 4: []})
    ps = FakePsutil({pid: FakeProcess(pid, user=pid, rss=10 * pid) for pid in (1, 2, 3, 4)})
    tree = read_tree(machine_of(ps, proc=proc), ps.Process(1))
    assert tree == ProcessTree(frozenset({1, 2, 3, 4}), 1 + 2 + 3 + 4 + 4 * 0.5, 100, 8, 12)


def test_the_time_of_children_that_ended_stays(tmp_path: Path) -> None:
    proc = family(tmp_path, {1: []})
    ps = FakePsutil({1: FakeProcess(1, children_user=40.0, children_system=2.0)})
    assert read_tree(machine_of(ps, proc=proc), ps.Process(1)).cpu_seconds == 43.5


def test_a_child_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    """It is in the list of children, and not there any more when it is looked at."""
    proc = family(tmp_path, {1: [2, 3], 3: []})
    fading = FakeProcess(3)
    ps = FakePsutil({1: FakeProcess(1), 3: fading})
    machine = machine_of(ps, proc=proc)
    assert read_tree(machine, ps.Process(1)).pids == {1, 3}
    fading.memory_info = lambda: (_ for _ in ()).throw(psutil.NoSuchProcess(3))  # type: ignore[method-assign]
    assert read_tree(machine, ps.Process(1)).pids == {1}


def test_a_root_that_has_ended_is_told(tmp_path: Path) -> None:
    proc = family(tmp_path, {1: []})
    root = FakeProcess(1, ended=True)
    with pytest.raises(psutil.NoSuchProcess):
        read_tree(machine_of(FakePsutil({1: root}), proc=proc), root)


def test_open_files_that_may_not_be_counted_are_not_zero(tmp_path: Path) -> None:
    proc = family(tmp_path, {1: [2], 2: []})
    ps = FakePsutil({1: FakeProcess(1), 2: FakeProcess(2, secret=True)})
    assert read_tree(machine_of(ps, proc=proc), ps.Process(1)).open_files is None


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


def test_a_real_tree_is_the_same_by_proc_and_by_psutil() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        by_proc = by_psutil = ProcessTree(frozenset(), 0, 0, 0, 0)
        end = time.monotonic() + 120
        while len(by_proc.pids & by_psutil.pids) < 3 and time.monotonic() < end:
            by_proc = read_tree(Machine(), psutil.Process())
            by_psutil = read_tree(Machine(proc=Path("/nowhere")), psutil.Process())
        child.communicate(b"\n")
    assert {os.getpid(), child.pid} < by_proc.pids
    assert by_proc.pids == by_psutil.pids
