from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.runs import diagnosis
from pipeline.runs.diagnosis import Diagnosis, examine
from pipeline.runs.resume import Lineage
from pipeline.stages import catalogue
from pipeline.tracking import lineage
from tests.support.drawing import draw
from tests.support.fakes import ROOT
from tests.support.saved_runs import NEWER, run_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project with a little of everything that is examined, all of it sound."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diagnosis, "PORTS", {})
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("root: data/samples", "root: logos")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    for name in ("dvc.yaml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "logos").mkdir()
    for seed in range(3):
        draw(seed).save(tmp_path / "logos" / f"logo{seed}.png")
    catalogue.main()
    _lock(tmp_path, ["data/catalogue.parquet"])
    cached = tmp_path / ".dvc/cache/files/md5/09/8f6bcd4621d373cade4e832627b4f6"
    cached.parent.mkdir(parents=True)
    cached.write_text("test")
    run = run_of(tmp_path, NEWER, [0.1, 0.2])
    (run / "journal.jsonl").write_text('{"kind": "start"}\n{"kind": "metrics"}\n{"torn')
    for path in (".tracewright/evaluations.sqlite", "mlruns/mlflow.db"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(tmp_path / path)) as database:
            database.executescript("CREATE TABLE a (b TEXT); INSERT INTO a VALUES ('" + 9000 * "x" + "');")
    return tmp_path


def _lock(root: Path, outs: list[str]) -> None:
    digests = [{"path": path, "md5": lineage.digest_of(root / path)} for path in outs]
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"catalogue": {"outs": digests}}}))


def damaged(root: Path) -> list[Diagnosis]:
    return [finding for finding in examine(root) if finding.level == "damaged"]


def test_a_sound_project_has_nothing_to_find(project: Path) -> None:
    findings = list(examine(project))
    assert [f for f in findings if f.level == "damaged"] == []
    fine = {f.subject: f.text for f in findings if f.level == "fine"}
    assert fine["images"] == "3 images are those that were catalogued"
    assert fine["DVC"] == "1 results are what dvc.lock says"
    assert fine["DVC cache"] == "1 files are what their names say"
    assert fine["checkpoints"] == "2 are sound"
    assert fine["journals"] == "1 were read", "a torn last line is what a kill leaves, and no damage"
    assert len([f for f in findings if f.subject == "databases"]) == 2


def test_an_empty_project_has_notes_only(tmp_path: Path) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    assert damaged(tmp_path) == []


def _flip(path: Path, position: int = -9) -> None:
    """One bit, with time and size as they were: what DVC does not see."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _zero_pages(path: Path) -> None:
    """All but the first page, which says what the file is."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


RUN = Path(".tracewright/runs") / NEWER
HARM: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a bit of an image": (lambda root: _flip(root / "logos/logo1.png"), "images", "logo1.png: is not the file"),
    "an image that is gone": (lambda root: (root / "logos/logo2.png").unlink(), "images", "logo2.png: is not the file"),
    "an image that is a folder": (
        lambda root: _as_folder(root / "logos/logo2.png"),
        "images",
        "logo2.png: is not the file",
    ),
    "a bit of a result": (
        lambda root: _flip(root / "data/catalogue.parquet", 100),
        "DVC",
        "data/catalogue.parquet: is not what dvc.lock says",
    ),
    "a bit in DVC's cache": (
        lambda root: _flip(root / ".dvc/cache/files/md5/09/8f6bcd4621d373cade4e832627b4f6", 0),
        "DVC cache",
        "8f6bcd4621d373cade4e832627b4f6: has changed",
    ),
    "dvc.lock": (lambda root: (root / "dvc.lock").write_text("a: [\n"), "DVC", "could not be checked"),
    "a dvc.lock of something else": (lambda root: (root / "dvc.lock").write_text("[]"), "DVC", "could not be checked"),
    "the catalogue": (
        lambda root: (root / "data/catalogue.parquet").write_bytes(b"none"),
        "images",
        "could not be checked",
    ),
    "the evaluations": (
        lambda root: _zero_pages(root / ".tracewright/evaluations.sqlite"),
        "databases",
        "delete it: it is created again",
    ),
    "MLflow's database": (
        lambda root: (root / "mlruns/mlflow.db").write_bytes(b"x" * 9000),
        "databases",
        "run `tracewright sync`",
    ),
    "a checkpoint": (
        lambda root: _flip(root / RUN / "checkpoints/000002-20.ckpt"),
        "checkpoints",
        "`tracewright checkpoints prune` removes it",
    ),
    "a lineage": (lambda root: (root / RUN / "training.json").write_text("[]"), "checkpoints", "training.json: "),
    "a journal": (
        lambda root: (root / RUN / "journal.jsonl").write_text('{"kind": "start"}\n[]\n{bad\n{}\n'),
        "journals",
        "the line that ends at byte 21 is no record of this release",
    ),
    "params.yaml": (lambda root: (root / "params.yaml").write_text("x: 1\n"), "settings", "params.yaml"),
}


@pytest.mark.parametrize(("harm", "subject", "said"), HARM.values(), ids=HARM.keys())
def test_each_damage_is_found_and_named(project: Path, harm: Callable[[Path], object], subject: str, said: str) -> None:
    harm(project)
    found = [finding for finding in damaged(project) if finding.subject == subject]
    assert len(found) == 1, found
    assert said in found[0].text


def test_the_command_ends_with_65_when_something_is_damaged(project: Path) -> None:
    sound = CliRunner().invoke(main, ["doctor"])
    assert sound.exit_code == 0
    assert "ok      checkpoints: 2 are sound" in sound.stdout
    _flip(project / "logos/logo1.png")
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 65
    assert "DAMAGED images: " in result.stdout
    assert "1 finding(s) need attention; see above" in result.stderr


def test_a_port_that_is_taken_is_a_note_with_its_holder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(diagnosis, "PORTS", {port: "the MLflow UI"})
        [finding] = [f for f in examine(project) if f.subject == "ports"]
        assert finding.level == "note"
        assert finding.text.startswith(f"{port}, of the MLflow UI, is taken by ")
    [finding] = [f for f in examine(project) if f.subject == "ports"]
    assert (finding.level, finding.text) == ("fine", f"{port}, of the MLflow UI, is free")


def test_a_disk_that_is_nearly_full_is_a_note(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "LEAST_FREE_BYTES", 10**18)
    [finding] = [f for f in examine(project) if f.subject == "disk"]
    assert finding.level == "note"
    assert "a training may not be able to save" in finding.text


def test_other_versions_than_the_pinned_are_a_note(project: Path) -> None:
    [finding] = [f for f in examine(project) if f.subject == "versions"]
    assert finding.level == "fine", finding.text
    (project / "requirements.lock").write_text("torch==0.0.1\nnumpy==0.0.1\n")
    [finding] = [f for f in examine(project) if f.subject == "versions"]
    assert finding.level == "note"
    assert "torch " in finding.text
    assert "(pinned: 0.0.1)" in finding.text


def test_one_damaged_run_hides_no_other(project: Path) -> None:
    other = run_of(project, "20260103-000000-cccc", [0.1])
    for path in (project / RUN / "training.json", other / "training.json"):
        path.write_text("no")
    Lineage({}).write(run_of(project, "20260104-000000-dddd", [0.3]))
    assert len([f for f in damaged(project) if f.subject == "checkpoints"]) == 2
    assert json.loads((project / ".tracewright/runs/20260104-000000-dddd/training.json").read_text())
