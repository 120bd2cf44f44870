from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monitoring import passwords
from tests.support.source import ROOT


def read(path: Path) -> dict[str, str]:
    lines = (line for line in path.read_text().splitlines() if not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def test_they_are_random_and_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert passwords.write(path) == list(passwords.VALUES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    values = read(path)
    secret = [values[name] for name in values if "TRACEWRIGHT" not in name]
    assert len(set(secret)) == len(secret)
    assert all(len(value) >= 20 and value.isalnum() for value in secret)
    (tmp_path / "other").mkdir()
    passwords.write(tmp_path / "other/.env")
    assert read(tmp_path / "other/.env")["POSTGRES_PASSWORD"] != values["POSTGRES_PASSWORD"]


def test_what_is_there_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    passwords.write(path)
    before = path.read_bytes()
    assert passwords.write(path) == []
    assert path.read_bytes() == before


def test_a_variable_that_came_later_is_added(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("POSTGRES_PASSWORD=mine\nOTHER=kept")
    assert "POSTGRES_PASSWORD" not in passwords.write(path)
    values = read(path)
    assert values["POSTGRES_PASSWORD"] == "mine"
    assert values["OTHER"] == "kept"
    assert set(values) == {*passwords.VALUES, "OTHER"}


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env.new").mkdir()
    (tmp_path / ".env.new/in the way").touch()
    monkeypatch.chdir(tmp_path)
    assert passwords.main() == 74
    assert "cannot be written" in capsys.readouterr().err


def test_git_does_not_see_them() -> None:
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()
