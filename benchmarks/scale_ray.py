"""Evaluations per second on a Ray cluster of two local nodes, beside two local workers, at 256 x 256.

Both do the same batches of random settings, block by block in an order drawn anew, on the same two cores; the start of
the cluster is timed apart. A digest over every evaluation, but for its seconds, shows that the results are equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.interleaved import Block, Timings, interleave
from benchmarks.jobs import BATCH, pool_of, random_jobs, vtracers_own_space
from benchmarks.logos import PROJECT, square_logos
from pipeline.core.cluster import ray_module
from pipeline.core.records import Evaluation, Job
from pipeline.settings.params import load_settings
from pipeline.tracing.pool import Pool
from pipeline.tracing.ray_pool import RayPool

NODES = 2
SIDE_PIXELS = 256
LOGOS = 24
TARGET = 0.9


def measure(blocks: int | None = None) -> dict[str, Any]:
    """blocks: of one batch by each."""
    blocks = blocks or int(os.environ.get("TRACEWRIGHT_RAY_BLOCKS", "40"))
    started = time.perf_counter()
    with local_cluster(NODES), ray_pool() as spread, pool_of(NODES) as local:
        alike = spread.versions == local.versions
        while len(spread.hosts) < NODES:
            spread.evaluate([])
        start_seconds = time.perf_counter() - started
        timings = interleave(_blocks(blocks, {"local": local, "ray": spread}))
        failures = {"local": dict(local.failures), "ray": dict(spread.failures)}
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "side_pixels": SIDE_PIXELS,
        "blocks": blocks,
        "jobs_per_block": BATCH,
        "start_seconds": round(start_seconds, 1),
        "rows": timings.rows_json(),
        "ratios": timings.ratios_json([("ray", "local", TARGET)]),
        "identical": alike and _digest(timings, "local") == _digest(timings, "ray"),
        "digest": _digest(timings, "ray")[:16],
        "failures": failures,
    }


@contextmanager
def local_cluster(nodes: int) -> Iterator[Any]:
    """Nodes of one CPU each on this machine, with a token of their own; RAY_ADDRESS names them while the block runs."""
    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray_module()
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            cluster.add_node(num_cpus=1)
        os.environ["RAY_ADDRESS"] = cluster.address
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def ray_pool() -> RayPool:
    """As params.yaml has it, on all CPUs of the cluster."""
    settings = load_settings(PROJECT / "params.yaml")
    compute = settings.compute
    return RayPool(0, compute.timeout_seconds, compute.worker_memory_bytes, settings.data.background)


def _blocks(count: int, pools: dict[str, Pool]) -> Iterator[Block[list[Evaluation]]]:
    logos, space = square_logos(LOGOS, SIDE_PIXELS), vtracers_own_space()
    for number in range(count + 1):
        jobs: Sequence[Job] = random_jobs(logos, space, BATCH, (7, number))
        yield Block(len(jobs), {name: partial(pool.evaluate, jobs) for name, pool in pools.items()})


def _digest(timings: Timings[list[Evaluation]], row: str) -> str:
    digest = hashlib.sha256()
    for evaluations in timings.results[row]:
        for evaluation in evaluations:
            digest.update(json.dumps(asdict(evaluation) | {"seconds": 0}, sort_keys=True).encode())
    return digest.hexdigest()
