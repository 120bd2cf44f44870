"""The whole pipeline as a user runs it: `dvc repro`, `dvc exp run`, `tracewright vectorize`, on a few drawn logos."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from pipeline.core.records import VISIBLE_DAMAGE
from pipeline.reports.archive import read_report
from pipeline.reports.document import PICTURES
from tests.support.fakes import ROOT
from tests.support.filled import MAY_BE_EMPTY, empty_fields

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e")]

FOLDERS = ("simple_geometric", "text_based", "gradients", "complex")
BIN = Path(sys.executable).parent


def drawn_logo(kind: str, seed: int) -> Image.Image:
    rng = np.random.default_rng([seed, FOLDERS.index(kind)])
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    if kind == "gradients":
        start, end = rng.integers(0, 255, (2, 3))
        shades = np.linspace(start, end, 40).astype(np.uint8)
        image.paste(Image.fromarray(np.tile(shades[:, None], (1, 40, 1))), (12, 12))
    elif kind == "text_based":
        draw.text(
            (4, 20),
            "".join(chr(65 + c) for c in rng.integers(0, 26, 5)),
            fill=tuple(rng.integers(0, 180, 3)),
            font_size=16,
        )
    for _ in range(6 if kind == "complex" else 1):
        x, y = (int(v) for v in rng.integers(2, 40, 2))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        side = int(rng.integers(8, 22))
        shape((x, y, x + side, y + side), fill=tuple(int(c) for c in rng.integers(0, 220, 3)))
    return image


def tiny_params(values: dict[str, Any], data: str) -> dict[str, Any]:
    values["data"] |= {"root": data, "sample_images": 20}
    values["split"] |= {"train_ratio": 0.5, "val_ratio": 0.25, "test_ratio": 0.25}
    values["train"] |= {
        "total_timesteps": 256,
        "n_envs": 4,
        "max_steps": 3,
        "table_traces": 8,
        "surrogate_steps": 20,
        "shortlist": 6,
        "portfolio_images": 4,
        "portfolio_candidates": 4,
        "other_portfolio_candidates": 0,
        "eval_every_timesteps": 128,
    }
    values["train"]["ppo"] |= {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "hidden_units": [16]}
    for stage in values["curriculum"]["stages"]:
        stage["retries"] = 0
    values["validation"] |= {"images_per_category": 1, "stochastic_runs": 1}
    values["evaluate"] |= {"traces": [1, 3], "bootstrap_samples": 200}
    return values


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
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == code, f"{command} gave {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    for name in ("pipeline", "monitoring", "dvc.yaml", ".dvcignore", ".gitignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, root / name)
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump(tiny_params(values, "logos"), sort_keys=False))
    for kind in FOLDERS:
        (root / "logos" / kind).mkdir(parents=True)
        for seed in range(6):
            drawn_logo(kind, seed).save(root / "logos" / kind / f"{kind}{chr(97 + seed)}.png")
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


def test_the_run_and_its_models_are_in_mlflow(project: Project) -> None:
    script = (
        "import json, mlflow; from pathlib import Path; from pipeline.tracking.mlflow_store import client\n"
        "c = client(Path('.')); r = json.load(open('results/train/train.json'))\n"
        "sent = json.load(open(f\".tracewright/runs/{r['run_id']}/replica.json\"))\n"
        "run = c.get_run(sent['run_id']); e = run.info.experiment_id\n"
        "models = c.search_logged_models(experiment_ids=[e])\n"
        "print(json.dumps({'status': run.info.status, 'metrics': run.data.metrics, 'models': len(models),"
        " 'inputs': [d.dataset.name for d in run.inputs.dataset_inputs], 'params': run.data.params}))\n"
    )
    found = json.loads(project.run(sys.executable, "-W", "ignore", "-c", script).strip().splitlines()[-1])
    assert found["status"] == "FINISHED"
    assert found["models"] == 3
    assert found["metrics"]["val/value"] >= 0
    assert "test/agent_ratio_at_3" in found["metrics"]
    assert found["params"]["train.seed"] == "1"
    assert len(found["inputs"]) == 3


def test_nothing_is_done_again_when_nothing_changed(project: Project) -> None:
    before = project.json("results/train/train.json")["run_id"]
    assert "Data and pipelines are up to date" in project.run("dvc", "repro", "report")
    assert project.json("results/train/train.json")["run_id"] == before


def test_dvc_shows_metrics_and_plots(project: Project) -> None:
    assert "agent_ratio_at_3" in project.run("dvc", "metrics", "show")
    project.run("dvc", "plots", "show")
    page = (project.root / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert "Bytes relative to the default's by traces" in page


def test_an_experiment_with_another_seed_keeps_both_runs(project: Project) -> None:
    project.run("git", "add", "--all", ":!logos")
    project.run("git", "commit", "--quiet", "--message", "results")
    first = project.json("results/train/train.json")["run_id"]
    project.run("dvc", "exp", "run", "--set-param", "train.seed=2", "report")
    second = project.json("results/train/train.json")
    assert second["seed"] == 2
    assert second["run_id"] != first
    changed = project.run("dvc", "metrics", "diff", "--json", "HEAD")
    assert "results/train/metrics.json" in changed or "results/evaluate/metrics.json" in changed
    script = (
        "import json; from pathlib import Path; from pipeline.tracking.mlflow_store import client\n"
        f"runs = [Path('.tracewright/runs') / run / 'replica.json' for run in ('{first}', '{second['run_id']}')]\n"
        "c = client(Path('.')); ids = [json.loads(run.read_text())['run_id'] for run in runs]\n"
        "print([c.get_run(run).info.status for run in ids])\n"
    )
    assert "['FINISHED', 'FINISHED']" in project.run(sys.executable, "-W", "ignore", "-c", script)


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
