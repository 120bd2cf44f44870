"""Traces from useless to excellent: half with random settings, half with settings that keep detail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.records import Pixels, TracerParams
from pipeline.tracing.improvement import picture_of
from pipeline.tracing.tracer import TraceError

PALETTES = (0, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True, slots=True)
class Trace:
    params: TracerParams
    svg: str


def traces(rgba: Pixels, count: int, rng: np.random.Generator) -> list[Trace]:
    """VTracer's default first. Settings that VTracer makes nothing of are left out."""
    made = []
    for i in range(count):
        params = (detailed if i % 2 == 0 else any_setting)(rng) if i else TracerParams()
        try:
            svg = picture_of(rgba, params).svg
        except TraceError:
            continue
        made.append(Trace(params, svg))
    return made


def any_setting(rng: np.random.Generator) -> TracerParams:
    return TracerParams(
        **_curves(rng, 0, 180),
        filter_speckle=int(rng.integers(17)),
        color_precision=int(rng.integers(1, 9)),
        layer_difference=round(float(np.exp(rng.uniform(0, np.log(255))))),
        prescale=float(rng.choice((1.0, 1.5, 2.0))),
        palette=int(rng.choice(PALETTES)),
    )


def detailed(rng: np.random.Generator) -> TracerParams:
    return TracerParams(
        **_curves(rng, 20, 110),
        filter_speckle=int(rng.integers(5)),
        color_precision=8,
        layer_difference=int(rng.integers(1, 25)),
        prescale=float(rng.choice((1.5, 2.0, 2.0))),
        palette=int(rng.choice((0, *PALETTES[2:]))),
    )


def _curves(rng: np.random.Generator, low: int, high: int) -> dict[str, Any]:
    return {
        "hierarchical": str(rng.choice(("stacked", "cutout"))),
        "corner_threshold": int(rng.integers(low, high + 1)),
        "length_threshold": round(float(rng.uniform(3.5, 10)), 2),
        "max_iterations": int(rng.integers(1, 21)),
        "splice_threshold": int(rng.integers(low, high + 1)),
        "path_precision": int(rng.integers(3)),
    }
