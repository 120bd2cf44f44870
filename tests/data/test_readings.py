from __future__ import annotations

import hashlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.core.errors import ImageRejected, StorageError
from pipeline.core.records import pixel_digest
from pipeline.data import answer_cache, readings
from pipeline.data.answer_cache import AnswerCache
from pipeline.data.images import ImageLimits, list_images, path_text, read_image
from pipeline.data.probe import measure
from pipeline.data.readings import Reading, ReadingResult, read_all
from tests.support.drawing import draw
from tests.support.source import ROOT


class Folder:
    """A folder of logos read through a cache; counts the files that are opened."""

    def __init__(self, root: Path, limits: ImageLimits, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.limits, self.cache = root, limits, root.parent / "cache"
        self.opened: list[str] = []
        read_one = readings.read_one

        def counted(root: Path, path: str, limits: ImageLimits) -> Reading:
            self.opened.append(path)
            return read_one(root, path, limits)

        monkeypatch.setattr(readings, "read_one", counted)

    def read(self, **changes: Any) -> dict[str, ReadingResult]:
        self.opened.clear()
        paths = [path_text(path) for path in list_images(self.root)[0]]
        return read_all(self.root, paths, replace(self.limits, **changes), 1, self.cache)


@pytest.fixture
def folder(logos: Callable[..., Path], limits: ImageLimits, monkeypatch: pytest.MonkeyPatch) -> Folder:
    root = logos("a.png", "in/b.png", "in/c.png")
    (root / "broken.png").write_bytes(b"nothing")
    return Folder(root, limits, monkeypatch)


def outcomes(results: dict[str, ReadingResult]) -> dict[str, str]:
    return {p: r.reason if isinstance(r, ImageRejected) else "read" for p, r in results.items()}


def test_a_reading_is_what_the_parts_say(folder: Folder) -> None:
    reading = folder.read()["in/b.png"]
    assert isinstance(reading, Reading)
    content = (folder.root / "in/b.png").read_bytes()
    rgba = read_image(folder.root / "in/b.png", folder.limits)
    assert reading.sha256 == hashlib.sha256(content).hexdigest()
    assert reading.digest == pixel_digest(rgba)
    assert (reading.file_bytes, reading.width, reading.height, reading.mode) == (len(content), 64, 64, "RGBA")
    np.testing.assert_array_equal(np.array(reading.measures, dtype=np.float32), measure(rgba).as_array())
    assert len(reading.hash) == 64


def test_nothing_is_read_twice(folder: Folder) -> None:
    first = folder.read()
    assert outcomes(first) == {"a.png": "read", "broken.png": "undecodable", "in/b.png": "read", "in/c.png": "read"}
    assert folder.opened == list(first)
    second = folder.read()
    assert folder.opened == []
    assert list(second) == list(first)
    assert str(second.pop("broken.png")) == str(first.pop("broken.png"))
    assert second == first


def test_what_changed_is_read_again(folder: Folder) -> None:
    folder.read()
    draw(77).save(folder.root / "a.png")
    draw(78).save(folder.root / "new.png")
    (folder.root / "in/b.png").unlink()
    os.utime(folder.root / "in/c.png", ns=(1, 1))
    assert "in/b.png" not in folder.read()
    assert folder.opened == ["a.png", "in/c.png", "new.png"]


def test_other_limits_other_code_and_another_folder_read_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.read()
    assert outcomes(folder.read(min_side_pixels=65))["a.png"] == "too-small"
    assert len(folder.opened) == 4
    folder.read(min_side_pixels=65)
    assert folder.opened == []
    monkeypatch.setattr(readings, "_code_version", lambda: "other")
    folder.read(min_side_pixels=65)
    assert len(folder.opened) == 4
    folder.root = folder.root / "in"
    folder.read(min_side_pixels=65)
    assert folder.opened == ["b.png", "c.png"]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "something else": lambda content: b"{" * 5000,
    "its first half": lambda content: content[: len(content) // 2],
    "pages overwritten": lambda content: content[:4096] + b"\xff" * (len(content) - 4096),
    "its last page overwritten": lambda content: content[:-4096] + b"\xff" * 4096,
    "an answer overwritten": lambda content: content.replace(b'{"sha256"', b"[[[[[[[[["),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_only_costs_time(damage: str, folder: Folder) -> None:
    first = folder.read()
    [file] = folder.cache.iterdir()
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert outcomes(folder.read()) == outcomes(first)
    assert folder.opened
    folder.read()
    assert folder.opened == []
    assert list(folder.cache.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_is_told_with_the_remedy(folder: Folder) -> None:
    folder.cache.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"sqlite: cannot be used .*see that you may write it"):
        folder.read()


def test_what_is_gone_is_forgotten(folder: Folder) -> None:
    folder.read()
    (folder.root / "in/b.png").unlink()
    folder.read()
    assert kept(folder.cache) == ["a.png", "broken.png", "in/c.png"]


def kept(cache: Path) -> list[str]:
    [file] = cache.glob("*.sqlite")
    with closing(sqlite3.connect(file)) as connection:
        return [path for (path,) in connection.execute("SELECT path FROM stamped ORDER BY path")]


def test_a_file_that_could_not_be_opened_is_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions change without a trace in the file's size and time."""

    def forbidden(root: Path, path: str, limits: ImageLimits) -> Reading:
        raise ImageRejected(path, "unreadable", "permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(readings, "read_one", forbidden)
        assert set(outcomes(folder.read()).values()) == {"unreadable"}
    assert outcomes(folder.read())["a.png"] == "read"


def test_a_link_to_nothing_is_tried_again(folder: Folder) -> None:
    (folder.root / "gone.png").symlink_to("missing.png")
    assert outcomes(folder.read())["gone.png"] == "unreadable"
    draw(9).save(folder.root / "missing.png")
    assert outcomes(folder.read())["gone.png"] == "read"


def test_what_was_read_before_an_interruption_is_kept(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    read_one = readings.read_one

    def interrupted(root: Path, path: str, limits: ImageLimits) -> Reading:
        if path == "in/c.png":
            raise KeyboardInterrupt
        return read_one(root, path, limits)

    with monkeypatch.context() as patch:
        patch.setattr(readings, "read_one", interrupted)
        with pytest.raises(KeyboardInterrupt):
            folder.read()
    folder.read()
    assert folder.opened == ["in/c.png"]


def test_what_was_read_before_a_kill_is_kept(folder: Folder) -> None:
    """By a process that kills itself while it reads the last image, with every answer written at once."""
    lines = [
        "import os, signal, sys",
        "from pathlib import Path",
        "from pipeline.data import answer_cache, readings",
        "from pipeline.data.images import ImageLimits",
        "answer_cache.WRITE_EVERY_SECONDS = 0.0",
        "read_one = readings.read_one",
        "def deadly(root, path, limits):",
        "    if path == 'in/c.png':",
        "        os.kill(os.getpid(), signal.SIGKILL)",
        "    return read_one(root, path, limits)",
        "readings.read_one = deadly",
        f"limits = {folder.limits!r}",
        "paths = ['a.png', 'broken.png', 'in/b.png', 'in/c.png']",
        f"readings.read_all(Path({str(folder.root)!r}), paths, limits, 1, Path({str(folder.cache)!r}))",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert kept(folder.cache) == ["a.png", "broken.png", "in/b.png"]
    folder.read()
    assert folder.opened == ["in/c.png"]


def test_answers_are_written_from_time_to_time(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(itertools.count(0.0, 0.4))
    monkeypatch.setattr(answer_cache, "monotonic", lambda: next(now))
    written = []
    with AnswerCache(folder.cache, folder.root, "key") as known:
        for path in ("a.png", "broken.png", "in/b.png", "in/c.png"):
            assert known.get(path) is None
            known.put(path, {"of": path})
            written.append(kept(folder.cache))
    assert written == [[], [], ["a.png", "broken.png", "in/b.png"], ["a.png", "broken.png", "in/b.png"]]
    assert kept(folder.cache) == ["a.png", "broken.png", "in/b.png", "in/c.png"]


def test_processes_read_the_same(
    logos: Callable[..., Path], limits: ImageLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "FEW", 2)
    root = logos(*(f"{n}.png" for n in range(6)), os.fsdecode(b"caf\xe9.png"))
    Image.new("RGB", (40, 40)).save(root / "blank.png")
    paths = [path_text(path) for path in list_images(root)[0]]
    many = read_all(root, paths, limits, 2, root.parent / "two")
    one = read_all(root, paths, limits, 1, root.parent / "one")
    assert outcomes(many) == outcomes(one)
    assert outcomes(many)["blank.png"] == "blank"
    assert [many[p] for p in paths if p != "blank.png"] == [one[p] for p in paths if p != "blank.png"]


def test_a_file_that_ends_its_process_costs_itself_only(limits: ImageLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is a stand-in: a decoder that crashes on purpose is hard to come by."""

    def pool(root: Path, paths: list[str], limits: ImageLimits, workers: int) -> Iterator[dict[str, Any]]:
        for path in paths:
            if path == "deadly.png":
                raise BrokenProcessPool
            yield {"reason": "blank", "detail": f"read by {workers}"}

    monkeypatch.setattr(readings, "_pooled", pool)
    paths = ["a.png", "deadly.png", "b.png", "c.png"]
    found = list(readings._in_processes(Path(), paths, limits, 4))
    assert [path for path, _ in found] == paths
    assert [answer["reason"] for _, answer in found] == ["blank", "crashed", "blank", "blank"]
