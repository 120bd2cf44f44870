"""Images catalogued per second, at first and when nothing changed; JSON on standard output.

Real logos at 256 x 256, on all cores. `python -m benchmarks.bench_catalogue [IMAGES]`
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.logos import PROJECT, real_logos
from pipeline.core.pixels import rgb_of
from pipeline.data.catalogue import build_catalogue
from pipeline.data.probe import measure
from pipeline.settings.params import load_settings

SIDE = 256
CACHED_RUNS = 5


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    settings = load_settings(PROJECT / "params.yaml").data.model_copy(update={"root": "logos"})
    with TemporaryDirectory() as folder:
        project = Path(folder)
        pictures = make_pictures(project / "logos", count)
        started = time.perf_counter()
        catalogue = build_catalogue(settings, project)
        first = time.perf_counter() - started
        cached = []
        for _ in range(CACHED_RUNS):
            started = time.perf_counter()
            assert build_catalogue(settings, project) == catalogue
            cached.append(time.perf_counter() - started)
    measuring = measure_seconds(pictures[:50], rgb_of(settings.background))
    print(
        json.dumps(
            {
                "benchmark": "catalogue",
                "cores": len(os.sched_getaffinity(0)),
                "images": count,
                "images_per_second": round(count / first, 1),
                "images_per_second_unchanged": round(count / min(cached), 1),
                "times_as_fast": round(first / min(cached), 1),
                "measure_milliseconds": round(1000 * measuring, 2),
            },
            indent=2,
        )
    )


def make_pictures(folder: Path, count: int) -> list[Image.Image]:
    """Files of `count` logos, squeezed to a square; again from the first where there are fewer."""
    pictures = [Image.fromarray(logo.rgba).resize((SIDE, SIDE)) for logo in real_logos(min(count, 250))]
    folder.mkdir()
    for number, picture in enumerate(islice(cycle(pictures), count)):
        picture.save(folder / f"{number:05d}.png")
    return pictures


def measure_seconds(pictures: list[Image.Image], background: tuple[int, int, int]) -> float:
    """Median time of measuring one picture."""
    seconds = []
    for picture in pictures:
        rgba = np.array(picture)
        started = time.perf_counter()
        measure(rgba, background)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
