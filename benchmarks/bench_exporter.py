"""How fast and how cheap the exporter is, beside node_exporter and nvitop-exporter; JSON on standard output.

Four clients scrape without a pause while two processes keep both cores busy: blocks of scrapes go to each exporter in
turn, in an order drawn anew, and ratios have 95 % intervals. Then ours alone for the rest of the scrapes, and all of
them at a scrape per 5 s on cores that are left alone. `cores_used_by_others` says how far the machine was not ours.
A quarter of an hour in the full form.
`python -m benchmarks.bench_exporter [--scrapes 100000] [--blocks 30] [--idle-seconds 120]`
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from benchmarks.exporter_clients import Scrapes, milliseconds_at, scrape
from benchmarks.exporter_rivals import NODE, NVITOP, OURS, Exporter, busy_cores, exporters, write_training
from benchmarks.interleaved import Block, interleave

SCRAPES = 100_000
BLOCKS = 30
BLOCK_SCRAPES = 64
CLIENTS = 4
IDLE_SECONDS = 120.0
SCRAPE_EVERY_SECONDS = 5.0
WARM_UP = 10_000
"""Scrapes after which the heap has its size."""
TARGETS = {"p99_milliseconds": 100.0, "errors": 0, "cpu_share": 0.005, "resident_bytes": 60e6, "growth_bytes": 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrapes", type=int, default=SCRAPES, help="of ours in all; fewer is faster and vaguer")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="of 64 scrapes that each exporter does, from 2")
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS, help="watched at a scrape per 5 s")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
        write_training(Path(folder))
        with exporters(Path(folder)) as started:
            report = measure(started, chosen.scrapes, chosen.blocks, chosen.idle_seconds)
    print(json.dumps(report, indent=2))


def measure(started: Mapping[str, Exporter], scrapes: int, blocks: int, idle_seconds: float) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    ours = started[OURS]
    others = OtherPrograms()
    with busy_cores(cores):
        scrape(ours.port, WARM_UP, CLIENTS, ours.marker)
        settled = ours.resident_bytes()
        timings = interleave(watched(blocks_of(started, blocks + 1, CLIENTS), "side by side", blocks + 1))
        single = interleave(watched(blocks_of(started, blocks + 1, 1), "one client", blocks + 1))
        rest = alone(ours, scrapes - blocks * BLOCK_SCRAPES)
        used_by_others = others.cores()
    rest.add(_sum(timings.results[OURS]))
    return {
        "benchmark": "exporter",
        "cores": cores,
        "cores_used_by_others": round(used_by_others, 2),
        "clients": CLIENTS,
        "targets": TARGETS,
        "all_scrapes_of_ours": {"scrapes": len(rest.latencies) + len(rest.errors)} | described(rest),
        "side_by_side": {name: described(_sum(timings.results[name])) for name in started},
        "per_second": {name: round(timings.per_second(name), 1) for name in started},
        "times_as_fast": timings.ratios_json([(OURS, NVITOP, 1.0), (OURS, NODE, None)]),
        "times_as_fast_with_one_client": single.ratios_json([(OURS, NVITOP, 1.0), (OURS, NODE, None)]),
        "memory": {"settled_bytes": settled, "end_bytes": ours.resident_bytes()}
        | {"growth_bytes": ours.resident_bytes() - settled},
        "resident_bytes": {name: exporter.resident_bytes() for name, exporter in started.items()},
        "cpu_share_at_a_scrape_per_5_s": cpu_shares(started, idle_seconds),
    }


class OtherPrograms:
    """How many cores are kept busy by what is none of ours, on average since this was made."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), self._seconds()

    def cores(self) -> float:
        return (self._seconds() - self._before) / (time.monotonic() - self._began)

    def _seconds(self) -> float:
        times, mine = psutil.cpu_times(), os.times()
        busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        spun = sum(sum(child.cpu_times()[:2]) for child in psutil.Process().children())
        return float(busy - spun - mine.user - mine.system - mine.children_user - mine.children_system)


def blocks_of(started: Mapping[str, Exporter], count: int, clients: int) -> Iterator[Block[Scrapes]]:
    rows: dict[str, Callable[[], Scrapes]] = {
        name: partial(scrape, exporter.port, BLOCK_SCRAPES, clients, exporter.marker)
        for name, exporter in started.items()
    }
    return (Block(BLOCK_SCRAPES, rows) for _ in range(count))


def alone(exporter: Exporter, count: int) -> Scrapes:
    done = Scrapes()
    sizes = [min(BLOCK_SCRAPES, count - at) for at in range(0, max(0, count), BLOCK_SCRAPES)]
    for size in watched(iter(sizes), "ours alone", len(sizes)):
        done.add(scrape(exporter.port, size, CLIENTS, exporter.marker))
    return done


def _sum(parts: Sequence[Scrapes]) -> Scrapes:
    whole = Scrapes()
    for part in parts:
        whole.add(part)
    return whole


def described(scrapes: Scrapes) -> dict[str, Any]:
    percentiles = {"p50": 0.50, "p99": 0.99, "p999": 0.999}
    times = {f"{name}_milliseconds": round(milliseconds_at(scrapes.latencies, s), 2) for name, s in percentiles.items()}
    worst = round(1000 * max(scrapes.latencies), 2)
    return times | {
        "max_milliseconds": worst,
        "errors": len(scrapes.errors),
        "kinds_of_errors": dict(Counter(scrapes.errors)),
        "answer_bytes": scrapes.answer_bytes,
    }


def cpu_shares(started: Mapping[str, Exporter], seconds: float) -> dict[str, float]:
    """CPU time of each, over the time, while all are scraped once every 5 s."""
    began = time.monotonic()
    before = {name: exporter.cpu_seconds() for name, exporter in started.items()}
    rounds = max(1, round(seconds / SCRAPE_EVERY_SECONDS))
    for _ in watched(iter(range(rounds)), "a scrape per 5 s", rounds):
        for exporter in started.values():
            scrape(exporter.port, 1, 1, exporter.marker)
        time.sleep(SCRAPE_EVERY_SECONDS)
    passed = time.monotonic() - began
    return {name: round((exporter.cpu_seconds() - before[name]) / passed, 5) for name, exporter in started.items()}


def watched(loop: Iterator[Any], name: str, length: int) -> Iterator[Any]:
    return iter(tqdm(loop, desc=name, total=length, file=sys.stderr))


if __name__ == "__main__":
    main()
