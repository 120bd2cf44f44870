"""A sharded run that is stopped, killed or short of disk, and files that end the process that reads them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from PIL import Image

from tests.support.agents import small_agent
from tests.support.fakes import ROOT, rgba_of
from tests.support.sharded_output import rows, svgs

pytestmark = pytest.mark.slow

FILES, SHARD_FILES = 24, 4
MISHAPS = """
import os, signal
from PIL import Image
opened = Image.open

def first_time(mark):
    try:
        os.close(os.open(os.path.join(os.environ["MISHAPS"], mark), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

def open(file, *arguments, **options):
    _, found, mishap = file.getvalue()[-40:].rpartition(b"|||")
    who, name, number = mishap.decode().split() if found else (None, None, None)
    if who == "always" or (who and first_time(number)):
        os.kill(os.getppid() if who == "parent" else os.getpid(), getattr(signal, name))
        if who == "parent":
            signal.pause()
    return opened(file, *arguments, **options)

Image.open = open
"""
"""As sitecustomize.py: a decoder that ends its process, or the command above it, at files that end with such a wish."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agent")
    small_agent().save(folder)
    return folder


@pytest.fixture(scope="module")
def logos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logos")
    for seed in range(FILES):
        Image.fromarray(rgba_of(seed)).save(folder / f"{seed:02d}.png")
    return folder


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    for process in Command.started:
        process.kill()
        process.wait()
    Command.started.clear()


class Command:
    """`tracewright vectorize --sharded`, running. Its decoder obeys what files wish for."""

    started: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, logos: Path, agent: Path, output: Path, site: str = MISHAPS, workers: int = 1) -> None:
        folder = output.parent / "site"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(site)
        options = ["--traces", "2", "--workers", str(workers), "--shard-files", str(SHARD_FILES), "--model", str(agent)]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline.cli.main",
                "vectorize",
                str(logos),
                "-o",
                str(output),
                "--sharded",
                *options,
            ],
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "MISHAPS": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(self._process)

    def ended(self) -> tuple[int, str]:
        """The exit code and what it said, once no shard process of it is left."""
        said, _ = self._process.communicate(timeout=3600)
        until = time.monotonic() + 600
        while self._shard_processes():
            assert time.monotonic() < until, "a shard process outlived the command"
            time.sleep(0.1)
        return self._process.returncode, said

    def _shard_processes(self) -> list[psutil.Process]:
        mine = ["pipeline.vectorizing.process", str(self._process.pid)]
        return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-2:] == mine]


def wishing(logos: Path, folder: Path, wishes: dict[int, str]) -> Path:
    """A copy in which files by their number end with a wish, "who SIGNAL"."""
    folder.mkdir()
    for number, file in enumerate(sorted(logos.iterdir())):
        wish = f"|||{wishes[number]} {number}".encode() if number in wishes else b""
        (folder / file.name).write_bytes(file.read_bytes() + wish)
    return folder


@pytest.fixture(scope="module")
def undisturbed(logos: Path, agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    assert Command(logos, agent, output).ended()[0] == 0
    assert len(svgs(output)) == FILES
    return output


def assert_same(output: Path, undisturbed: Path) -> None:
    assert rows(output) == rows(undisturbed)
    assert svgs(output) == svgs(undisturbed), "every SVG, and nothing half written beside them"
    assert not list((output / ".sharded/results").glob(".*"))
    assert not list((output / ".sharded").glob(".plan-*"))


def test_killed_at_any_instant_nothing_is_lost_or_doubled(
    logos: Path, agent: Path, undisturbed: Path, tmp_path: Path
) -> None:
    unlucky = wishing(logos, tmp_path / "in", {13: "parent SIGKILL"})
    assert Command(unlucky, agent, tmp_path / "out", workers=2).ended()[0] == -signal.SIGKILL
    code, said = Command(unlucky, agent, tmp_path / "out").ended()
    assert code == 0, said
    assert_same(tmp_path / "out", undisturbed)


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.nightly)])
def test_stopped_it_is_75_and_says_how_far_it_is(logos: Path, agent: Path, tmp_path: Path, name: str) -> None:
    unlucky = wishing(logos, tmp_path / "in", {13: f"parent {name}"})
    code, said = Command(unlucky, agent, tmp_path / "out").ended()
    assert code == 75
    assert f"stopped on request ({name})" in said
    assert f"of {FILES // SHARD_FILES} shards are done; give the same command again" in said
    assert "Traceback" not in said


def test_a_killed_shard_process_costs_nothing_and_a_file_that_ends_every_process_costs_itself_only(
    logos: Path, agent: Path, undisturbed: Path, tmp_path: Path
) -> None:
    unlucky = wishing(logos, tmp_path / "in", {5: "always SIGSEGV", 17: "once SIGKILL"})
    code, said = Command(unlucky, agent, tmp_path / "out", workers=2).ended()
    assert code == 0, said
    found, whole = rows(tmp_path / "out"), rows(undisturbed)
    crashed, _ = found.pop("05.png"), whole.pop("05.png")
    assert crashed["status"] == "failed"
    assert crashed["error"].startswith("crashed: the process that worked on it was ended by SIGSEGV")
    assert found == whole
    left, every = svgs(tmp_path / "out"), svgs(undisturbed)
    assert left == {name: svg for name, svg in every.items() if name != "05.svg"}


def test_shard_processes_that_do_not_start_are_69(logos: Path, agent: Path, tmp_path: Path) -> None:
    site = "import sys\nif 'pipeline.vectorizing.process' in sys.orig_argv: raise SystemExit('no room')\n"
    code, said = Command(logos, agent, tmp_path / "out", site).ended()
    assert code == 69
    assert re.search(r"shard processes do not start: the last ended with status 1 \(.*no room\)", said)


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[None]:
    place.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_74_and_the_same_command_goes_on(
    logos: Path, agent: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with small_disk(output, 130_000):
        code, said = Command(logos, agent, output).ended()
        assert code == 74
        assert "cannot be written (No space left on device); is the disk full?" in said
        assert "Traceback" not in said
        done = len(list((output / ".sharded/results").glob("part-*")))
        assert 0 < done < FILES // SHARD_FILES
        subprocess.run(["mount", "-o", "remount,size=20000000", str(output)], check=True)
        code, said = Command(logos, agent, output).ended()
        assert code == 0
        assert f"{done} were done before" in said
        assert_same(output, undisturbed)
