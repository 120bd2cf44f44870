"""Random settings for the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.logos import PROJECT
from pipeline.core.records import Job, Logo
from pipeline.settings.params import load_settings
from pipeline.settings.ranges import FixedValue
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.tracer_pool import TracerPool

BATCH = 96
"""Jobs handed in at once, as the table, the validation and the rivals do."""


def vtracers_own_space() -> ParameterSpace:
    """The space of params.yaml without preparation and improvement: VTracer's own parameters."""
    untouched = {"prescale": 1.0, "palette": 0, "simplify": 0.0, "refit": 0, "steps_per_pixel": 100}
    return _space({name: FixedValue(fixed=value) for name, value in untouched.items()})


def fixed_prescale_space(prescale: float) -> ParameterSpace:
    """The space of params.yaml, palettes included, with the enlargement fixed."""
    return _space({"prescale": FixedValue(fixed=prescale)})


def _space(fixed: dict[str, FixedValue]) -> ParameterSpace:
    freedoms = load_settings(PROJECT / "params.yaml").tracing
    return ParameterSpace.from_settings(freedoms.model_copy(update=fixed))


def random_jobs(logos: Sequence[Logo], space: ParameterSpace, count: int, seed: Sequence[int]) -> list[Job]:
    """Each logo as often as the others, in an order and with settings drawn by `seed`."""
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(len(logos)) for _ in range(-(-count // len(logos)))])[:count]
    return [Job(logos[i], space.decode(generator.random(space.size))) for i in order]


def pool_of(workers: int) -> TracerPool:
    """As params.yaml has it, but for the number of workers."""
    settings = load_settings(PROJECT / "params.yaml")
    compute = settings.compute
    return TracerPool(workers, compute.timeout_seconds, compute.worker_memory_bytes, settings.data.background)
