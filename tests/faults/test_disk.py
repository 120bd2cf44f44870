"""Disks that are full or fail while a checkpoint is saved: the last good one stands, and the training tries again."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipeline.core.errors import StorageError
from pipeline.training.checkpoint import read_checkpoint
from pipeline.training.checkpoint_store import files_in, latest_in
from tests.support.nursery import Nursery, run_training, settings
from tests.support.tally import tally

pytestmark = pytest.mark.slow

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
FULL = "cannot be written (No space left on device); is the disk full?"
BROKEN = "cannot be written (Input/output error); is the disk full?"


def mount(*options: str) -> None:
    subprocess.run(["mount", *options], check=True, capture_output=True)


@contextmanager
def disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """`folder/checkpoints` as a disk of its own."""
    place = folder / "checkpoints"
    place.mkdir(parents=True)
    try:
        mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def sizes(finished: Path) -> list[int]:
    return [path.stat().st_size for path in files_in(finished / "checkpoints")]


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in log.records if "is not saved" in record.message]


def test_a_disk_that_is_full_for_a_while_costs_a_warning(
    finished: Path, undisturbed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    stood: list[int] = []

    def fill_and_free() -> None:
        if not stood and files_in(place):
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        if len(warnings(caplog)) >= 3 and filler.exists():
            filler.unlink()
        if filler.exists():
            latest = latest_in(place)
            assert latest is not None
            stood.append(int(latest[1].facts["summary"]["timesteps"]))

    with disk(tmp_path / "run", 8 * max(sizes(finished))) as place:
        filler = place / "filler"
        assert run_training(tmp_path / "run", fill_and_free) == undisturbed
        assert set(stood) == {0}, "only the checkpoint from before the disk was full"
        failed = len(warnings(caplog))
        assert failed >= 3
        assert all(FULL in text for text in warnings(caplog))
        assert not list(place.glob(".*")), "what could not be written whole is not left"
        for path in files_in(place):
            read_checkpoint(path)
    tally("disk full during saves", failed=failed, lost=0)


def test_a_disk_that_stays_full_is_74_and_the_last_good_one_is_gone_on_with(
    nursery: Nursery, finished: Path, undisturbed: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with disk(run, sizes(finished)[0] * 3 // 2) as place:
        nursery.start(run)
        assert nursery.status() == StorageError.exit_code == 74
        assert FULL in (run / "error").read_text()
        assert [path.name for path in files_in(place)] == ["000001-0.ckpt"]
        assert (run / "steps").read_text() == str(settings().train.total_timesteps), "it went on to its end"
        mount("-o", f"remount,size={8 * max(sizes(finished))}", str(place))
        nursery.start(run)
        assert nursery.status() == 0
        assert (run / "digest").read_text() == undisturbed


class Failing:
    """`fsync` of a process fails where strace is told to."""

    def __init__(self, pid: int, log: Path, when: str) -> None:
        os.kill(pid, signal.SIGSTOP)  # it saves nothing before strace is there
        inject = ["-e", "trace=fsync", "-e", f"inject=fsync:error=EIO:when={when}"]
        self._log = log
        self._tracer = subprocess.Popen(["strace", "-qq", *inject, "-o", str(log), "-p", str(pid)])
        while "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text():
            assert self._tracer.poll() is None, "strace cannot attach"
            time.sleep(0.001)
        os.kill(pid, signal.SIGCONT)

    def count(self) -> int:
        self._tracer.wait()
        return self._log.read_text().count("(INJECTED)")


@needs_strace
def test_an_fsync_that_fails_is_tried_again_and_one_that_always_fails_is_74(
    nursery: Nursery, undisturbed: str, tmp_path: Path
) -> None:
    failing = Failing(nursery.start(tmp_path), tmp_path / "strace", "3+")
    assert nursery.status() == 74
    for_ever = failing.count()
    assert for_ever > 3
    assert BROKEN in (tmp_path / "error").read_text()
    assert [path.name for path in files_in(tmp_path / "checkpoints")] == ["000001-0.ckpt"], "the last good one stands"
    # The second is that of the folder, after the rename; those after it are of the next files.
    failing = Failing(nursery.start(tmp_path), tmp_path / "strace", "2..5")
    assert nursery.status() == 0
    assert failing.count() == 4
    assert (tmp_path / "digest").read_text() == undisturbed
    for path in files_in(tmp_path / "checkpoints"):
        read_checkpoint(path)
    tally("EIO from fsync during saves", failed=for_ever + 4, lost=0)
