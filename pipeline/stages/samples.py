"""DVC stage: real logos from the pip package `diagrams` into data/samples."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from pipeline.data import samples
from pipeline.data.catalogue import CACHE
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run

READS = (
    "data.background",
    "data.max_file_bytes",
    "data.max_pixels",
    "data.min_side_pixels",
    "data.sample_images",
    "data.sample_seed",
)
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    settings = load_settings(root / "params.yaml").only(READS).data
    source = samples.package_folder()
    candidates = samples.read_candidates(source, settings, root / CACHE, len(os.sched_getaffinity(0)))
    chosen = samples.choose(candidates, settings.sample_images, settings.sample_seed)
    samples.copy_samples(chosen, source, root / samples.FOLDER)
    counts = Counter(c.category for c in chosen)
    parts = ", ".join(f"{count} {category}" for category, count in sorted(counts.items()))
    print(f"{len(chosen)} of {len(candidates)} icons of {samples.PACKAGE} are in {samples.FOLDER}: {parts}")


if __name__ == "__main__":
    run(main)
