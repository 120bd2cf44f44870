from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import DataError
from pipeline.data.images import list_images, path_text
from pipeline.vectorizing.inputs import Entry, Folders, Inputs, PathList, with_svgs


def paths(inputs: Inputs) -> list[str]:
    return [entry.path for entry in inputs.entries()]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_a_folder_gives_what_list_images_finds(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a.png", "b/c.JPG", "b/d/e.webp", "notes.txt", ".hidden.png", ".git/x.png", "ß\n.bmp")
    touch(tmp_path, "outside.png")
    (root / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "in.png").symlink_to(root / "a.png")
    (root / "up").symlink_to(tmp_path)
    found, rejected = list_images(root)
    entries = list(Folders([root]).entries())
    assert sorted(e.path for e in entries if not e.error) == sorted(map(path_text, found))
    assert {e.path: e.error for e in entries if e.error} == {r.path: f"{r.reason}: {r.detail}" for r in rejected}
    [a] = [e for e in entries if e.path == "a.png"]
    assert (a.file, a.file_bytes) == (str(root / "a.png"), 1)
    assert a.change() is None


def test_several_inputs_never_share_a_path(tmp_path: Path) -> None:
    for name in ("x/logos", "y/logos"):
        touch(tmp_path / name, "a.png", "b.png")
    found = Folders(
        [tmp_path / "x/logos", tmp_path / "y/logos", tmp_path / "x/logos/a.png", tmp_path / "y/logos/a.png"]
    )
    assert sorted(paths(found)) == [
        "a.png",
        "a.png-2",
        "logos-2/a.png",
        "logos-2/b.png",
        "logos/a.png",
        "logos/b.png",
    ]


def test_what_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.*: no such file or folder"):
        Folders([tmp_path / "gone"])
    with pytest.raises(DataError, match="no such file; give a text file with one path per line, or -"):
        PathList(tmp_path / "gone.txt")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_list_keeps_paths_below_here_and_sets_others_aside(here: Path) -> None:
    touch(here, "a.png", "deep/b.png", "outside/c.png")
    lines = [
        "a.png",
        "deep/../deep/b.png",
        str(here / "a.png"),
        "/elsewhere/d.png",
        "../e.png",
        "outside/c.png",
        "",
        "gone.png",
    ]
    (here / "list").write_text("\n".join(lines))
    above = str(here.parent)[1:]
    assert paths(PathList(Path("list"))) == [
        "a.png",
        "deep/b.png",
        "a.png",
        "outside/elsewhere/d.png",
        f"outside/{above}/e.png",
        f"outside/{above}/{here.name}/outside/c.png",
        "gone.png",
    ]


def test_names_with_newlines_come_between_nuls_also_across_pieces(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:05d}\n{'x' * 50}.png" for number in range(3000)]
    content = b"\0".join(map(os.fsencode, names))
    stdin: Any = io.TextIOWrapper(io.BytesIO(content))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert paths(PathList(Path("-"))) == [path_text(Path(name)) for name in names]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_from_windows_are_read(here: Path, encoding: str, end: str) -> None:
    touch(here, "a.png", "grüße/b.png", "c\\d.png")
    text = end.join(["a.png", "grüße\\b.png", "", "c\\d.png"])
    for last in ("", end):
        (here / "list").write_bytes((text + last).encode(encoding))
        assert paths(PathList(Path("list"))) == ["a.png", "grüße/b.png", "c\\\\d.png"]


def test_a_list_that_is_not_what_its_mark_says_is_told(here: Path) -> None:
    (here / "list").write_bytes(b"\xff\xfea.png")
    with pytest.raises(DataError, match="list: is no utf-16, as its first bytes say; save it as UTF-8"):
        paths(PathList(Path("list")))


def test_a_listed_folder_is_an_error_of_its_own(here: Path) -> None:
    (here / "list").write_text(".\n")
    [entry] = PathList(Path("list")).entries()
    assert entry.error == "unreadable: it is a folder; list the images in it"


def test_a_list_is_known_again_and_another_is_not(here: Path) -> None:
    (here / "list").write_text("a.png\nb.png\n")
    first = PathList(Path("list"))
    list(first.entries())
    assert first.described() == PathList(Path("list")).described()
    (here / "same").write_bytes(b"a.png\0b.png")
    assert first.described() == PathList(Path("same")).described()
    (here / "other").write_text("a.png\nb.pngc\n")
    assert first.described() != PathList(Path("other")).described()


def test_no_two_svgs_share_a_name() -> None:
    long = f"deep/{'x' * 251}"
    paths = ["deep/a.bmp", "deep/a.png", "a.png", "deep/a.png", f"{long}.bmp", f"{long}.png", f"{long}.png"]
    named = [entry.svg or "" for entry in with_svgs(Entry("", path) for path in paths)]
    assert named[:5] == ["deep/a.svg", "deep/a.png.svg", "a.svg", "deep/a-2.svg", f"{long}.svg"]
    assert len(set(named)) == 7
    assert all(len(Path(svg).name) <= 255 and Path(svg).parent == Path("deep") for svg in named[5:])


def test_a_file_that_changed_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    [entry] = Folders([tmp_path]).entries()
    (tmp_path / "a.png").write_bytes(b"more")
    assert entry.change() == "it is not the file that was listed (1 bytes then, 4 now); list it again"
    (tmp_path / "a.png").unlink()
    assert entry.change() is None, "who reads it says that it is gone"
