"""The most memory that a dataset and its evaluations take, per process; JSON on standard output.

A worker's peak holds what VTracer itself took for a moment, which on some images is more than all else: what is
resident afterwards is ours.

1,000 logos of 256 x 256 are held while 2 workers evaluate 3,000 times, every image 3 times.
`python -m benchmarks.evaluate_memory [IMAGES] [EVALUATIONS] [--prescale 1]`
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.jobs import BATCH, fixed_prescale_space, pool_of, random_jobs
from benchmarks.logos import square_logos
from pipeline.core.records import Logo

SOURCES = 100
MOST_BYTES = {"parent": 300_000_000, "worker": 250_000_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=int, default=1000)
    parser.add_argument("evaluations", nargs="?", type=int, default=3000)
    parser.add_argument("--prescale", type=float, default=1.0)
    print(json.dumps(measure_memory(**vars(parser.parse_args())), indent=2))


def measure_memory(images: int, evaluations: int, prescale: float) -> dict[str, Any]:
    logos = shifted_logos(images)
    jobs = random_jobs(logos, fixed_prescale_space(prescale), evaluations, (0,))
    with pool_of(2) as pool:
        for start in range(0, len(jobs), BATCH):
            pool.evaluate(jobs[start : start + BATCH])
        return {
            "benchmark": "evaluate_memory",
            "images": len({logo.digest for logo in logos}),
            "evaluations": pool.evaluations,
            "prescale": prescale,
            "failures": dict(pool.failures),
            "parent_peak_bytes": peak_bytes(os.getpid()),
            "worker_peak_bytes": [peak_bytes(pid) for pid in pool.pids],
            "worker_resident_bytes": [status_bytes(pid, "VmRSS") for pid in pool.pids],
            "asked_for_bytes": MOST_BYTES,
        }


def shifted_logos(images: int) -> list[Logo]:
    """Real logos, and the same moved by a pixel, two, ... so that all differ; only the logos are kept."""
    sources = square_logos(min(SOURCES, images))
    moved = (_moved(logo, pixels) for pixels in count() for logo in sources)
    return list(islice(moved, images))


def _moved(logo: Logo, pixels: int) -> Logo:
    return Logo.of(f"{logo.name}-{pixels}", np.roll(logo.rgba, pixels, axis=1), logo.category)


def peak_bytes(pid: int) -> int:
    """VmHWM of /proc/PID/status: the most that was ever resident."""
    return status_bytes(pid, "VmHWM")


def status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
