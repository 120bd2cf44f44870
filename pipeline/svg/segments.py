"""The loops of a drawing as one table of segments on an integer grid, and what can be left out of it.

All of a drawing is worked on at once: a call of NumPy costs as much as a Python loop over ten segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.svg.shapes import CUBIC, LINE, Loop

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Closed loops: each segment begins where the one before it ends, the first of a loop where the last ends.

    controls: int64 (n, 2, 2), the control points of a cubic; twice that of a quadratic; unused in a line.
    ends: int64 (n, 2). degrees: int64 (n,), 1 to 3. loop: int64 (n,), rising, the number of the segment's loop.
    """

    controls: Integers
    ends: Integers
    degrees: Integers
    loop: Integers

    def __len__(self) -> int:
        return len(self.loop)

    def take(self, rows: Integers | Booleans) -> Segments:
        return Segments(self.controls[rows], self.ends[rows], self.degrees[rows], self.loop[rows])

    def firsts(self) -> Integers:
        """The first row of each loop."""
        changes = np.empty(len(self), dtype=np.bool_)
        changes[:1] = True
        np.not_equal(self.loop[1:], self.loop[:-1], out=changes[1:])
        return np.flatnonzero(changes)

    def starts(self) -> Integers:
        """Where each segment begins: int64 (n, 2)."""
        return self.ends[self.previous()]

    def previous(self) -> Integers:
        """The row of the segment before each, the last of its loop before the first."""
        previous = np.arange(-1, len(self) - 1)
        firsts = self.firsts()
        previous[firsts] = np.append(firsts[1:], len(self)) - 1
        return previous

    def boxes(self) -> tuple[Integers, Integers]:
        """All loops, and a box around each: int64 (loops, 4), left, top, right, bottom.

        A curve lies within its control points; cut into four, within those of its parts, which are much closer.
        """
        firsts = self.firsts()
        low, high = self.ends.copy(), self.ends.copy()
        curved = self.degrees > LINE
        if curved.any():
            points = np.empty((4, int(curved.sum()), 2))
            points[0], points[3] = self.starts()[curved], self.ends[curved]
            points[1], points[2] = self.controls[curved, 0], self.controls[curved, 1]
            quadratic = self.degrees[curved] == 2
            points[1:3, quadratic] = (points[[0, 3]][:, quadratic] + 2 * points[1:3, quadratic]) / 3
            parts = _halves(_halves(points[:, None])).reshape(-1, points.shape[1], 2)
            low[curved] = np.floor(parts.min(axis=0))
            high[curved] = np.ceil(parts.max(axis=0))
        boxes = np.hstack([np.minimum.reduceat(low, firsts), np.maximum.reduceat(high, firsts)])
        return self.loop[firsts], boxes


def _halves(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubics cut in the middle by de Casteljau's algorithm: float64 (4, parts, n, 2) to (4, 2 parts, n, 2)."""
    a, b, c, d = points
    ab, bc, cd = (a + b) / 2, (b + c) / 2, (c + d) / 2
    abc, bcd = (ab + bc) / 2, (bc + cd) / 2
    middle = (abc + bcd) / 2
    return np.concatenate([np.stack([a, ab, abc, middle]), np.stack([middle, bcd, cd, d])], axis=1)


def quantise(loops: Sequence[Loop], steps_per_pixel: int) -> Segments:
    """Every point at its nearest grid point; loops are numbered as they come, those without a segment left out."""
    degrees = np.concatenate([loop.degrees for loop in loops]).astype(np.int64)
    points = np.rint(np.concatenate([loop.points for loop in loops]) * steps_per_pixel).astype(np.int64)
    loop = np.repeat(np.arange(len(loops)), [len(loop.degrees) for loop in loops])
    # Each loop has one point more than its degrees add up to: its start.
    ends = np.cumsum(degrees) + loop
    cubic = degrees == CUBIC
    first_controls = np.where(cubic, ends - 2, ends)
    second_controls = np.where(cubic, ends - 1, ends)
    controls = np.stack([points[first_controls], points[second_controls]], axis=1)
    return _closed(Segments(controls, points[ends], degrees, loop), points[ends - degrees])


def _closed(segments: Segments, starts: Integers) -> Segments:
    """With the line that closes each open loop. starts: where each segment begins."""
    firsts = segments.firsts()
    lasts = np.append(firsts[1:], len(segments))
    is_open = (starts[firsts] != segments.ends[lasts - 1]).any(axis=1)
    if not is_open.any():
        return segments
    after = lasts[is_open]
    corners = starts[firsts[is_open]]
    return Segments(
        np.insert(segments.controls, after, corners[:, None], axis=0),
        np.insert(segments.ends, after, corners, axis=0),
        np.insert(segments.degrees, after, LINE),
        np.insert(segments.loop, after, segments.loop[lasts[is_open] - 1]),
    )


def simplify(segments: Segments, tolerance: float = 0.0) -> Segments:
    """The same area with fewer numbers; loops without an area vanish.

    Straight cubics become lines, others quadratics where they are such, segments of no length vanish and so do the
    points between lines of one direction. tolerance: how far a control point may move for it, in steps.
    """
    segments = _lower(segments, tolerance)
    while len(segments):
        chord = segments.ends - segments.starts()
        is_line = segments.degrees == LINE
        still = is_line & ~chord.any(axis=1)
        if still.any():
            segments = segments.take(~still)
            continue
        following = np.arange(1, len(segments) + 1)
        firsts = segments.firsts()
        following[np.append(firsts[1:], len(segments)) - 1] = firsts
        # A line that turns back on the one before it encloses nothing either.
        needless = is_line & is_line[following] & (_cross(chord, chord[following]) == 0)
        if not needless.any():
            break
        segments = segments.take(~needless)
    return _smooth(segments, tolerance) if tolerance and len(segments) else segments


def _lower(segments: Segments, tolerance: float) -> Segments:
    """Every cubic at the least degree that draws it."""
    starts = segments.starts()
    first, second = segments.controls[:, 0] - starts, segments.controls[:, 1] - starts
    chord = segments.ends - starts
    squared = (chord * chord).sum(axis=1)
    margin = tolerance * np.sqrt(squared)
    straight = np.ones(len(segments), dtype=np.bool_)
    for control in (first, second):
        along = (control * chord).sum(axis=1)
        straight &= (np.abs(_cross(control, chord)) <= margin) & (along >= 0) & (along <= squared)
    # Without a chord: there and back on one line.
    straight &= (squared > 0) | (_cross(first, second) == 0)
    # A quadratic's control point q gives a cubic's as (start + 2 q) / 3 and (end + 2 q) / 3.
    control = np.rint((3 * (first + second) - chord) / 4).astype(np.int64)
    bound = (3 * tolerance) ** 2
    one_off, other_off = 3 * first - 2 * control, 3 * second - 2 * control - chord
    quadratic = ((one_off * one_off).sum(axis=1) <= bound) & ((other_off * other_off).sum(axis=1) <= bound)
    curved = segments.degrees > LINE
    degrees = np.where(curved & straight, LINE, np.where(curved & quadratic, 2, segments.degrees))
    controls = np.where((degrees == 2)[:, None, None], (control + starts)[:, None], segments.controls)
    return replace(segments, controls=controls, degrees=degrees)


def _smooth(segments: Segments, tolerance: float) -> Segments:
    """With the first control point of a cubic moved to where the one before it goes on in a straight line."""
    before = segments.previous()
    mirror = 2 * segments.ends[before] - segments.controls[before, 1]
    off = segments.controls[:, 0] - mirror
    near = (off * off).sum(axis=1) <= tolerance * tolerance
    near &= (segments.degrees == CUBIC) & (segments.degrees[before] == CUBIC)
    controls = segments.controls.copy()
    controls[near, 0] = mirror[near]
    return replace(segments, controls=controls)


def _cross(a: Integers, b: Integers) -> Integers:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def close_with_line(segments: Segments, lengths: Integers) -> tuple[Segments, Booleans]:
    """Each loop turned so that its longest line comes last, and whether each loop now ends in a line.

    lengths: of each line in characters, int64 (n,).
    """
    firsts = segments.firsts()
    sizes = np.diff(firsts, append=len(segments))
    # The row breaks ties, so that the greatest value of a loop names its row.
    rows = np.arange(len(segments))
    value = np.where(segments.degrees > LINE, -1, lengths) * len(segments) + rows
    best = np.maximum.reduceat(value, firsts) % len(segments)
    within = rows - np.repeat(firsts, sizes)
    turned = np.repeat(firsts, sizes) + (np.repeat(best - firsts, sizes) + 1 + within) % np.repeat(sizes, sizes)
    segments = segments.take(turned)
    return segments, segments.degrees[firsts + sizes - 1] == LINE
