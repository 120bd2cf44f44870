"""Where the time of an evaluation goes, step by step; JSON on standard output, and a picture of it.

Real logos at 256 x 256, random settings, each step timed in the code that workers run.
`python -m benchmarks.profile_evaluate [PICTURE.png] [--jobs 192]`
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
from tqdm import tqdm

from benchmarks.jobs import BATCH, fixed_prescale_space, pool_of, random_jobs
from benchmarks.logos import SIDE, square_logos
from benchmarks.plain_loop import WHITE
from benchmarks.profile_picture import draw_profile
from pipeline.core.records import DEFAULT_PARAMS, EVERYTHING, Gate, Job, Logo
from pipeline.tracing import evaluation, fidelity, quality
from pipeline.tracing.evaluation import TraceEvaluator
from pipeline.tracing.raster import DRAWINGS

LOGOS = 24
DRAWING = next(iter(DRAWINGS.values()))

STEPS: tuple[tuple[str, Any, str], ...] = (
    ("prepare", evaluation, "prepare"),
    ("encode", evaluation, "encode"),
    ("trace", evaluation, "trace"),
    ("improve", evaluation, "improve"),
    ("read_svg", DRAWING, "__init__"),
    ("draw", DRAWING, "rgba"),
    ("damage", fidelity, "damage"),
    ("draw_on_background", DRAWING, "pixels"),
    ("ssim", quality, "ssim"),
    ("mse", quality, "mse"),
    ("gzip", quality, "gzip_size"),
    ("draw_zoomed", DRAWING, "greys"),
    ("zoom_ssim", quality, "zoom_ssim"),
)
"""Each with where it is to be found."""

ONCE = ("prepare", "encode")
"""Done once for an image and a preparation; other settings with the same one find it done."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    prescale: float
    gate: Gate


CASES = (
    Case("lost by its size", 1.0, Gate(max_bytes=0)),
    Case("lost by its damage", 1.0, Gate(max_damage=-1)),
    Case("every score", 1.0, EVERYTHING),
    Case("every score, prescale 2", 2.0, EVERYTHING),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--jobs", type=int, default=192)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)  # as in a worker
    logos = square_logos(LOGOS)
    cases = {case.name: profile(case, logos, chosen.jobs) for case in tqdm(CASES, desc="profile", file=sys.stderr)}
    if chosen.picture:
        draw_profile(chosen.picture, cases, ONCE)
    report = {
        "benchmark": "profile",
        "side": SIDE,
        "jobs": chosen.jobs,
        "milliseconds": cases,
        "reference_milliseconds_once_per_image": reference_milliseconds(logos),
    }
    print(json.dumps(report, indent=2))


def profile(case: Case, logos: Sequence[Logo], count: int) -> dict[str, float]:
    """Milliseconds of each step, per evaluation; "rest" is what no step accounts for."""
    space = fixed_prescale_space(case.prescale)
    jobs = [replace(job, gate=case.gate) for job in random_jobs(logos, space, count, (2,))]
    jobs.sort(key=lambda job: job.logo.digest)
    watch, total = Stopwatch(), 0.0
    bench = TraceEvaluator(WHITE, DRAWING)
    for _, of_logo in groupby(jobs, key=lambda job: job.logo.digest):
        total += _watched_seconds(bench, list(of_logo), watch)
    seconds = {name: watch.seconds.get(name, 0.0) for name, _, _ in STEPS}
    seconds |= {"rest": total - sum(seconds.values()), "transport": transport_seconds(jobs)}
    return {name: round(1000 * taken / count, 4) for name, taken in seconds.items()}


def _watched_seconds(bench: TraceEvaluator, jobs: Sequence[Job], watch: Stopwatch) -> float:
    """Of all jobs on one logo, whose reference is made before; see `reference_milliseconds` for that."""
    bench.evaluate(Job(jobs[0].logo, DEFAULT_PARAMS))
    with watch.on(STEPS):
        started = time.perf_counter()
        for job in jobs:
            bench.evaluate(job)
        return time.perf_counter() - started


def reference_milliseconds(logos: Sequence[Logo]) -> float:
    """What is computed once for an image, however many settings are tried on it."""
    pixels = [logo.rgba for logo in logos]
    started = time.perf_counter()
    for rgba in pixels:
        reference = quality.QualityReference.of(rgba, WHITE)
        quality.zoom_ssim(reference, reference.zoomed)
        assert reference.blank_ssim <= 1
    return round(1000 * (time.perf_counter() - started) / len(logos), 3)


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent in functions while they are watched; none of them calls another."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, steps: Sequence[tuple[str, Any, str]]) -> Iterator[None]:
        with ExitStack() as stack:
            for step, owner, name in steps:
                stack.enter_context(patch.object(owner, name, self._timed(step, getattr(owner, name))))
            yield

    def _timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

        return timed


def transport_seconds(jobs: Sequence[Job]) -> float:
    """What one worker's pool takes longer than the evaluations in it; images are sent beforehand."""
    with pool_of(1) as pool:
        pool.evaluate([Job(logo, DEFAULT_PARAMS) for logo in {job.logo.digest: job.logo for job in jobs}.values()])
        started = time.perf_counter()
        evaluations = [e for start in range(0, len(jobs), BATCH) for e in pool.evaluate(jobs[start : start + BATCH])]
        return time.perf_counter() - started - sum(e.seconds for e in evaluations)


if __name__ == "__main__":
    main()
