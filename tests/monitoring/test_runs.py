from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from monitoring.runs import KEEP_SECONDS, KEEP_TROUBLE_SECONDS, MOST_RUNS, MonitoredRun, RunsFolder
from pipeline.machine.sources import Machine
from tests.support.machine import NOW, Clock, FakeProcess, FakePsutil, machine_of
from tests.support.run_status import write_status_values


class Project(SimpleNamespace):
    """A project's folder, the machine on which process 10 trains in it, and what is read of both."""

    root: Path
    ps: FakePsutil
    clock: Clock
    folder: RunsFolder

    def only(self) -> MonitoredRun:
        [training] = self.folder.read().shown
        return training

    def names(self) -> list[str]:
        return [training.name for training in self.folder.read().shown]

    def restart(self) -> None:
        """An exporter that knows nothing of before."""
        self.folder = RunsFolder(self.root, machine_of(self.ps, self.clock, self.root / "no proc"))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(root=tmp_path, ps=FakePsutil({10: FakeProcess(10)}), clock=Clock())
    made.restart()
    return made


def test_a_project_without_runs_has_none(project: Project) -> None:
    assert project.folder.read().shown == ()


def test_a_training_that_lives(project: Project) -> None:
    write_status_values(project.root)
    training = project.only()
    assert (training.name, training.state, training.alive) == ("r1", "training", True)
    assert training.status_age_seconds == pytest.approx(1)
    assert training.checkpoint_age_seconds == pytest.approx(30)
    assert training.tree is not None
    assert training.tree.pids == {10}


def test_a_training_that_was_killed_is_so_at_the_next_scrape(project: Project) -> None:
    write_status_values(project.root)
    project.only()
    project.ps.processes[10].ended = True
    training = project.only()
    assert (training.state, training.alive) == ("killed", False)
    project.clock.pass_(KEEP_SECONDS + 1)
    assert project.only().state == "killed"
    project.clock.pass_(KEEP_TROUBLE_SECONDS)
    reading = project.folder.read()
    assert (reading.shown, reading.files["expired"]) == ((), 1)


def test_one_that_waits_to_be_reaped_was_killed(project: Project) -> None:
    write_status_values(project.root)
    project.ps.processes[10].state = psutil.STATUS_ZOMBIE
    assert project.only().state == "killed"


def test_another_process_with_its_number_does_not_bring_it_back(project: Project) -> None:
    write_status_values(project.root)
    project.ps.processes[10] = FakeProcess(10, started=NOW - 3)
    assert project.only().state == "killed"


def test_a_number_given_anew_while_the_exporter_looks_on(project: Project) -> None:
    write_status_values(project.root)
    project.only()
    project.ps.processes[10].ended = True
    project.only()
    project.ps.processes[10] = FakeProcess(10, started=NOW + 5)
    assert project.only().state == "killed"


def test_one_that_lives_is_shown_however_long_it_is_silent(project: Project) -> None:
    write_status_values(project.root)
    project.only()
    project.clock.pass_(10 * KEEP_SECONDS)
    training = project.only()
    assert (training.state, training.alive) == ("training", True)
    assert training.status_age_seconds == pytest.approx(10 * KEEP_SECONDS + 1)


@pytest.mark.parametrize(
    ("state", "seconds"),
    [("finished", KEEP_SECONDS), ("stopped", KEEP_SECONDS), ("failed", KEEP_TROUBLE_SECONDS)],
)
def test_one_that_is_over_says_so_and_disappears_though_its_process_lives(
    project: Project, state: str, seconds: float
) -> None:
    """It writes its report, or trains the next seed."""
    write_status_values(project.root, state=state)
    assert (project.only().state, project.only().alive) == (state, False)
    project.clock.pass_(seconds - 10)
    assert project.names() == ["r1"]
    project.clock.pass_(20)
    assert project.names() == []


def test_one_that_goes_on_is_back(project: Project) -> None:
    write_status_values(project.root)
    project.ps.processes[10].ended = True
    project.clock.pass_(2 * KEEP_TROUBLE_SECONDS)
    assert project.names() == []
    project.ps.processes[11] = FakeProcess(11, started=project.clock.unix - 5)
    now = project.clock.unix
    write_status_values(project.root, pid=11, process_started_seconds=now - 5, updated_seconds=now)
    assert (project.only().state, project.only().alive) == ("training", True)


def test_the_clock_set_back_gives_no_negative_age(project: Project) -> None:
    write_status_values(project.root)
    project.only()
    project.clock.unix -= 7200
    project.clock.monotonic += 60
    training = project.only()
    assert training.status_age_seconds == pytest.approx(61)
    assert training.checkpoint_age_seconds == pytest.approx(90)
    assert training.alive
    project.restart()
    assert project.only().status_age_seconds == 0


def test_the_clock_set_forward_ends_nothing(project: Project) -> None:
    write_status_values(project.root, state="finished")
    project.only()
    project.clock.unix += 10**6
    assert project.only().status_age_seconds == pytest.approx(1)


def test_a_torn_or_foreign_file_costs_its_own_run_only(project: Project) -> None:
    write_status_values(project.root, "good")
    write_status_values(project.root, "torn").write_text('{"schema_version": 1, "pi')
    (project.root / ".tracewright/runs/empty").mkdir()
    (project.root / ".tracewright/runs/readme.txt").write_text("hello")
    reading = project.folder.read()
    assert [training.name for training in reading.shown] == ["good"]
    assert reading.files == {"shown": 1, "expired": 0, "over_limit": 0, "unreadable": 1}


def test_a_file_that_was_torn_is_read_once_it_is_whole(project: Project) -> None:
    write_status_values(project.root).write_text("{")
    assert project.names() == []
    write_status_values(project.root)
    assert project.names() == ["r1"]
    assert project.folder.read().files["unreadable"] == 0


def test_a_run_whose_file_is_spoilt_is_not_shown_as_it_was(project: Project) -> None:
    path = write_status_values(project.root)
    project.only()
    path.write_text("spoilt")
    assert project.names() == []


def test_a_run_that_is_removed_is_forgotten(project: Project) -> None:
    write_status_values(project.root)
    project.only()
    shutil.rmtree(project.root / ".tracewright/runs/r1")
    assert project.names() == []


def test_a_crowd_is_cut_and_who_lives_comes_first(project: Project) -> None:
    for n in range(MOST_RUNS + 5):
        write_status_values(project.root, f"done{n:02}", state="finished", updated_seconds=NOW - 10 - n)
    write_status_values(project.root, "living", updated_seconds=NOW - 500)
    reading = project.folder.read()
    names = [training.name for training in reading.shown]
    assert names == ["living", *(f"done{n:02}" for n in range(MOST_RUNS - 1))]
    assert reading.files["over_limit"] == 6


def test_odd_names_of_folders_are_labels_that_differ(project: Project) -> None:
    names = ["seed 1", "ü", "50%", 'a"\n', "x" * 200 + "1", "x" * 200 + "2", os.fsdecode(b"caf\xe9")]
    try:
        for name in names:
            write_status_values(project.root, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    labels = project.names()
    assert len(set(labels)) == len(names)
    assert {"seed%201", "%C3%BC", "50%25", "a%22%0A", "caf%E9"} < set(labels)


def test_thousands_of_old_runs_are_not_read_again(project: Project) -> None:
    for n in range(2000):
        write_status_values(project.root, f"old{n}", state="finished", updated_seconds=NOW - 10**6)
    project.folder.read()
    began = time.process_time()
    assert project.folder.read().files["expired"] == 2000
    assert time.process_time() - began < 0.5


def test_a_folder_that_cannot_be_listed_is_a_failure(project: Project) -> None:
    (project.root / ".tracewright").mkdir()
    (project.root / ".tracewright/runs").write_text("a file")
    with pytest.raises(OSError, match="Not a directory"):
        project.folder.read()


def test_a_real_process_that_is_killed(tmp_path: Path) -> None:
    folder = RunsFolder(tmp_path, Machine())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = psutil.Process(child.pid).create_time()
        write_status_values(tmp_path, pid=child.pid, process_started_seconds=started, updated_seconds=time.time())
        [training] = folder.read().shown
        assert (training.state, training.alive) == ("training", True)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet reaped
        [training] = folder.read().shown
        assert (training.state, training.alive) == ("killed", False)
