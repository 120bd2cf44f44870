from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.machine.gpus import Gpus
from pipeline.machine.history import HISTORY, Recorder, downsampled, read_history
from pipeline.machine.samples import to_line
from pipeline.machine.sources import Machine
from tests.support.machine import NOW, Clock, FakeCard, FakeNvml, FakePsutil, machine_of
from tests.support.samples import SAMPLE


class Recording:
    """A recorder whose samples a test takes one by one, five seconds apart by its clock."""

    def __init__(self, folder: Path, most_samples: int = 1000) -> None:
        self.clock, self.ps = Clock(), FakePsutil()
        machine = machine_of(self.ps, self.clock, folder / "no proc")
        cards = Gpus(lambda: self.clock.monotonic, lambda: FakeNvml(FakeCard()))
        self.recorder = Recorder(folder, machine=machine, gpus=cards, most_samples=most_samples)
        self.path = folder / HISTORY
        self.recorder._note()

    def take(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.pass_(5)
            self.ps.cpu["user"] += 8
            self.ps.cpu["idle"] += 2
            self.recorder._note()


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path)


def test_a_thread_records_and_ends_with_a_last_sample(tmp_path: Path) -> None:
    with Recorder(tmp_path, interval_seconds=0.05) as recorder:
        assert eventually(lambda: len(read_history(tmp_path / HISTORY)) >= 3)
        before = len(read_history(tmp_path / HISTORY))
    history = read_history(tmp_path / HISTORY)
    assert len(history) > before
    assert recorder.latest == history[-1] or recorder.latest is not None
    assert all(sample.training_memory_bytes > 0 and sample.interval_seconds > 0 for sample in history)
    assert sum(sample.interval_seconds for sample in history) < 60


def test_a_run_shorter_than_the_interval_has_one_sample(tmp_path: Path) -> None:
    with Recorder(tmp_path, interval_seconds=1000):
        pass
    assert len(read_history(tmp_path / HISTORY)) == 1


def test_a_line_is_written_for_each_interval(recording: Recording) -> None:
    recording.take(3)
    history = read_history(recording.path)
    assert [sample.time_seconds for sample in history] == [NOW + 5, NOW + 10, NOW + 15]
    assert {sample.interval_seconds for sample in history} == {5.0}
    assert history[0].cpu_ratio == pytest.approx(0.8)
    assert history[0].gpus[0].utilization_ratio == 0.37
    assert recording.recorder.latest == history[-1]


def test_a_reading_that_fails_makes_the_next_interval_longer(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    recording.take()
    recording.ps.broken = psutil.AccessDenied()
    recording.take(3)
    recording.ps.broken = None
    recording.take()
    assert [sample.interval_seconds for sample in read_history(recording.path)] == [5.0, 20.0]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, "once when it begins and once when it ends"
    assert "AccessDenied" in said[0]


def test_what_cannot_be_written_is_written_later(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    recording.take()
    recording.path.rename(recording.path.with_suffix(".kept"))
    recording.path.mkdir()  # in the way
    recording.take(3)
    recording.path.rmdir()
    recording.path.with_suffix(".kept").rename(recording.path)
    recording.take()
    assert [sample.time_seconds - NOW for sample in read_history(recording.path)] == [5, 10, 15, 20, 25]
    assert len(caplog.records) == 1


def test_a_recorder_that_cannot_write_at_all_leaves_the_training_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / HISTORY).mkdir()
    with Recorder(tmp_path, interval_seconds=0.01) as recorder:
        assert eventually(lambda: bool(caplog.records))
    assert "will be written later: [Errno 21] Is a directory" in caplog.text
    assert recorder.latest is not None


def test_a_folder_that_is_away_leaves_the_training_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "away", interval_seconds=0.01):
        assert eventually(lambda: bool(caplog.records))
    assert "away" in caplog.text


def test_what_a_source_should_never_raise_ends_no_recording(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    recording.ps.broken = KeyError("a kernel of next year")
    recording.take()
    recording.ps.broken = None
    recording.take()
    assert [sample.interval_seconds for sample in read_history(recording.path)] == [10.0]


def test_a_line_that_a_kill_tore_is_left_out_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    path.write_text(f"{to_line(SAMPLE)}\n{to_line(SAMPLE)[:50]}")
    assert read_history(path) == [SAMPLE]
    Recording(tmp_path).take()
    history = read_history(path)
    assert len(history) == 2
    assert history[0] == SAMPLE


def test_lines_that_are_no_samples_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / HISTORY
    path.write_text(f"garbage\n{to_line(SAMPLE)}\n[]\n")
    assert read_history(path) == [SAMPLE]
    assert "2 lines are no samples" in caplog.text


def test_there_may_be_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path / HISTORY) == []


def test_a_long_run_keeps_its_whole_time_in_a_bounded_file(tmp_path: Path) -> None:
    recording = Recording(tmp_path, most_samples=16)
    for n in range(200):
        recording.ps.memory_available = 10**9 if n == 3 else 6 * 10**9
        recording.take()
    history = read_history(recording.path)
    assert len(history) < 16
    assert sum(sample.interval_seconds for sample in history) == pytest.approx(200 * 5)
    assert max(sample.memory_used_bytes for sample in history) == 8 * 2**30 - 10**9, "the peak is still there"
    assert recording.path.stat().st_size < 16 * 1200


def test_halving_keeps_a_last_one_alone() -> None:
    samples = [replace(SAMPLE, time_seconds=NOW + n) for n in range(5)]
    assert [sample.time_seconds - NOW for sample in downsampled(samples)] == [1, 3, 4]


def test_a_driver_that_hangs_does_not_hold_the_samples_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nvml, over = FakeNvml(FakeCard()), threading.Event()
    nvml.wait = over.wait
    clock = Clock()
    machine, cards = machine_of(clock=clock, proc=tmp_path), Gpus(lambda: 0.0, lambda: nvml)
    recorder = Recorder(tmp_path, machine=machine, gpus=cards, deadline_seconds=120)
    assert recorder._sources[-1].outcome(0.05).up is False, "the driver hangs"
    recorder._note()
    clock.pass_(5)
    recorder._note()
    over.set()
    [sample] = read_history(tmp_path / HISTORY)
    assert sample.gpus == ()


def test_a_sample_costs_little(tmp_path: Path) -> None:
    """A hundredth of a core at one every 5 s would be 50 ms; the training may become 1 % slower by all of it."""
    recorder = Recorder(tmp_path, machine=Machine())
    recorder._note()
    cheapest = math.inf
    for _ in range(20):
        began = time.process_time()
        recorder._note()
        cheapest = min(cheapest, time.process_time() - began)
    assert cheapest < 0.02, "on a crowded machine all but one may take longer"


def test_every_line_is_json_for_others_too(recording: Recording) -> None:
    recording.take()
    values: dict[str, Any] = json.loads(recording.path.read_text())
    assert values["time_seconds"] == NOW + 5


def eventually(told: Callable[[], bool]) -> bool:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if told():
            return True
        time.sleep(0.01)
    return False


def test_nothing_is_said_when_all_is_well(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "monitoring"):
        recording.take(3)
    assert caplog.records == []
