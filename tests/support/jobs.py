"""Jobs that succeed, panic or take seconds in a tracing process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Logo, TracerParams

GIGABYTES = 2_000_000_000


def noise(side: int, seed: int = 0) -> Logo:
    rgba = np.random.default_rng(seed).integers(0, 256, (side, side, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    return Logo.of(f"noise-{side}", rgba, "complex")


SMALL = noise(32)
SLOW = noise(500)
"""Seconds of work for VTracer: there is time to strike."""
GOOD = Job(SMALL, DEFAULT_PARAMS)
PANIC = Job(SMALL, replace(DEFAULT_PARAMS, max_iterations=0))
LONG = Job(SLOW, TracerParams(mode="none", color_precision=8, layer_difference=1, filter_speckle=0))


def kinds(evaluations: list[Evaluation]) -> list[str]:
    return [e.kind if isinstance(e, Failed) else "scored" for e in evaluations]
