"""Size against damage: which pictures of one image leave a person a choice, and which one fits a budget of bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.core.records import Scored


def pareto_front(pictures: Sequence[Scored]) -> list[Scored]:
    """Those that no other is as small and as sound as, fewest bytes first; damage falls from each to the next."""
    front: list[Scored] = []
    for picture in sorted(pictures, key=lambda p: (p.scores.svg_bytes, p.scores.damage)):
        if not front or picture.scores.damage < front[-1].scores.damage:
            front.append(picture)
    return front


def knee_of(front: Sequence[Scored]) -> Scored | None:
    """The point of a Pareto front from which on more bytes buy little; None with fewer than three points.

    The farthest one below the straight line between the ends, with ln(bytes) and ln(1 + damage) scaled to 0 to 1
    (Satopaa et al. 2011, "Finding a 'Kneedle' in a haystack"). None too where no point lies below that line.
    """
    if len(front) < 3:
        return None
    first, *between, last = ((math.log(p.scores.svg_bytes), math.log1p(p.scores.damage)) for p in front)
    below = [(last[0] - x) / (last[0] - first[0]) - (y - last[1]) / (first[1] - last[1]) for x, y in between]
    best = max(range(len(below)), key=below.__getitem__)
    return front[best + 1] if below[best] > 0 else None


def least_damaged(pictures: Sequence[Scored], budget_bytes: int) -> Scored:
    """The least damaged picture of at most so many bytes; the smallest where none fits. There must be one."""
    front = pareto_front(pictures)
    fitting = [picture for picture in front if picture.scores.svg_bytes <= budget_bytes]
    return fitting[-1] if fitting else front[0]
