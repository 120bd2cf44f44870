"""Random settings on real logos: the pool, a plain loop over files, and VTracer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.interleaved import Block, Timings, interleave
from benchmarks.jobs import pool_of, random_jobs
from benchmarks.plain_loop import Picture, cairo, draw_with_resvg, plain_loop
from benchmarks.vtracer_alone import VTracerAlone, ready
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Gate, Job, Logo, Scored
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.tracer_pool import TracerPool

Watch = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Shows how far a loop is: the loop, its name, its length."""

WORKERS = (1, 2)
SIZE_AND_DAMAGE = Gate(max_damage=-1.0)
"""Nothing wins, and the size and the damage of each are known."""

RATIOS = [
    ("pool_2_size_and_damage", "plain_loop", 4.5),
    ("pool_2_every_score", "plain_loop", 4.5),
    ("pool_2_size_and_damage", "plain_loop_resvg", None),
    ("pool_2_size_and_damage", "pool_1_size_and_damage", 1.8),
    ("pool_2_every_score", "pool_1_every_score", 1.8),
    ("vtracer_alone_2", "vtracer_alone_1", None),
    ("pool_1_every_score", "vtracer_alone_1", None),
    ("pool_2_every_score", "vtracer_alone_2", None),
    ("pool_2_size_and_damage", "vtracer_alone_2", None),
]


def measure_random(
    logos: Sequence[Logo], space: ParameterSpace, blocks: int, jobs_per_block: int, name: str, watch: Watch
) -> Any:
    """Rows and ratios over `blocks` blocks; each logo is known to the pools, as in training, its settings are not."""
    with ExitStack() as stack:
        alone = {n: stack.enter_context(VTracerAlone(n)) for n in WORKERS}
        pools = {n: stack.enter_context(pool_of(n)) for n in WORKERS}
        for pool in pools.values():
            pool.evaluate([Job(logo, DEFAULT_PARAMS) for logo in logos])
        work = _blocks(logos, space, blocks + 1, jobs_per_block, alone, pools)
        timings = interleave(watch(work, name, blocks + 1))
    return _report(timings, blocks, jobs_per_block)


def _blocks(
    logos: Sequence[Logo],
    space: ParameterSpace,
    blocks: int,
    count: int,
    alone: dict[int, VTracerAlone],
    pools: dict[int, TracerPool],
) -> Iterator[Block[list[Any]]]:
    """Off the clock: the encoded PNGs of those who only trace, and the pixels that the loops compare with."""
    with_cairo = cairo()
    for number in range(blocks):
        jobs = random_jobs(logos, space, count, (number, count))
        encoded = ready(jobs)
        pictures = [Picture.of(job) for job in jobs]
        rows: dict[str, Callable[[], list[Any]]] = {"plain_loop_resvg": partial(plain_loop, pictures, draw_with_resvg)}
        if with_cairo:
            rows["plain_loop"] = partial(plain_loop, pictures, with_cairo)
        rows |= {f"vtracer_alone_{n}": processes.load({"all": encoded})["all"] for n, processes in alone.items()}
        like_the_loop = [replace(job, gate=SIZE_AND_DAMAGE) for job in jobs]
        rows |= {
            f"pool_{n}_every_score": partial(pool.evaluate, [replace(job, metrics=True) for job in jobs])
            for n, pool in pools.items()
        }
        rows |= {f"pool_{n}_size_and_damage": partial(pool.evaluate, like_the_loop) for n, pool in pools.items()}
        yield Block(count, rows)


def _report(timings: Timings[list[Any]], blocks: int, jobs_per_block: int) -> dict[str, Any]:
    one, two = (_all(timings, f"pool_{n}_every_score") for n in WORKERS)
    different = sum(timeless(a) != timeless(b) for a, b in zip(one, two, strict=True))
    rows = timings.rows_json()
    if "plain_loop" not in rows:
        rows["plain_loop"] = {"missing": "pip install cairosvg"}
    return {
        "blocks": blocks,
        "jobs_per_block": jobs_per_block,
        "rows": rows,
        "ratios": timings.ratios_json(RATIOS),
        "identical": different == 0,
        "different": different,
        "failed": sum(not isinstance(e, Scored) for e in two),
        "mean_ssim_difference_to_plain_loop_resvg": _difference(two, _all(timings, "plain_loop_resvg")),
    }


def _all(timings: Timings[list[Any]], row: str) -> list[Any]:
    return [item for block in timings.results[row] for item in block]


def timeless(evaluation: Evaluation) -> Evaluation:
    """What must not depend on who evaluated it, or when."""
    return replace(evaluation, seconds=0.0)


def _difference(evaluations: Sequence[Evaluation], ssims: Sequence[float]) -> float:
    """That both did the same work shows in their scores; the renderers differ by rounding at edges."""
    pairs = zip(evaluations, ssims, strict=True)
    return round(float(np.mean([abs(e.scores.reported.ssim - s) for e, s in pairs if isinstance(e, Scored)])), 6)
