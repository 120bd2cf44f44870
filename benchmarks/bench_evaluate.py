"""How fast evaluations are: against a plain loop, VTracer alone, one worker for two; JSON on standard output.

Real logos of all categories at 256 x 256: VTracer's own parameters alone, then with palettes, then enlarged too. Rivals
are interleaved, ratios have 95 % intervals; about ten minutes.
`python -m benchmarks.bench_evaluate [--blocks 20] [--parts random search ...] [--agent models/agent]`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.evaluate_random import measure_random
from benchmarks.evaluate_scaling import measure_scaling
from benchmarks.evaluate_search import measure_search
from benchmarks.evaluate_stored import measure_stored
from benchmarks.jobs import fixed_prescale_space, vtracers_own_space
from benchmarks.logos import PROJECT, SIDE, square_logos

BLOCKS = 20
PARTS = (
    "random", "random_palette", "random_prescale_2", "search", "search_palette", "effective", "scaling", "memory",
)  # fmt: skip
LOGOS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="pieces of work, from 3; fewer is faster and vaguer")
    parser.add_argument("--agent", type=Path, help="folder of a trained agent, in place of an untrained one")
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="some of the parts only")
    chosen = parser.parse_args()
    every = parts(chosen.blocks, chosen.agent)
    measured = {name: every[name]() for name in chosen.parts or every}
    print(json.dumps({"benchmark": "evaluate", "cores": cores(), "side": SIDE} | measured, indent=2))


def parts(blocks: int, agent: Path | None) -> dict[str, Callable[[], Any]]:
    fewer = max(2, blocks * 2 // 5)
    own, palettes, enlarged = vtracers_own_space(), fixed_prescale_space(1.0), fixed_prescale_space(2.0)
    some = square_logos(LOGOS)
    return {
        "random": lambda: measure_random(some, own, blocks, 96, "random", watched),
        "random_palette": lambda: measure_random(some, palettes, fewer, 48, "random, palettes", watched),
        "random_prescale_2": lambda: measure_random(some, enlarged, fewer, 24, "random, prescale 2", watched),
        "search": lambda: measure_search(blocks // 2, own, None, "search", watched),
        "search_palette": lambda: measure_search(fewer, palettes, agent, "search, palettes", watched),
        "effective": partial(measure_stored, fewer, agent, watched),
        "scaling": partial(measure_scaling, fewer, watched),
        "memory": lambda: memory(50 * blocks, 150 * blocks),
    }


def memory(images: int, evaluations: int) -> Any:
    """By a process of its own: this one has held far more."""
    command = [sys.executable, "-m", "benchmarks.evaluate_memory", str(images), str(evaluations)]
    return json.loads(subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE).stdout)


def watched(loop: Iterable[Any], name: str, length: int) -> Iterable[Any]:
    return tqdm(loop, desc=name, total=length, unit="block", file=sys.stderr)


def cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
