"""Does the pool last? Random settings in all of their ranges on small images of every kind; JSON on standard output.

Each evaluation must come back as a result or a typed failure, and no process may grow; else the status is 1.
`python -m benchmarks.soak [TRACES] [--seed 0]`
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.evaluate_memory import status_bytes
from benchmarks.soak_images import small_logos
from pipeline.core.records import Evaluation, Failed, Job, Logo
from pipeline.settings.limits import ALLOWED
from pipeline.settings.ranges import TracingSettings
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.tracer_pool import TracerPool, worker_count

TRACES = 1_000_000
IMAGES = 1000
BATCH = 500
TIMEOUT_SECONDS = 5.0
WORKER_MEMORY_BYTES = 2_000_000_000
MOST_GROWTH = 1.5
SETTLED = 0.1
"""The part of the work after which a worker's caches count as full."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="?", type=int, default=TRACES)
    parser.add_argument("--seed", type=int, default=0)
    report = soak(**vars(parser.parse_args()))
    print(json.dumps(report, indent=2))
    sys.exit(0 if report["lost"] == 0 and report["growth"] <= MOST_GROWTH else 1)


def soak(traces: int, seed: int) -> dict[str, Any]:
    logos, space = small_logos(min(IMAGES, 1 + traces // 100), seed), every_freedom()
    generator = np.random.default_rng(seed)
    seen = Seen()
    started = time.perf_counter()
    with (
        TracerPool(worker_count(0), TIMEOUT_SECONDS, WORKER_MEMORY_BYTES) as pool,
        tqdm(total=traces, unit="trace", desc="soak", file=sys.stderr) as bar,
    ):
        while bar.n < traces:
            jobs = random_jobs(logos, space, generator, min(BATCH, traces - int(bar.n)))
            seen.note(jobs, pool.evaluate(jobs), pool.pids)
            bar.update(len(jobs))
            if not seen.settled_bytes and bar.n >= SETTLED * traces:
                seen.settled_bytes = resident(pool.pids)
        seconds = time.perf_counter() - started
        return seen.report(traces, seconds, pool.workers, resident(pool.pids))


def every_freedom() -> ParameterSpace:
    """All that VTracer and the preparation accept."""
    freedoms = {
        name: {"choices": list(allowed)} if isinstance(allowed[0], str) else {"low": allowed[0], "high": allowed[1]}
        for name, allowed in ALLOWED.items()
    }
    return ParameterSpace.from_settings(TracingSettings.model_validate(freedoms))


def random_jobs(logos: Sequence[Logo], space: ParameterSpace, generator: np.random.Generator, count: int) -> list[Job]:
    chosen = generator.integers(len(logos), size=count)
    return [Job(logos[i], space.decode(generator.random(space.size))) for i in chosen]


@dataclass(slots=True)
class Seen:
    """What came of it so far. settled_bytes: resident memory per worker once caches are full."""

    kinds: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    pids: set[int] = field(default_factory=set)
    settled_bytes: list[int] = field(default_factory=list)

    def note(self, jobs: Sequence[Job], evaluations: Sequence[Evaluation], pids: Sequence[int]) -> None:
        """An evaluation is lost when it is missing or is not that of its job."""
        answered = sum(_answers(job, evaluation) for job, evaluation in zip(jobs, evaluations, strict=False))
        self.lost += len(jobs) - answered
        self.kinds.update(e.kind if isinstance(e, Failed) else type(e).__name__.lower() for e in evaluations)
        self.pids.update(pids)

    def report(self, traces: int, seconds: float, workers: int, end_bytes: Sequence[int]) -> dict[str, Any]:
        return {
            "benchmark": "soak",
            "traces": traces,
            "kinds": dict(self.kinds.most_common()),
            "lost": self.lost,
            "seconds": round(seconds, 1),
            "per_second": round(traces / seconds, 1),
            "workers": workers,
            "restarts": len(self.pids) - workers,
            "worker_bytes_at_a_tenth": self.settled_bytes,
            "worker_bytes_at_the_end": list(end_bytes),
            "growth": round(max(end_bytes) / max(self.settled_bytes), 3),
        }


def _answers(job: Job, evaluation: Evaluation) -> bool:
    return evaluation.digest == job.logo.digest and evaluation.params == job.params


def resident(pids: Sequence[int]) -> list[int]:
    return [status_bytes(pid, "VmRSS") for pid in pids]


if __name__ == "__main__":
    main()
