"""DVC stage: find, check, measure and categorise every image; data/catalogue.parquet and the quality report."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.files import write_text
from pipeline.core.json_records import write_record
from pipeline.data.catalogue import TABLE, build_catalogue, write_catalogue
from pipeline.data.quality_report import quality_markdown, quality_report
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run

READS = ("data",)
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    settings = load_settings(root / "params.yaml").only(READS)
    catalogue = build_catalogue(settings.data, root, settings.compute.workers)
    report = quality_report(catalogue, settings.data)
    write_catalogue(catalogue.entries, root / TABLE)
    write_record(root / "data/quality.json", report)
    write_text(root / "data/quality.md", quality_markdown(report))
    print(f"{report.images} images, {len(report.rejected)} rejected; data/quality.md says what they are like")
    for sentence in report.recommendations:
        print(f"- {sentence}")


if __name__ == "__main__":
    run(main)
