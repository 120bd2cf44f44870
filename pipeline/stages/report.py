"""DVC stage: what was run and what came of it, for people; results in reports/."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipeline.data.images import Limits, read_image
from pipeline.reports.report import write_report
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run
from pipeline.tracing.raster import preferred_drawing
from pipeline.tracking.lineage import git_tags
from pipeline.tracking.mlflow_store import home


def main() -> None:
    root = Path.cwd()
    settings = load_settings(root / "params.yaml")
    read = partial(read_image, limits=Limits.of(settings.data))
    commit = git_tags(root).get("mlflow.source.git.commit")
    report = write_report(root, settings, read, preferred_drawing, commit=commit, home=home(root))
    print(f"the report is {report.relative_to(root)}")


if __name__ == "__main__":
    run(main)
