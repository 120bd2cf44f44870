from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo, Scored
from pipeline.runs import diagnosis
from pipeline.runs.diagnosis import Diagnosis, examine
from pipeline.runs.resume import TrainingOrigin
from pipeline.stages import catalogue
from pipeline.tracing.evaluation_store import EvaluationStore
from pipeline.tracing.store_pool import Ledger
from pipeline.tracking import lineage, mlflow_store, replica
from pipeline.tracking.journal import Journal, records
from tests.support.drawing import draw
from tests.support.fakes import ROOT, rgba_of, scores
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
    _journal(run)
    _mlflow(tmp_path, run)
    with EvaluationStore(tmp_path / ".tracewright/evaluations.sqlite", 10**8, {"tracer": "1"}) as store:
        for angle in range(60):
            job = Job(Logo.of("logo", rgba_of(1), "simple"), replace(DEFAULT_PARAMS, corner_threshold=angle))
            store.keep({store.key(job): Scored(job.logo.digest, job.params, scores(), 0.25)})
    with Ledger(run / "asked.bin") as ledger:
        ledger.note(bytes(16), 1, traced=True)
    return tmp_path


def _journal(run: Path) -> None:
    """With an artifact and a model, and what a kill leaves of a line."""
    journal = Journal(run)
    journal.start("e", None, {"a": "1"}, {}, [])
    journal.metrics({"a": 0.5}, 1)
    journal.artifact(run / "training.json", "x")
    journal.model([run / "training.json"], "agent-1", 1, {}, {}, None)
    journal.close()
    with (run / "journal.jsonl").open("a") as file:
        file.write('{"torn')


def _mlflow(root: Path, run: Path) -> None:
    """As much of the embedded MLflow as is examined, with all of the run's journal."""
    database, artifacts = root / mlflow_store.DATABASE, root / mlflow_store.ARTIFACTS
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(
            "CREATE TABLE experiments (artifact_location); CREATE TABLE params (key, value, run_uuid);"
            "CREATE TABLE metrics (key, value, timestamp, run_uuid, step); INSERT INTO params VALUES ('a', '1', 'r');"
        )
        connection.execute("INSERT INTO experiments VALUES (?)", (artifacts.as_uri(),))
        every = list(records(run / "journal.jsonl", 0))
        [time] = [record["time"] for record, _ in every if record["kind"] == "metrics"]
        connection.execute("INSERT INTO metrics VALUES ('a', 0.5, ?, 'r', 1)", (time,))
    state = replica.ReplicaState(f"sqlite:///{database}", "r", every[-1][1], {"agent-1": "m-1"})
    (run / "replica.json").write_text(json.dumps(asdict(state)))
    for folder in (
        artifacts / "r/artifacts/x",
        artifacts / "models/m-1/artifacts/artifacts/agent",
        root / ".tracewright/models/m-1",
    ):
        folder.mkdir(parents=True)
        shutil.copy(run / "training.json", folder)


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


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
    assert fine["DVC cache"] == "every file is what its name says"
    assert fine["checkpoints"] == "2 are sound"
    journals = "1 were read, and 5 files are those that they name"
    assert fine["journals"] == journals, "a torn last line is what a kill leaves, and no damage"
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


def _flip_in(file: Path, root: Path) -> None:
    _flip(root / file)


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
    "a value in the evaluations": (
        lambda root: _execute(
            root / ".tracewright/evaluations.sqlite", "UPDATE evaluations SET damage = damage + 1e-9 WHERE id = 7"
        ),
        "databases",
        "1 of 60 rows are not what was written; delete it",
    ),
    "a metric in MLflow": (
        lambda root: _execute(root / "mlruns/mlflow.db", "UPDATE metrics SET value = 0.25"),
        "databases",
        "1 values are not those of the journals; put it aside and run `tracewright sync`",
    ),
    "a parameter in MLflow": (
        lambda root: _execute(root / "mlruns/mlflow.db", "UPDATE params SET value = '0'"),
        "databases",
        "1 values are not those of the journals",
    ),
    "what a run asked for": (lambda root: _flip(root / RUN / "asked.bin"), "checkpoints", "1 records are damaged"),
    **{
        f"a file in {path.parent}": (
            partial(_flip_in, path),
            "journals",
            f"{path}: is not the file that was kept",
        )
        for path in (
            RUN / "models/agent-1/training.json",
            Path("mlruns/artifacts/r/artifacts/x/training.json"),
            Path("mlruns/artifacts/models/m-1/artifacts/artifacts/agent/training.json"),
            Path(".tracewright/models/m-1/training.json"),
        )
    },
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
    rows = [json.loads(line) for line in CliRunner().invoke(main, ["doctor", "--json"]).stdout.splitlines()]
    assert [row["subject"] for row in rows if row["level"] == "damaged"] == ["images"]


def test_a_damaged_cache_is_refused_before_dvc_checks_it_out(project: Path) -> None:
    (project / ".dvc/config").touch()
    assert CliRunner().invoke(main, ["check"]).exit_code == 0
    _flip(project / ".dvc/cache/files/md5/09/8f6bcd4621d373cade4e832627b4f6", 0)
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 65
    assert "8f6bcd4621d373cade4e832627b4f6: has changed; delete it" in result.stderr


def test_a_project_that_was_moved_is_a_note(project: Path) -> None:
    _execute(project / "mlruns/mlflow.db", "UPDATE experiments SET artifact_location = 'file:///old/mlruns/artifacts'")
    [note] = [f for f in examine(project) if f.subject == "databases" and f.level == "note"]
    assert (
        note.text
        == "the project was at file:///old/mlruns/artifacts; the next command that opens MLflow corrects its addresses"
    )


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
    TrainingOrigin({}).write(run_of(project, "20260104-000000-dddd", [0.3]))
    assert len([f for f in damaged(project) if f.subject == "checkpoints"]) == 2
    assert json.loads((project / ".tracewright/runs/20260104-000000-dddd/training.json").read_text())
