"""Size against damage: of the traces made of an image, the ones that no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class TracePoint(NamedTuple):
    """One picture of an image. damage: in pixels, of `tracing.fidelity`."""

    bytes: int
    damage: float


def front(traces: Iterable[TracePoint]) -> list[TracePoint]:
    """The Pareto front: by rising bytes and falling damage, each smaller or less damaged than any other."""
    kept: list[TracePoint] = []
    for trace in sorted(set(traces)):
        if not kept or trace.damage < kept[-1].damage:
            kept.append(trace)
    return kept


def smallest_within(traces: Iterable[TracePoint], max_damage: float) -> TracePoint:
    """The smallest within a limit of damage, or the least damaged. Raises ValueError where there is none at all."""
    best = front(traces)
    return next((trace for trace in best if trace.damage <= max_damage), None) or min(best, key=lambda t: t.damage)


def least_damaged_within(traces: Iterable[TracePoint], max_bytes: int) -> TracePoint:
    """The least damaged of at most so many bytes, or the smallest. Raises ValueError where there is none at all."""
    best = front(traces)
    return next((trace for trace in reversed(best) if trace.bytes <= max_bytes), None) or min(best)


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """The index of the point farthest below the line from the first to the last, with both axes scaled to 0 to 1.

    points: (x, y), x rising and y falling. None where no point lies below the line (Satopaa et al. 2011, "Kneedle").
    """
    if len(points) < 3 or points[0][0] == points[-1][0] or points[0][1] == points[-1][1]:
        return None
    (left, high), (right, low) = points[0], points[-1]
    below = [1 - (x - left) / (right - left) - (y - low) / (high - low) for x, y in points]
    index = max(range(len(points)), key=lambda k: below[k])
    return index if below[index] > 1e-9 and math.isfinite(below[index]) else None
