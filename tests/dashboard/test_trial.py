"""What a visitor hands in, from a logo to a bomb."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from dashboard import trial
from dashboard.frame import PageContext
from dashboard.trial import TrialError
from dashboard.views import try_it
from tests.support import dashboard_project
from tests.support.fakes import ROOT


def png(width: int = 48, height: int = 40) -> bytes:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).rectangle((1, 1, width // 2, height // 2), fill="#0b57a4")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 400 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(60001)))
        + chunk(b"IEND", b"")
    )


def never(seconds: float) -> None:
    """Somebody who only watches."""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, to see that none stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def refusal(content: bytes) -> str:
    with pytest.raises(TrialError) as refused, trial.image_file(content) as path:
        trial.default_of(path, ROOT, never)
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello", "no PNG, JPEG, BMP, TIFF or WebP"),
        (dashboard_project.HOSTILE_SVG.encode(), "an SVG, a vector drawing already"),
        (b'<?xml version="1.0"?><!-- x --><SVG/>', "an SVG"),
        (b"\0" * 20_000_001, "20,000,001 bytes"),
        (bomb(), "bomb"),
        (png(4, 4), "pixels"),
        (png(2100, 2100), "pixels"),
        (png()[:60], "save it again as PNG"),
        (b"%PDF-1.4", "it is a PDF; export the page as PNG"),
        (b"\x80\x04cos\nsystem\n", "no PNG"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(folders: Path, content: bytes, says: str) -> None:
    message = refusal(content)
    assert says in message
    assert trial.ALLOWED in message
    assert "Traceback" not in message
    assert list(folders.iterdir()) == []


def test_the_default_comes_with_its_scores(folders: Path) -> None:
    seen: list[float] = []
    with trial.image_file(png()) as path:
        attempt, given = trial.default_of(path, ROOT, seen.append)
    assert attempt.svg.count("<path") >= 1
    assert attempt.bytes == len(attempt.svg.encode())
    assert attempt.damage >= 0
    assert 0 <= attempt.delta < 100
    assert (given.width, given.height) == (48, 40)
    assert given.png.startswith(b"\x89PNG")
    assert seen == sorted(seen)
    assert list(folders.iterdir()) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose `tracewright vectorize` is a few lines, so that no model is needed."""
    for folder in ("pipeline", "pipeline/cli"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    return tmp_path


COMMAND = """
import json, pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1]); out.mkdir()
assert sys.argv[1] == "vectorize"
{body}
(out / "image.svg").write_text("<svg/>")
line = {{"status": "{status}", "svg": "image.svg", "bytes": 6, "damage": 0.5, "delta": 1.2}}
line["error"] = "panic: as asked"
line["curve"] = [{{"bytes": 6, "damage": 0.5, "knee": False, "chosen": True, "svg": "image.svg"}}]
(out / "results.jsonl").write_text(json.dumps(line) + chr(10))
"""


def command(project: Path, body: str = "", status: str = "improved") -> None:
    (project / "pipeline/cli/main.py").write_text(COMMAND.format(body=body, status=status))


def attempt(project: Path, tick: trial.Tick = never) -> trial.Attempt:
    with trial.image_file(png()) as path:
        return trial.ours_of(path, project, 8, model="m", objective="sharper", tick=tick)


def test_ours_is_what_the_command_wrote(project: Path) -> None:
    command(project, 'assert sys.argv[-6:] == ["--traces", "8", "--model", "m", "--objective", "sharper"]')
    found = attempt(project)
    assert (found.traces, found.svg, found.bytes, found.kept) == (8, "<svg/>", 6, False)
    command(project, status="default")
    assert attempt(project).kept


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('sys.exit("tracewright: no champion; run make repro first")', "no champion; run make repro first"),
        ("sys.exit(3)", "exit code 3"),
        ("import os; os.abort()", "could not be vectorised"),
    ],
)
def test_a_command_that_fails_says_why(project: Path, body: str, says: str) -> None:
    command(project, body)
    with pytest.raises(TrialError, match=says):
        attempt(project)


def test_the_curve_comes_with_its_svgs(project: Path) -> None:
    command(project, 'assert sys.argv[-3:] == ["--background", "#0b57a4", "--curve"]')
    with trial.image_file(png()) as path:
        found = trial.ours_of(
            path, project, 8, model=None, objective=None, background="#0b57a4", curve=True, tick=never
        )
    assert found.curve == (trial.ParetoPoint(bytes=6, damage=0.5, knee=False, chosen=True, svg="<svg/>"),)


def test_an_image_that_the_command_fails_on_says_why(project: Path) -> None:
    command(project, status="failed")
    with pytest.raises(TrialError, match="as asked"):
        attempt(project)


def test_a_command_that_takes_too_long_is_ended_with_all_below_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The clock goes on by an hour as soon as there is something below it."""
    noted = tmp_path / "pid"

    def monotonic() -> float:
        return time.monotonic() + (3600 if noted.exists() and noted.read_text() else 0)

    monkeypatch.setattr(trial, "time", SimpleNamespace(monotonic=monotonic))
    command(
        project,
        "import subprocess; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"pathlib.Path({str(noted)!r}).write_text(str(child.pid)); time.sleep(600)",
    )
    with pytest.raises(TrialError, match="longer than 180 s"):
        attempt(project)
    _gone(int(noted.read_text()))


def test_a_visitor_who_leaves_ends_the_work(project: Path) -> None:
    class Left(BaseException):
        pass

    def leave(seconds: float) -> None:
        raise Left

    command(project, "time.sleep(600)")
    with pytest.raises(Left):
        attempt(project, leave)


def _gone(pid: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    os.kill(pid, 9)
    raise AssertionError("the child's child lives on")


def test_one_image_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "WAIT_SECONDS", 0.1)
    with trial.one_at_a_time(), pytest.raises(TrialError, match="Another image"), trial.one_at_a_time():
        pass
    with trial.one_at_a_time():
        pass


def test_each_result_is_shown_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    seen: list[int] = []

    def default_of(*_: object) -> tuple[trial.Attempt, trial.InputImage]:
        return attempt_of(0), trial.InputImage(png=png(), width=48, height=40)

    def ours_of(path: Path, root: Path, traces: int, **_: object) -> trial.Attempt:
        seen.append(len(made))
        return attempt_of(traces)

    def attempt_of(traces: int) -> trial.Attempt:
        return trial.Attempt(traces=traces, svg="<svg/>", bytes=100 - traces, damage=0.0, delta=0.1, seconds=1.0)

    monkeypatch.setattr(trial, "default_of", default_of)
    monkeypatch.setattr(trial, "ours_of", ours_of)
    monkeypatch.setattr(try_it, "_so_far", lambda place, attempts, image: made.append(len(attempts)))
    here = PageContext(tmp_path, [], None)
    attempts, _, refused = try_it._work(here, png(), try_it.CHAMPION, try_it.OWN, None)
    assert (len(attempts), refused) == (4, None)
    assert made == [1, 2, 3, 4]
    assert seen == [1, 2, 3]
