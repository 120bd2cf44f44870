"""The whole pipeline as a user runs it: `dvc repro`, `dvc exp run`, `tracewright vectorize`, on a few drawn logos."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.records import VISIBLE_DAMAGE
from pipeline.reports.archive import read_report
from pipeline.reports.document import PICTURES
from pipeline.tracking.mlflow_store import client
from tests.support.fakes import ROOT
from tests.support.filled import MAY_BE_EMPTY, empty_fields
from tests.support.small_logos import tiny_params, write_logos

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


class Project:
    """A checkout of this working tree with small settings and a few images."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(root),
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.invalid",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.invalid",
        }
        self.environment.pop("MLFLOW_TRACKING_URI", None)

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=1500, check=False
        )
        assert done.returncode == code, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, with_mlflow: Callable[[Path], None]) -> Project:
    root = tmp_path_factory.mktemp("project")
    with_mlflow(root)
    for name in ("pipeline", "monitoring", "dvc.yaml", ".dvcignore", ".gitignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump(tiny_params(values, "logos"), sort_keys=False))
    write_logos(root / "logos")
    (root / "logos" / "complex" / "broken.png").write_bytes(b"not a picture")
    made = Project(root)
    made.run("git", "init", "--quiet")
    made.run("dvc", "init", "--quiet")
    made.run("git", "add", "--all", ":!logos")
    made.run("git", "commit", "--quiet", "--message", "start")
    made.run("dvc", "repro", "report")
    return made


def test_every_stage_left_what_it_should(project: Project) -> None:
    trained, evaluated = project.json("results/train/train.json"), project.json("results/evaluate/evaluate.json")
    assert trained["run_id"] == evaluated["run_id"]
    assert trained["total_timesteps"] == 256
    assert {m["name"] for m in evaluated["methods"]} >= {"agent", "default", "fixed", "random", "tpe", "preset_bw"}
    assert project.json("results/register.json")["decision"] in ("first", "refused")
    assert "broken.png" in (project.root / "data/quality.md").read_text(encoding="utf-8")
    assert (project.root / "reports/report.md").stat().st_size > 1000


def test_the_report_lacks_nothing_that_the_pipeline_knows(project: Project) -> None:
    """A field that its writer and the report's reader call by different names would be empty here."""
    report = read_report(project.root / "reports")
    assert empty_fields(report) - MAY_BE_EMPTY.keys() == set()
    assert set(report.pictures) == set(PICTURES)
    hurt = [point.damaged.mean for m in report.comparison.methods if m.name == "agent" for point in m.curve]
    assert len(report.damaged) == round(hurt[-1] * report.comparison.images), "at the most traces: 8 were not compared"
    assert all(image.regions for image in report.damaged)


def in_mlflow(project: Project, run: str) -> Any:
    return client(project.root).get_run(project.json(f".tracewright/runs/{run}/replica.json")["run_id"])


def test_the_run_and_its_models_are_in_mlflow(project: Project) -> None:
    run = in_mlflow(project, project.json("results/train/train.json")["run_id"])
    assert run.info.status == "FINISHED"
    assert len(client(project.root).search_logged_models([run.info.experiment_id])) == 3
    assert run.data.metrics["val/value"] >= 0
    history = client(project.root).get_metric_history(run.info.run_id, "test/ratio/agent")
    assert [metric.step for metric in history] == project.json("results/evaluate/evaluate.json")["traces"]
    assert len(run.data.tags) <= 20
    assert "With " in run.data.tags["mlflow.note.content"]
    kept = {file.path for file in client(project.root).list_artifacts(run.info.run_id)}
    assert kept >= {"params.yaml", "lineage.json", "report", "svg"}
    assert run.data.params["train.seed"] == "1"
    assert len(run.inputs.dataset_inputs) == 3


def test_nothing_is_done_again_when_nothing_changed(project: Project) -> None:
    before = project.json("results/train/train.json")["run_id"]
    assert "Data and pipelines are up to date" in project.run("dvc", "repro", "report")
    assert project.json("results/train/train.json")["run_id"] == before


def test_dvc_shows_metrics_and_plots(project: Project) -> None:
    table = project.run("dvc", "metrics", "show")
    assert "portfolio" in table
    assert max(len(line) for line in table.splitlines()) <= 120
    project.run("dvc", "plots", "show")
    page = (project.root / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert "Bytes relative to the default's by traces" in page


def test_an_experiment_with_another_seed_keeps_both_runs(project: Project) -> None:
    project.run("git", "add", "--all", ":!logos")
    project.run("git", "commit", "--quiet", "--message", "results")
    first = project.json("results/train/train.json")["run_id"]
    project.run("dvc", "exp", "run", "--set-param", "train.seed=2", "train")
    second = project.json("results/train/train.json")
    assert second["seed"] == 2
    assert second["run_id"] != first
    changed = project.run("dvc", "metrics", "diff", "--json", "HEAD")
    assert "results/train/metrics.json" in changed
    assert [in_mlflow(project, run).info.status for run in (first, second["run_id"])] == ["FINISHED"] * 2


def test_vectorize_gives_nothing_worse_than_the_default(project: Project) -> None:
    (project.root / "logos" / "simple_geometric" / "odd\nname.png").write_bytes(
        (project.root / "logos" / "complex" / "complexa.png").read_bytes()
    )
    project.run("tracewright", "vectorize", "logos", "-o", "out", "--traces", "3", "--model", "models/agent")
    lines = [json.loads(line) for line in (project.root / "out/results.jsonl").read_text().splitlines()]
    assert len(lines) == 26
    assert [r["path"] for r in lines if r["status"] == "failed"] == ["complex/broken.png"]
    for result in lines:
        if result["status"] == "failed":
            assert "undecodable" in result["error"]
            continue
        svg = (project.root / "out" / result["svg"]).read_text(encoding="utf-8")
        assert len(svg.encode()) == result["bytes"]
        assert result["damage"] <= max(VISIBLE_DAMAGE, result["default_damage"])
        assert result["traces"] == 3
