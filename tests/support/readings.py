"""Reads every kind of file that tracewright reads but MLflow's: run as a program with an empty folder.

Images, catalogue, splits, checkpoints, their index, an agent, the store of evaluations and its table, results, journal.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import closing
from pathlib import Path

from pipeline.cli.main import main as tracewright
from pipeline.core.errors import Stopped
from pipeline.data.dataset import load_split
from pipeline.reports.report import read_results
from pipeline.runs.diagnosis import examine
from pipeline.runs.resume import TrainingOrigin
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import Settings, load_settings
from pipeline.stages import catalogue, split
from pipeline.tracing.store_pool import stored_pool
from pipeline.tracking.journal import Journal
from pipeline.tracking.mlflow_store import RUNS_FOLDER
from pipeline.training.checkpoint_store import files_in
from tests.support.drawing import draw
from tests.support.nursery import run_training
from tests.support.report_project import make_project
from tests.support.source import ROOT


def begin(root: Path) -> Settings:
    """A project with a few images."""
    (root / "logos" / "complex").mkdir(parents=True)
    for seed in range(16):
        draw(seed).save(root / "logos" / "complex" / f"logo{seed}.png")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (root / "params.yaml").write_text(text.replace("root: data/samples", "root: logos"), encoding="utf-8")
    shutil.copy(ROOT / "dvc.yaml", root)
    return load_settings(root / "params.yaml")


def read_data(root: Path, settings: Settings) -> None:
    catalogue.main()
    split.main()
    logos = load_split(root, settings.data, ("test",))["test"]
    for _ in range(2):  # the second time from the store
        with stored_pool(root, settings.compute, settings.data.background) as evaluator:
            make_tasks(logos, evaluator, settings.data.background)
            evaluator.export(root / "evaluations.parquet")


def train_and_resume(run: Path) -> None:
    TrainingOrigin({"seed": "1"}).write(run)

    def stop() -> None:
        if len(files_in(run / "checkpoints")) == 2:
            raise Stopped("enough for now")

    try:
        run_training(run, stop)
    except Stopped:
        run_training(run)
    else:
        raise AssertionError("it was to be stopped")


def use(run: str) -> None:
    """The commands that read what a training left."""
    for act in ("list", "verify", "stats", "prune"):
        tracewright(["checkpoints", act])
    tracewright(["checkpoints", "show", run])
    tracewright(["checkpoints", "export", run, "agent"])
    tracewright(["vectorize", "logos", "-o", "out", "--model", "agent", "--traces", "2"])


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    os.chdir(root)
    settings = begin(root)
    read_data(root, settings)
    run = root / RUNS_FOLDER / "20260101-000000-0000"
    train_and_resume(run)
    use(run.name)
    for step in range(2):
        with closing(Journal(run)) as journal:
            journal.metrics({"loss": 1.0}, step)
    (root / "reported").mkdir()
    reported = make_project(root / "reported")
    read_results(reported.root, settings)
    assert all(finding.subject for finding in examine(root))


if __name__ == "__main__":
    main()
