from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import DataError, StorageError
from pipeline.core.files import project_root, read_json, whole, write_bytes, write_json, write_text

AS_ROOT = os.geteuid() == 0


def names(folder: Path) -> list[str]:
    """Hidden ones too: a temporary file that stays would be one."""
    return sorted(p.name for p in folder.iterdir())


def fail_half_way(path: Path, error: BaseException) -> None:
    with whole(path) as temporary:
        temporary.write_text("half of the n")
        raise error


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"\x00\xff")
    write_text(tmp_path / "deep" / "er" / "b.txt", "Grüße\n\r\n")
    write_json(tmp_path / "c.json", {"ü": [1, None, 0.5]})
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "deep" / "er" / "b.txt").read_bytes() == "Grüße\n\r\n".encode()
    assert (tmp_path / "c.json").read_text(encoding="utf-8").endswith("}\n")
    assert read_json(tmp_path / "c.json", "make repro") == {"ü": [1, None, 0.5]}
    assert names(tmp_path) == ["a.bin", "c.json", "deep"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    write_text(path, "old")
    for error in (RuntimeError("a library gave up"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fail_half_way(path, error)
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == "old"
    assert names(tmp_path) == ["kept.json"]


def test_a_first_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        fail_half_way(tmp_path / "new.txt", RuntimeError())
    assert names(tmp_path) == []


@pytest.mark.parametrize("words", [os.strerror(errno.ENOSPC), "Error writing bytes. Detail: [errno 28] ..."])
def test_a_full_disk_is_a_storage_error_and_keeps_the_old_file(tmp_path: Path, words: str) -> None:
    path = tmp_path / "kept.txt"
    write_text(path, "old")
    with pytest.raises(
        StorageError, match=r"kept\.txt: cannot be written \(No space left on device\); is the disk full"
    ):
        fail_half_way(path, OSError(errno.ENOSPC, words))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["kept.txt"]


def test_a_reader_sees_the_old_content_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "read.txt"
    write_text(path, "old")
    with path.open() as reader, whole(path) as temporary:
        assert temporary.parent == tmp_path, "a rename is atomic only within one file system"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert reader.closed


def test_a_library_sees_the_suffix_it_expects(tmp_path: Path) -> None:
    with whole(tmp_path / "table.parquet") as temporary:
        assert temporary.suffix == ".parquet"
        assert temporary.name.startswith(".")


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be written \(.+\); choose a folder you may write to"):
        write_text(tmp_path / "file" / "inside.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_text(tmp_path / "folder", "x")
    assert names(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(AS_ROOT, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="choose a folder you may write to"):
            write_text(tmp_path / "x.txt", "x")
    finally:
        tmp_path.chmod(0o700)


@pytest.fixture(params=[0o022, 0o077, 0o002])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    write_text(tmp_path / "x.txt", "x")
    assert (tmp_path / "x.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    now = os.umask(mask)
    assert now == mask, "the umask itself is as it was"


def test_a_missing_json_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: not found; run `dvc repro train` first"):
        read_json(tmp_path / "train.json", "dvc repro train")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_a_damaged_json_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json: cannot be read .*; delete it and run `make repro`"):
        read_json(tmp_path / "x.json", "make repro")


def test_numbers_that_were_not_measured_are_refused(tmp_path: Path) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range float"):
            write_json(tmp_path / "x.json", [value])
    write_json(tmp_path / "x.json", [None])
    assert json.loads((tmp_path / "x.json").read_text()) == [None]


def test_the_project_is_found_from_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "project" / "logos" / "simple"
    inner.mkdir(parents=True)
    (tmp_path / "project" / "params.yaml").touch()
    assert project_root(inner) is None, "params.yaml alone is no project"
    (tmp_path / "project" / "dvc.yaml").touch()
    assert project_root(inner) == (tmp_path / "project").resolve()
    monkeypatch.chdir(inner)
    assert project_root() == (tmp_path / "project").resolve()
