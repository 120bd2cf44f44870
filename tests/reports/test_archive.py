from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import DataError, StorageError
from pipeline.reports import archive
from pipeline.reports.archive import Version, keep, open_svgs, read_images, read_report, read_written
from pipeline.reports.findings import find
from pipeline.reports.results import Results
from pipeline.reports.run_report import RunReport, run_report
from pipeline.reports.trouble import Trouble, attempted

SVG = '<svg width="1" height="1"/>'


def read_svg(folder: Path, version: Version, digest: str) -> str | None:
    packed = open_svgs(folder)
    return archive.read_svg(packed, version, digest) if packed else None


@pytest.fixture(scope="module")
def svgs(tmp_path_factory: pytest.TempPathFactory, results: Results) -> dict[Version, Path]:
    folders: dict[Version, Path] = {version: tmp_path_factory.mktemp(version) for version in ("ours", "default")}
    for version, folder in folders.items():
        for image in results.images:
            (folder / f"{image.digest}.svg").write_text(f"{SVG}<!-- {version} -->")
    return folders


@pytest.fixture(scope="module")
def report(results: Results) -> RunReport:
    return run_report(results, find(results), ())


@pytest.fixture(scope="module")
def kept_once(
    tmp_path_factory: pytest.TempPathFactory, results: Results, report: RunReport, svgs: dict[Version, Path]
) -> Path:
    return keep(tmp_path_factory.mktemp("run"), report, "<!doctype html>", results, svgs)


@pytest.fixture
def kept(kept_once: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(kept_once, tmp_path / "kept"))


def test_what_was_kept_is_read_back(kept: Path, results: Results, report: RunReport) -> None:
    assert read_report(kept) == report
    assert read_written(kept, "report.html") == b"<!doctype html>"
    table = read_images(kept)
    assert len(table) == 40
    assert table["value_tpe"].notna().all()
    first = results.images[0]
    row = table[table["path"] == first.path].iloc[0]
    assert (row["value"], row["params"]) == (first.value, first.params)
    assert row["value_tpe"] == results.measures["tpe", 8][first.path].value
    assert read_svg(kept, "default", first.digest) == f"{SVG}<!-- default -->"


def test_only_its_own_files_are_read(kept: Path) -> None:
    assert read_written(kept, "../../params.yaml") is None
    for digest in ("../../../etc/passwd", "", "a" * 63, "A" * 64, "f" * 64):
        assert read_svg(kept, "ours", digest) is None


def test_it_is_bounded_and_what_one_looks_at_first_is_kept(
    tmp_path: Path,
    results: Results,
    report: RunReport,
    svgs: dict[Version, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "MOST_SVG_BYTES", 1000)
    folder = keep(tmp_path / "run", report, "", results, svgs)
    with zipfile.ZipFile(folder / "svgs.zip") as packed:
        members = packed.infolist()
    assert 0 < sum(member.file_size for member in members) <= 1000
    assert members[0].filename == f"ours/{report.most_improved[0].digest}.svg"


def test_an_svg_too_large_to_be_shown_is_not_unpacked(kept: Path, results: Results, monkeypatch: Any) -> None:
    monkeypatch.setattr(archive, "MOST_SHOWN_BYTES", 5)
    assert read_svg(kept, "ours", results.images[0].digest) is None


@pytest.mark.parametrize("name", ["report.json", "images.parquet"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"PAR1", b"\xff\xfe", b"null", b'{"schema_version": 2}'])
def test_what_is_damaged_is_named_with_its_remedy(kept: Path, name: str, content: bytes) -> None:
    (kept / name).write_bytes(content)
    read = read_report if name == "report.json" else read_images
    with pytest.raises(DataError, match=rf"{name}.*dvc repro"):
        read(kept)
    assert isinstance(attempted(lambda: read(kept)), Trouble)
    (kept / name).unlink()
    with pytest.raises(DataError, match=f"{name}: not found"):
        read(kept)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\0" * 99])
def test_a_damaged_archive_of_svgs_has_none(kept: Path, results: Results, content: bytes) -> None:
    (kept / "svgs.zip").write_bytes(content)
    assert read_svg(kept, "ours", results.images[0].digest) is None


def test_a_flipped_bit_in_an_svg_is_seen(kept: Path, results: Results) -> None:
    content = bytearray((kept / "svgs.zip").read_bytes())
    with zipfile.ZipFile(kept / "svgs.zip") as packed:
        first = packed.infolist()[0]
    content[first.header_offset + 30 + len(first.filename) + 3] ^= 0xFF
    (kept / "svgs.zip").write_bytes(content)
    version, _, name = first.filename.partition("/")
    assert read_svg(kept, version, name.removesuffix(".svg")) is None  # type: ignore[arg-type]


def test_the_report_comes_last_so_that_the_others_are_there(
    tmp_path: Path,
    results: Results,
    report: RunReport,
    svgs: dict[Version, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, text: str) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(archive, "write_text", full)
    with pytest.raises(StorageError):
        keep(tmp_path / "run", report, "", results, svgs)
    assert not (tmp_path / "run/report/report.json").exists()


def test_runs_are_the_folders_there_are(tmp_path: Path) -> None:
    assert archive.runs_of(tmp_path) == []
    for name in ("a", ".hidden"):
        (tmp_path / archive.RUNS / name).mkdir(parents=True)
    (tmp_path / archive.RUNS / "file").touch()
    assert [path.name for path in archive.runs_of(tmp_path)] == ["a"]
