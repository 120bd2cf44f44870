"""DVC stage: who is trained on, who validates, who is kept for the test; images stay where they were."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.json_records import write_record
from pipeline.core.records import SPLITS
from pipeline.data import catalogue, split_table
from pipeline.data.splits import summarise
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run

READS = ("data.root", "split")
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    settings = load_settings(root / "params.yaml").only(READS)
    entries = catalogue.read_catalogue(root / catalogue.TABLE)
    previous = split_table.read_previous(root / split_table.TABLE, settings)
    rows = split_table.split_catalogue(entries, settings, previous)
    summary = summarise(rows)
    split_table.write_splits(rows, settings, root / split_table.TABLE)
    write_record(root / split_table.SUMMARY, summary)
    print(", ".join(f"{summary.content(split).images} images in {split}" for split in SPLITS))
    for path in summary.aside:
        print(f"- {path} is in no split: it resembles images of two splits")


if __name__ == "__main__":
    run(main)
