"""Rivals timed side by side, and how many times as fast one is as another.

A machine that others use is slower at one minute than at the next. So the work is cut into blocks, every row does each
block, in an order drawn anew, and a ratio is one of total times over the same blocks. What a ratio owes to the choice
of blocks is its bootstrap interval (Efron 1979): blocks are drawn with replacement, both rows' times together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from pipeline.core.intervals import Interval

SAMPLES = 4000
CONFIDENCE = 0.95

R = TypeVar("R")


def speed_ratio(mine: Sequence[float], rival: Sequence[float], *, seed: int = 0) -> Interval:
    """How many times as fast `mine` is as `rival`: above 1 is faster. Both: seconds per block, in the same order.

    Raises ValueError where there are no blocks or not as many of each.
    """
    pairs = np.array([mine, rival], dtype=np.float64)
    if pairs.shape[1] == 0:
        raise ValueError("no blocks, no ratio")
    drawn = np.random.default_rng(seed).integers(pairs.shape[1], size=(SAMPLES, pairs.shape[1]))
    totals = pairs[:, drawn].sum(axis=2)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(totals[1] / totals[0], [tail, 1 - tail])
    return Interval(float(pairs[1].sum() / pairs[0].sum()), float(low), float(high))


def rounded(interval: Interval) -> dict[str, float]:
    """Its JSON to three decimals."""
    return {name: round(value, 3) for name, value in interval.to_json().items()}


def block_orders(names: Sequence[str], blocks: int, seed: int) -> list[list[str]]:
    """Every name once in each block, in an order that differs from block to block."""
    generator = np.random.default_rng(seed)
    return [[names[i] for i in generator.permutation(len(names))] for _ in range(blocks)]


@dataclass(frozen=True, slots=True)
class Block(Generic[R]):
    """A piece of the work, ready to start. rows: by name, what each rival does. evaluations: that one row makes."""

    evaluations: int
    rows: Mapping[str, Callable[[], R]]


@dataclass(frozen=True, slots=True)
class Timings(Generic[R]):
    """What came out. seconds, results: by row, one per block. evaluations: per block."""

    evaluations: list[int] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    results: dict[str, list[R]] = field(default_factory=dict)

    def per_second(self, row: str) -> float:
        return sum(self.evaluations) / sum(self.seconds[row])

    def rows_json(self) -> dict[str, Any]:
        speeds = {row: self.per_second(row) for row in sorted(self.seconds)}
        return {
            row: {"per_second": round(speed, 1), "milliseconds_each": round(1000 / speed, 3)}
            for row, speed in speeds.items()
        }

    def ratio_json(self, mine: str, rival: str, target: float | None = None) -> dict[str, float]:
        """The interval of `speed_ratio`, with what was asked for beside it."""
        ratio = rounded(speed_ratio(self.seconds[mine], self.seconds[rival]))
        return ratio if target is None else ratio | {"target": target}

    def ratios_json(self, asked: Iterable[tuple[str, str, float | None]]) -> dict[str, Any]:
        """(mine, rival, target) each; those with a row that was not run are left out."""
        return {
            f"{mine} / {rival}": self.ratio_json(mine, rival, target)
            for mine, rival, target in asked
            if mine in self.seconds and rival in self.seconds
        }


def interleave(blocks: Iterable[Block[R]], *, seed: int = 0) -> Timings[R]:
    """Run every row of every block; only the rows are timed, not what it takes to make a block.

    The first block is run and forgotten, so that nobody is timed while caches and heaps are still growing.
    """
    timings: Timings[R] = Timings()
    generator = np.random.default_rng(seed)
    for number, block in enumerate(blocks):
        for name in block_orders(list(block.rows), 1, int(generator.integers(2**31)))[0]:
            started = time.perf_counter()
            result = block.rows[name]()
            elapsed = time.perf_counter() - started
            if number:
                timings.seconds.setdefault(name, []).append(elapsed)
                timings.results.setdefault(name, []).append(result)
        if number:
            timings.evaluations.append(block.evaluations)
    return timings
