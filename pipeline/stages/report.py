"""DVC stage: what was run and its results, for people; written to reports/."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.core.errors import TracewrightError
from pipeline.data.images import ImageLimits, read_image
from pipeline.reports.archive import read_report
from pipeline.reports.evidence import log_evidence
from pipeline.reports.report import write_report
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run
from pipeline.tracing.raster import preferred_drawing
from pipeline.tracking.lineage import git_tags
from pipeline.tracking.mlflow_store import home
from pipeline.tracking.run import Run

READS = ("curriculum", "data", "evaluate", "objective", "tracing", "train")
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    settings = load_settings(root / "params.yaml").only(READS)
    read = partial(read_image, limits=ImageLimits.of(settings.data))
    commit = git_tags(root).get("mlflow.source.git.commit")
    report = write_report(root, settings, read, preferred_drawing, commit=commit, home=home(root))
    print(f"the report is {report.relative_to(root)}")
    written = read_report(report.parent)
    try:
        with Run.resume(root, written.run_id) as tracked:
            log_evidence(root, tracked, written)
    except TracewrightError as error:  # results from a clone's cache come without their run
        print(f"MLflow does not get the report: {str(error).partition(';')[0]}")


if __name__ == "__main__":
    run(main)
