"""The pieces of an evaluation and their rivals: drawing an SVG, comparing two pictures; JSON on standard output.

Real logos at 256 x 256 and what VTracer makes of them with random settings; pieces take turns on every picture.
`python -m benchmarks.bench_pieces [PICTURES]`
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.interleaved import rounded
from benchmarks.jobs import fixed_prescale_space, random_jobs
from benchmarks.logos import SIDE, square_logos
from benchmarks.plain_loop import WHITE, Draw, cairo
from benchmarks.ssim_rivals import Ssim, with_numba, with_opencv, with_scikit_image
from benchmarks.vtracer_alone import ready
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import Job, Pixels
from pipeline.tracing import quality
from pipeline.tracing.raster import DRAWINGS, render
from pipeline.tracing.tracer import TraceError, on_canvas, trace

LOGOS = 24
REPEATS = 3
MISSING = {"cairosvg": "pip install cairosvg", "numba": "pip install numba", "skia-python": "pip install skia-python"}

Piece = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """A traced logo. rgb: its drawing."""

    svg: str
    reference: quality.QualityReference
    rgb: Pixels

    @classmethod
    def of(cls, job: Job, png: bytes) -> Picture:
        svg = on_canvas(trace(png, job.params), SIDE, SIDE)
        return cls(svg, quality.QualityReference.of(job.logo.rgba, WHITE), render(svg, SIDE, SIDE))


SCRATCH = quality.Scratch()
"""As a worker has one."""


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    cv2.setNumThreads(1)  # as in a worker
    pictures = traced_pictures(count)
    drawn = partial(drawings, draw_with_cairo=cairo())
    compared_by = partial(ssims, ssim_with_numba=with_numba())
    report = {
        "benchmark": "pieces",
        "side": SIDE,
        "pictures": len(pictures),
        "drawing": compared(pictures, drawn, ("skia-python", "resvg-py", "cairosvg"), next(iter(DRAWINGS))),
        "ssim": compared(pictures, compared_by, ("numba",), "scikit_image"),
    }
    print(json.dumps(report, indent=2))


def drawings(picture: Picture, draw_with_cairo: Draw | None) -> dict[str, Piece]:
    pieces: dict[str, Piece] = {name: partial(_draw, name, picture.svg) for name in DRAWINGS}
    if draw_with_cairo:
        pieces["cairosvg"] = lambda: _decoded(draw_with_cairo(picture.svg))
    return pieces


def ssims(picture: Picture, ssim_with_numba: Ssim | None) -> dict[str, Piece]:
    """Ours twice: as it is used, with what is known of the reference, and as the others, with two pictures."""
    both = (picture.reference.rgb, picture.rgb)
    pieces: dict[str, Piece] = {
        "ours": partial(quality.ssim, picture.reference, picture.rgb, SCRATCH),
        "ours_without_knowing_the_reference": partial(quality.mean_ssim, *both, scratch=SCRATCH),
        "opencv_float32": partial(with_opencv, *both),
        "scikit_image": partial(with_scikit_image, *both),
    }
    return pieces | ({"numba": partial(ssim_with_numba, *both)} if ssim_with_numba else {})


def traced_pictures(count: int) -> list[Picture]:
    """Settings that VTracer makes nothing of are left out."""
    jobs = random_jobs(square_logos(LOGOS), fixed_prescale_space(1.0), count, (1,))
    pictures = []
    for job, (png, _) in zip(jobs, ready(jobs), strict=True):
        try:
            pictures.append(Picture.of(job, png))
        except TraceError:
            continue
    return pictures


def compared(
    pictures: Sequence[Picture], pieces_of: Callable[[Picture], dict[str, Piece]], names: Sequence[str], standard: str
) -> dict[str, Any]:
    """Milliseconds of each piece, and how far its results are from the standard's."""
    generator = np.random.default_rng(0)
    milliseconds: dict[str, list[float]] = {}
    differences: dict[str, list[Any]] = {}
    for picture in tqdm(pictures, desc=f"against {standard}", file=sys.stderr):
        pieces = pieces_of(picture)
        results = {name: piece() for name, piece in pieces.items()}
        for name, taken in _in_turns(pieces, generator).items():
            milliseconds.setdefault(name, []).append(taken)
            difference = np.abs(np.subtract(results[name], results[standard], dtype=np.float64))
            differences.setdefault(name, []).append((difference.mean(), difference.max()))
    rows = {name: _row(milliseconds[name], differences[name]) for name in milliseconds}
    return {name: {"missing": MISSING[name]} for name in names if name not in rows} | rows | {"standard": standard}


def _in_turns(pieces: Mapping[str, Piece], generator: np.random.Generator) -> dict[str, float]:
    """Milliseconds of each piece: the median of a few, in an order that is drawn anew each time."""
    taken: dict[str, list[float]] = {name: [] for name in pieces}
    for _ in range(REPEATS):
        for name in generator.permutation(list(pieces)):
            started = time.perf_counter()
            pieces[name]()
            taken[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in taken.items()}


def _row(milliseconds: Sequence[float], differences: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Differences: of SSIM, or in levels of 0 to 255 over all pixels and channels."""
    interval = Bootstrap(2000, 0.95).mean(milliseconds)
    return {
        "milliseconds_median": round(float(np.median(milliseconds)), 3),
        "milliseconds_mean": rounded(interval),
        "mean_difference": float(np.mean([mean for mean, _ in differences])),
        "largest_difference": float(max(largest for _, largest in differences)),
    }


def _draw(name: str, svg: str) -> Pixels:
    return DRAWINGS[name](svg).pixels(SIDE, SIDE, WHITE)


def _decoded(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


if __name__ == "__main__":
    main()
