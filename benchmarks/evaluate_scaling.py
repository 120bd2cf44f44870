"""Whether an evaluation's cost grows faster than its pixels: the same logos and settings from 128 to 1024 pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np

from benchmarks.evaluate_random import Watch
from benchmarks.interleaved import Block, Timings, interleave
from benchmarks.jobs import pool_of
from benchmarks.logos import at_side, large_logos
from benchmarks.vtracer_alone import VTracerAlone, ready
from pipeline.core.records import Failed, Job, Logo, TracerParams
from pipeline.tracing.tracer_pool import TracerPool

SIDES = (128, 256, 512, 1024)
SETTINGS = 8
"""Tried on each logo, as a search does; what an image needs once is shared by so many."""


def measure_scaling(blocks: int, watch: Watch) -> dict[str, Any]:
    """One logo per block, on one worker and in VTracer alone.

    On some enlarged logos VTracer never ends. The pool gives such a trace up at its deadline; VTracer alone could not,
    so these logos are left out, and named.
    """
    left_out: list[str] = []
    with VTracerAlone(1) as alone, pool_of(1) as pool:
        sized = [at_every_side(logo) for logo in large_logos(2 * blocks)]
        usable = (jobs for jobs in map(jobs_of, count(), sized) if _all_end(jobs, pool, left_out))
        work = _blocks(islice(usable, blocks + 1), alone, pool)
        timings = interleave(watch(work, "scaling", blocks + 1))
    return {
        "blocks": len(timings.evaluations),
        "left_out": left_out,
        "evaluation": _growth(timings, "evaluation"),
        "vtracer_alone": _growth(timings, "vtracer_alone"),
    }


def at_every_side(logo: Logo) -> dict[int, Logo]:
    return {side: Logo.of(logo.name, at_side(logo.rgba, side), logo.category) for side in SIDES}


def jobs_of(number: int, logos: dict[int, Logo]) -> dict[int, list[Job]]:
    """The same settings at each side, others for each logo."""
    settings = [usual_setting(np.random.default_rng((number, n))) for n in range(SETTINGS)]
    return {side: [Job(logo, params) for params in settings] for side, logo in logos.items()}


def _all_end(jobs: dict[int, list[Job]], pool: TracerPool, left_out: list[str]) -> bool:
    largest = jobs[max(SIDES)]
    failed = any(isinstance(evaluation, Failed) for evaluation in pool.evaluate(largest[:1]))
    if failed:
        left_out.append(largest[0].logo.name)
    return not failed


def _blocks(every: Iterable[dict[int, list[Job]]], alone: VTracerAlone, pool: TracerPool) -> Iterator[Block[Any]]:
    for jobs in every:
        traced = alone.load({str(side): ready(of_side) for side, of_side in jobs.items()})
        rows: dict[str, Callable[[], Any]] = {f"vtracer_alone_{side}": run for side, run in traced.items()}
        rows |= {f"evaluation_{side}": partial(pool.evaluate, of_side) for side, of_side in jobs.items()}
        yield Block(SETTINGS, rows)


def usual_setting(generator: np.random.Generator) -> TracerParams:
    """Somewhere around VTracer's default."""
    return TracerParams(
        filter_speckle=int(generator.integers(2, 8)),
        color_precision=int(generator.integers(5, 8)),
        layer_difference=int(generator.integers(8, 33)),
        corner_threshold=int(generator.integers(40, 81)),
        splice_threshold=int(generator.integers(30, 61)),
    )


def _growth(timings: Timings[Any], row: str) -> dict[str, Any]:
    """growth: nanoseconds per pixel at the largest side over those at the smallest; 1 is in step with the pixels."""
    milliseconds = {side: 1000 / timings.per_second(f"{row}_{side}") for side in SIDES}
    nanoseconds = {side: 1e6 * each / side**2 for side, each in milliseconds.items()}
    return {
        "milliseconds_each": {str(side): round(each, 2) for side, each in milliseconds.items()},
        "nanoseconds_per_pixel": {str(side): round(each, 1) for side, each in nanoseconds.items()},
        "growth": round(nanoseconds[SIDES[-1]] / nanoseconds[SIDES[0]], 3),
    }
