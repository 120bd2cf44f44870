"""Simpler outlines: VTracer's many short curves refitted with the fewest lines and cubics within a tolerance.

Every loop is sampled once, all loops in the same arrays, with points as complex numbers. Corners split a loop into
smooth stretches. Within a stretch the joints between VTracer's own segments are where a new segment may start or end;
the spans between two of them are fitted in batches, and a dynamic programme takes the cheapest chain of spans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.svg.primitives import ellipse_of, exact_ellipse, rectangle_of
from pipeline.svg.shapes import CUBIC, LINE, Drawing, Ellipse, Loop, Outline, Rectangle, Shape

Complexes = NDArray[np.complex128]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Singles = NDArray[np.float32]
Basis = tuple[Singles, Singles, Singles, Singles]

STEPS = 8
"""Samples per segment of the input."""
FIT_SAMPLES = 16
"""Samples that a span is fitted to."""
_CENTRED = np.linspace(-1, 1, FIT_SAMPLES, dtype=np.float32)
_WEIGHTS = np.linspace(0, 1, FIT_SAMPLES)
LINE_TOLERANCE = 0.8
"""Of the tolerance: so far may points be from a line, for a bend shows more than a displacement."""
AXIS_TOLERANCE = 1.0
"""The same for level and upright lines, which are the likeliest."""
SPANS = (2, 3, 5, 8, 13, 21)
"""Numbers of input segments that one output segment may stand for, besides 1."""
MOST_ROUNDS = 1
"""After the first, in which the segments that were found may become longer still. A second saves 0.1 % of the bytes."""
MOST_JOINTS = 4000
"""Drawings with more are photographs or gradients in bands: only the shortest spans are tried, to bound the time."""

NEAR, FAR = 1.5, 4.0
"""Pixels along the outline, before and after, over which the turn of a corner is measured."""
SHARP, BLUNT = np.radians(50), np.radians(25)
"""A turn over NEAR that is always a corner, and one that is where the turn over FAR is hardly larger."""
ROUNDING = 1.0
"""Pixels of outline on each side of a corner that VTracer may have rounded; no fit looks at them."""
APEX = 0.5
"""Pixels, besides the tolerance, that sharpening may move a corner."""
COSTS = {LINE: 1.6, CUBIC: 3.0}
"""About proportional to bytes."""
SMOOTH = np.radians(12)
"""How far a line may deviate from the tangent at a joint that is no corner."""
SHORTEST_LOOP = 5.0
"""Pixels of perimeter; smaller loops stay as they are."""


@dataclass(frozen=True, slots=True)
class _Samples:
    """The loops of a drawing as one dense polyline over arc length.

    position: where each sample is, rising; loop k occupies starts[k] to starts[k] + lengths[k], and a gap follows.
    nodes: position of each segment's start. owner: loop of each segment. points: of the samples. areas: of each loop,
    positive when x turns towards y.
    """

    position: Floats
    points: Complexes
    nodes: Floats
    owner: Ints
    starts: Floats
    lengths: Floats
    areas: Floats

    def at(self, position: Floats, loop: Ints) -> Complexes:
        """Points at positions up to one loop's length outside of a loop. loop: broadcast to position."""
        start, length = self.starts[loop], self.lengths[loop]
        beyond = position - start
        beyond = np.where(beyond < 0, beyond + length, np.where(beyond >= length, beyond - length, beyond))
        found: Complexes = np.interp(start + beyond, self.position, self.points)
        return found


def simplify(drawing: Drawing, tolerance_pixels: float) -> Drawing:
    """The same shapes with simpler outlines, off by about `tolerance_pixels` at most, in pixels of the image.

    A tolerance of 0 returns the drawing as it is. Loops keep their direction, so holes stay holes.
    """
    loops = [loop for shape in drawing.shapes if isinstance(shape.outline, tuple) for loop in shape.outline]
    if tolerance_pixels <= 0 or not loops:
        return drawing
    simple = iter(_simple_loops(loops, tolerance_pixels))
    result: list[Shape] = []
    for shape in drawing.shapes:
        if isinstance(shape.outline, tuple):
            shape = replace(shape, outline=_outline([next(simple) for _ in shape.outline]))
        result.append(shape)
    return replace(drawing, shapes=tuple(result))


def _outline(found: list[Loop | tuple[Loop, Ellipse | Rectangle]]) -> Outline:
    """A primitive where it is all there is, else loops."""
    if len(found) == 1 and isinstance(found[0], tuple):
        return found[0][1]
    return tuple(item[0] if isinstance(item, tuple) else item for item in found)


def _simple_loops(loops: list[Loop], tolerance: float) -> list[Loop | tuple[Loop, Ellipse | Rectangle]]:
    """A loop without a segment, which VTracer prints now and then, stays as it is."""
    result: list[Loop | tuple[Loop, Ellipse | Rectangle]] = list(loops)
    drawn = [index for index, loop in enumerate(loops) if len(loop.degrees)]
    for index, simple in zip(drawn, _simple_drawn_loops([loops[i] for i in drawn], tolerance), strict=True):
        result[index] = simple
    return result


def _simple_drawn_loops(loops: list[Loop], tolerance: float) -> list[Loop | tuple[Loop, Ellipse | Rectangle]]:
    if not loops:
        return []
    samples = _sampled(loops)
    large = samples.lengths >= SHORTEST_LOOP
    result: list[Loop | tuple[Loop, Ellipse | Rectangle]] = list(loops)
    low, high = _extents(samples)
    for index in np.flatnonzero(large & _full(samples, low)).tolist():
        outline = samples.points[low[index] : high[index]]
        ellipse = ellipse_of(outline, 1.5 * tolerance)
        if ellipse is not None:
            result[index] = exact_ellipse(ellipse, outline)
            large[index] = False
            continue
        rectangle = rectangle_of(outline, 1.5 * tolerance)
        if rectangle is not None:
            result[index] = rectangle
            large[index] = False
    if large.any():
        joints = _joints(samples, large, tolerance)
        found = _refitted(samples, joints, tolerance)
        for index, loop in _sound(samples, found, tolerance).items():
            result[index] = loop
    return result


def _sound(samples: _Samples, found: dict[int, Loop], tolerance: float) -> dict[int, Loop]:
    """Those of the new loops that enclose about the same area, the same way round, as the old ones."""
    if not found:
        return {}
    index = np.array(list(found))
    old = samples.areas[index]
    new = _sampled(list(found.values())).areas
    same = (np.abs(new - old) <= samples.lengths[index] * tolerance) & (new * old > 0)
    return {key: loop for (key, loop), keep in zip(found.items(), same.tolist(), strict=True) if keep}


def _areas(controls: Complexes, owner: Ints, count: int) -> Floats:
    """Of each loop, exactly, from the control points (n, 4) of its cubics; positive when x turns towards y."""
    first = controls[np.searchsorted(owner, np.arange(count)), 0]  # near, so that nothing large cancels
    a, b, c, d = (controls - first[owner, np.newaxis]).T
    turned = np.conj(a) * (6 * b + 3 * c + d) + np.conj(b) * (3 * c + 3 * d) + 6 * np.conj(c) * d
    return np.bincount(owner, turned.imag / 20, count).astype(np.float64)


def _extents(samples: _Samples) -> tuple[Ints, Ints]:
    """Where each loop's samples begin and end."""
    count = np.bincount(samples.owner, minlength=len(samples.starts)) * (STEPS + 1)
    high = np.cumsum(count)
    return high - count, high


def _full(samples: _Samples, low: Ints) -> Bools:
    """Which loops fill their bounding box well enough to be an ellipse or a rectangle."""
    points = samples.points - samples.points[low][np.repeat(samples.owner, STEPS + 1)]
    x, y = points.real, points.imag
    area = np.abs(samples.areas)
    width = np.maximum.reduceat(x, low) - np.minimum.reduceat(x, low)
    height = np.maximum.reduceat(y, low) - np.minimum.reduceat(y, low)
    full: Bools = area > 0.7 * width * height
    return full


def _sampled(loops: list[Loop]) -> _Samples:
    degrees = np.concatenate([loop.degrees for loop in loops]).astype(np.int64)
    owner = np.repeat(np.arange(len(loops)), [len(loop.degrees) for loop in loops])
    flat = np.concatenate([loop.points for loop in loops])
    points = flat[:, 0] + 1j * flat[:, 1]
    ends = np.cumsum(degrees) + owner
    first = np.cumsum([0] + [len(loop.points) for loop in loops[:-1]])
    last = np.cumsum([len(loop.points) for loop in loops]) - 1
    start, end = points[ends - degrees], points[ends]
    cubic = degrees == CUBIC
    one = np.where(cubic, points[np.minimum(ends - degrees + 1, len(points) - 1)], start + (end - start) / 3)
    two = np.where(cubic, points[ends - 1], end - (end - start) / 3)
    controls = np.stack([start, one, two, end], 1)
    open_loops = np.flatnonzero(np.abs(points[first] - points[last]) > 1e-9)
    if len(open_loops):
        a, b = points[last[open_loops]], points[first[open_loops]]
        closing = np.stack([a, a + (b - a) / 3, b - (b - a) / 3, b], 1)
        where = np.searchsorted(owner, open_loops, "right")
        controls, owner = np.insert(controls, where, closing, 0), np.insert(owner, where, open_loops)
    curves = controls @ _STEP_BASIS
    steps = np.abs(np.diff(curves, axis=1))
    total = steps.sum(1)
    before = np.cumsum(total) - total + owner
    position = before[:, None] + np.concatenate([np.zeros((len(total), 1)), np.cumsum(steps, 1)], 1)
    lengths = np.bincount(owner, total, len(loops)).astype(np.float64)
    starts: Floats = np.cumsum(lengths) - lengths + np.arange(len(loops), dtype=np.float64)
    areas = _areas(controls, owner, len(loops))
    return _Samples(position.ravel(), curves.ravel(), before, owner, starts, lengths, areas)


def _bernstein(u: Singles) -> Basis:
    """The four cubic Bernstein polynomials, each in the shape of u."""
    v = 1 - u
    uu, vv = u * u, v * v
    uv = 3 * u * v
    return vv * v, uv * v, uv * u, uu * u


_STEP_BASIS = np.stack(_bernstein(np.linspace(0, 1, STEPS + 1, dtype=np.float32))).astype(np.complex128)


@dataclass(frozen=True, slots=True)
class _Joints:
    """Where segments may start or end, loop by loop.

    position: on the samples, rising within a loop. owner: the loop. point: where it is, a corner sharpened. tangent: a
    unit vector, 0 at corners. rounding: pixels to both sides that no fit looks at. corner: whether it is one.
    """

    position: Floats
    owner: Ints
    point: Complexes
    tangent: Complexes
    rounding: Floats
    corner: Bools


def _unit(vectors: Complexes) -> Complexes:
    return vectors / np.maximum(np.abs(vectors), 1e-12)


def _turns(samples: _Samples, position: Floats, owner: Ints, window: float) -> Floats:
    """Angle between the chords before and after, -pi to pi."""
    width = np.minimum(window, samples.lengths[owner] / 8)
    before, here, after = (samples.at(position + side * width, owner) for side in (-1, 0, 1))
    return np.angle((after - here) * np.conj(here - before))


def _joints(samples: _Samples, large: Bools, tolerance: float) -> _Joints:
    seen = large[samples.owner]
    position, owner = samples.nodes[seen], samples.owner[seen]
    length = np.diff(samples.nodes, append=samples.starts[-1] + samples.lengths[-1])[seen]
    kept = length > 1e-6
    position, owner, length = position[kept], owner[kept], length[kept]
    corner_position, corner_owner, corner_turn = _corners(samples, position, owner, length)
    rounding, point = _apexes(samples, corner_position, corner_owner, corner_turn, tolerance)
    distance = _to_nearest_corner(samples, position, owner, corner_position, corner_owner)
    smooth = distance > ROUNDING + 0.25
    position, owner, distance = position[smooth], owner[smooth], distance[smooth]
    smooth_point, tangent = _smoothed(samples, position, owner, distance)
    joints = _Joints(
        np.concatenate([corner_position, position]),
        np.concatenate([corner_owner, owner]),
        np.concatenate([point, smooth_point]),
        np.concatenate([np.zeros(len(point)), tangent]),
        np.concatenate([rounding, np.zeros(len(position))]),
        np.concatenate([np.ones(len(point), bool), np.zeros(len(position), bool)]),
    )
    return _in_order(joints)


def _in_order(joints: _Joints) -> _Joints:
    order = np.argsort(joints.position, kind="stable")
    return _taken(joints, order)


def _taken(joints: _Joints, index: Ints) -> _Joints:
    return _Joints(
        joints.position[index],
        joints.owner[index],
        joints.point[index],
        joints.tangent[index],
        joints.rounding[index],
        joints.corner[index],
    )


def _corners(samples: _Samples, position: Floats, owner: Ints, length: Floats) -> tuple[Floats, Ints, Floats]:
    """(position, loop, turn) of corners, rising."""
    middle = length < 2 * NEAR
    position = np.concatenate([position, position[middle] + length[middle] / 2])
    owner = np.concatenate([owner, owner[middle]])
    near, far = (_turns(samples, position, owner, window) for window in (NEAR, FAR))
    blunt = (np.abs(near) > BLUNT) & (near * far > 0) & (np.abs(near) > 0.65 * np.abs(far))
    sharp = (np.abs(near) > SHARP) | (blunt & (np.abs(far) > BLUNT))
    position, owner, turn = position[sharp], owner[sharp], near[sharp]
    order = np.argsort(position)
    kept: list[int] = []
    for index in order.tolist():
        if kept and owner[kept[-1]] == owner[index] and position[index] - position[kept[-1]] < NEAR:
            if abs(turn[index]) > abs(turn[kept[-1]]):
                kept[-1] = index
        else:
            kept.append(index)
    chosen = np.array(kept, np.int64)
    # A corner at the very start of a loop may have been found at its end as well.
    before, _ = _gaps(samples, position[chosen], owner[chosen])
    twice = (before < NEAR) & (np.diff(owner[chosen], prepend=-1) != 0) & (before < samples.lengths[owner[chosen]])
    chosen = chosen[~twice]
    return position[chosen], owner[chosen], turn[chosen]


def _gaps(samples: _Samples, position: Floats, owner: Ints) -> tuple[Floats, Floats]:
    """Distance along the loop from each of some rising positions to the one before and to the one after it."""
    if not len(position):
        return position, position
    after = np.roll(position, -1) - position
    last = np.roll(owner, -1) != owner
    last[-1] = True
    first = np.roll(last, 1)
    group = np.cumsum(first) - 1
    wrap = position[first][group] + samples.lengths[owner] - position
    after = np.where(last, wrap, after)
    ends = np.flatnonzero(last)
    before = np.roll(after, 1)
    before[first] = after[ends]
    return before, after


def _apexes(
    samples: _Samples, position: Floats, owner: Ints, turn: Floats, tolerance: float
) -> tuple[Floats, Complexes]:
    """(rounding, point): where the sides of each corner meet when they are drawn on, if that is near."""
    before, after = _gaps(samples, position, owner)
    rounding = np.minimum(ROUNDING, 0.25 * np.minimum(before, after))
    reach = rounding + np.minimum(2.0, 0.3 * np.minimum(before, after))
    here = samples.at(position, owner)
    one, two = samples.at(position - rounding, owner), samples.at(position + rounding, owner)
    side_one = _unit(one - samples.at(position - reach, owner))
    side_two = _unit(samples.at(position + reach, owner) - two)
    cross = (np.conj(side_one) * side_two).imag
    cross = np.where(np.abs(cross) < 1e-6, 1e-6, cross)
    along = (np.conj(two - one) * side_two).imag / cross
    back = (np.conj(two - one) * side_one).imag / cross
    apex = one + along * side_one
    sharp = (along > 0) & (back < 0) & (np.abs(apex - here) <= APEX + tolerance) & (np.abs(cross) > 0.3)
    return rounding, np.where(sharp, apex, here)


def _to_nearest_corner(
    samples: _Samples, position: Floats, owner: Ints, corner_position: Floats, corner_owner: Ints
) -> Floats:
    """Along the loop; a quarter of the loop where it has no corner."""
    if not len(corner_position):
        return samples.lengths[owner] / 4
    first = np.searchsorted(corner_owner, owner, "left")
    stop = np.searchsorted(corner_owner, owner, "right")
    index = np.searchsorted(corner_position, position)
    length = samples.lengths[owner]
    top = len(corner_position) - 1
    next_one = np.where(
        index < stop,
        corner_position[np.minimum(index, top)],
        corner_position[np.minimum(first, top)] + length,
    )
    previous = np.where(
        index > first,
        corner_position[np.clip(index - 1, 0, top)],
        corner_position[np.clip(stop - 1, 0, top)] - length,
    )
    nearest = np.minimum(next_one - position, position - previous)
    return np.where(stop > first, nearest, length / 4)


def _smoothed(samples: _Samples, position: Floats, owner: Ints, distance: Floats) -> tuple[Complexes, Complexes]:
    """(point, unit tangent) of a parabola through five points around each joint (Savitzky and Golay 1964)."""
    spacing = np.clip((distance - ROUNDING) / 2, 0.1, 1.2)
    five = [samples.at(position + k * spacing, owner) for k in (-2, -1, 0, 1, 2)]
    point = (-3 * five[0] + 12 * five[1] + 17 * five[2] + 12 * five[3] - 3 * five[4]) / 35
    return point, _unit(2 * (five[4] - five[0]) + five[3] - five[1])


@dataclass(frozen=True, slots=True)
class _Fits:
    """Candidate segments, from joint `first` to joint `last`: degree, inner control points, largest error."""

    first: Ints
    last: Ints
    degree: Ints
    one: Complexes
    two: Complexes
    error: Floats


def _span_samples(samples: _Samples, joints: _Joints, first: Ints, last: Ints) -> tuple[Complexes, Floats, Floats]:
    """Points, (spans, FIT_SAMPLES), and their parameters, chord lengths from 0 to 1: of the first, and up to the last.

    Both float64 (spans,).
    """
    owner = joints.owner[first]
    begin, end = joints.position[first], joints.position[last]
    end = np.where(end <= begin, end + samples.lengths[owner], end)
    begin, end = begin + joints.rounding[first], end - joints.rounding[last]
    points = samples.at(begin[:, None] + (end - begin)[:, None] * _WEIGHTS, owner[:, None])
    lead, tail = np.abs(points[:, 0] - joints.point[first]), np.abs(joints.point[last] - points[:, -1])
    total = np.maximum(lead + tail + end - begin, 1e-9)
    return points, lead / total, (end - begin) / total


@dataclass(frozen=True, slots=True)
class _Spans:
    """What segments are fitted to. Coordinates are pixels from the start of each span, which is 0; planes are x and y.

    points: float32 (2, FIT_SAMPLES, spans). u: their parameters, 0 to 1, float32 (FIT_SAMPLES, spans). end: float32
    (2, spans). out, back: unit tangents into the segment at its ends, 0 where the direction is free, (2, spans).
    """

    points: Singles
    u: Singles
    end: Singles
    out: Singles
    back: Singles

    @classmethod
    def of(cls, samples: _Samples, joints: _Joints, first: Ints, last: Ints) -> _Spans:
        found, lead, way = _span_samples(samples, joints, first, last)
        start = joints.point[first]
        u = lead.astype(np.float32) + way.astype(np.float32) * _WEIGHTS.astype(np.float32)[:, None]
        points = _planes((found - start[:, None]).T)
        end = _planes(joints.point[last] - start)
        return cls(points, u, end, _planes(joints.tangent[first]), _planes(-joints.tangent[last]))

    def taken(self, index: Ints) -> _Spans:
        return _Spans(
            self.points.take(index, axis=2),
            self.u.take(index, axis=1),
            self.end.take(index, axis=1),
            self.out.take(index, axis=1),
            self.back.take(index, axis=1),
        )


def _planes(values: Complexes) -> Singles:
    """Complex numbers (...) as float32 (2, ...)."""
    planes = np.empty((2, *values.shape), np.float32)
    planes[0], planes[1] = values.real, values.imag
    return planes


def _lengths(planes: Singles) -> Singles:
    x, y = planes
    lengths: Singles = np.sqrt(x * x + y * y)
    return lengths


def _dot(left: Singles, right: Singles) -> Singles:
    product: Singles = left[0] * right[0] + left[1] * right[1]
    return product


def _directions(planes: Singles) -> Singles:
    directions: Singles = np.divide(planes, np.maximum(_lengths(planes), np.float32(1e-12)))
    return directions


def _off_lines(points: Singles, direction: Singles) -> Singles:
    """The largest distance of the points from the straight line that fits them best, which is near direction."""
    across = points[1] * direction[0] - points[0] * direction[1]
    across -= across.mean(0)
    across -= _CENTRED[:, None] * (_CENTRED @ across / (_CENTRED @ _CENTRED))
    error: Singles = np.abs(across).max(0)
    return error


def _off_axes(points: Singles, chord: Singles) -> Singles:
    """The largest distance of the points from a level or an upright line, infinite where the chord is neither."""
    x, y = np.abs(chord)
    across = np.where(y <= x, points[1], points[0])
    near: Bools = np.minimum(x, y) <= np.float32(np.sin(SMOOTH))
    return np.where(near, (across.max(0) - across.min(0)) / 2, np.float32(np.inf))


def _cubics(spans: _Spans) -> tuple[Singles, Singles, Singles]:
    """Least-squares cubics between fixed ends (Schneider 1990): the inner control points and the largest error."""
    points, u, end, out, back = spans.points, spans.u, spans.end, spans.out, spans.back
    length = _lengths(np.diff(points, axis=1)).sum(0) + _lengths(points[:, 0]) + _lengths(points[:, -1] - end)
    basis = _bernstein(u)
    open_out, open_back = ~out.any(0), ~back.any(0)
    if open_out.any() or open_back.any():
        one, two = _free(points, basis, end)
        out = np.where(open_out, _directions(one), out)
        back = np.where(open_back, _directions(two - end), back)
    for _ in range(2):
        one, two, sound = _held(points, basis, end, out, back, length)
        u = _nearer(points, u, basis, one, two, end)
        basis = _bernstein(u)
    error = _lengths(_curve(basis, one, two, end) - points).max(0)
    return one, two, np.where(sound, error, np.float32(np.inf))


def _curve(basis: Basis, one: Singles, two: Singles, end: Singles) -> Singles:
    _, b1, b2, b3 = basis
    curve: Singles = one[:, None] * b1
    curve += two[:, None] * b2
    curve += end[:, None] * b3
    return curve


def _moments(points: Singles, basis: Basis, end: Singles) -> tuple[Singles, Singles, Singles, Singles, Singles]:
    """The normal equations: of the inner polynomials among themselves, and with what the ends leave."""
    _, b1, b2, b3 = basis
    rest = points - end[:, None] * (b2 + b3)
    return (b1 * b1).sum(0), (b1 * b2).sum(0), (b2 * b2).sum(0), (b1 * rest).sum(1), (b2 * rest).sum(1)


def _free(points: Singles, basis: Basis, end: Singles) -> tuple[Singles, Singles]:
    """Inner control points where nothing but the ends is given."""
    a11, a12, a22, r1, r2 = _moments(points, basis, end)
    scale = np.maximum(a11 * a22 - a12 * a12, np.float32(1e-12))
    return np.divide(a22 * r1 - a12 * r2, scale), end + np.divide(a11 * r2 - a12 * r1, scale)


def _held(
    points: Singles, basis: Basis, end: Singles, out: Singles, back: Singles, length: Singles
) -> tuple[Singles, Singles, Bools]:
    """Inner control points on given tangents, and whether their distances from the ends are reasonable."""
    a11, a12, a22, sum1, sum2 = _moments(points, basis, end)
    a12 = a12 * _dot(out, back)
    r1, r2 = _dot(out, sum1), _dot(back, sum2)
    scale = np.maximum(a11 * a22 - a12 * a12, np.float32(1e-9))
    first: Singles = np.divide(a22 * r1 - a12 * r2, scale)
    second: Singles = np.divide(a11 * r2 - a12 * r1, scale)
    least = np.float32(0.02) * length
    sound = (first > least) & (second > least) & (first < length) & (second < length)
    return first * out, end + second * back, sound


def _nearer(points: Singles, u: Singles, basis: Basis, one: Singles, two: Singles, end: Singles) -> Singles:
    """One Gauss-Newton step of each parameter towards the nearest point of the curve."""
    v = 1 - u
    a, b, c = 3 * one, 6 * (two - one), 3 * (end - two)
    speed = a[:, None] * (v * v) + b[:, None] * (u * v) + c[:, None] * (u * u)
    apart = _curve(basis, one, two, end) - points
    step = _dot(apart, speed) / np.maximum(_dot(speed, speed), np.float32(1e-9))
    nearer: Singles = np.clip(u - step, np.float32(0), np.float32(1))
    return nearer


def _fitted(samples: _Samples, joints: _Joints, first: Ints, last: Ints, tolerance: float) -> _Fits:
    """The best of a line and a cubic for each span; the error is infinite where neither will do."""
    spans = _Spans.of(samples, joints, first, last)
    chord = _directions(spans.end)
    straight = _off_lines(spans.points, chord) <= LINE_TOLERANCE * tolerance
    straight |= _off_axes(spans.points, chord) <= AXIS_TOLERANCE * tolerance
    for tangent, way in ((spans.out, chord), (spans.back, -chord)):
        straight &= ~tangent.any(0) | (_dot(tangent, way) > np.cos(SMOOTH))
    straight &= _lengths(spans.end) > 1e-6
    curved = np.flatnonzero(~straight)
    start = joints.point[first]
    one, two, error = start.copy(), joints.point[last], np.zeros(len(first))
    if len(curved):
        inner_one, inner_two, error[curved] = _cubics(spans.taken(curved))
        one[curved] += _complexes(inner_one)
        two[curved] = start[curved] + _complexes(inner_two)
    return _Fits(first, last, np.where(straight, LINE, CUBIC), one, two, error)


def _complexes(planes: Singles) -> Complexes:
    complexes: Complexes = planes[0] + 1j * planes[1].astype(np.float64)
    return complexes


@dataclass(frozen=True, slots=True)
class _Chains:
    """The joints of all loops in the order in which their segments run: each loop starts at a corner and comes back.

    joint: index of the joint at each place; the first of a loop appears again as its last. room: how many places may
    follow before a corner or the end.
    """

    joint: Ints
    owner: Ints
    room: Ints
    bounds: list[tuple[int, int]]


def _chains(joints: _Joints) -> _Chains:
    low = np.flatnonzero(np.diff(joints.owner, prepend=-1))
    count = np.diff(low, append=len(joints.owner))
    loop = np.repeat(np.arange(len(low)), count + 1)
    begin = np.cumsum(count + 1) - count - 1
    places = np.arange(len(loop))
    local = places - begin[loop]
    order = low[loop] + (local + _chain_starts(joints, low, count)[loop]) % count[loop]
    last = local == count[loop]
    stops = np.append(np.flatnonzero(joints.corner[order] | last), len(places))
    room = np.where(last, 0, stops[np.searchsorted(stops, places, "right").clip(max=len(stops) - 1)] - places)
    bounds = list(zip(begin.tolist(), (begin + count).tolist(), strict=True))
    return _Chains(order, joints.owner[order], room, bounds)


def _chain_starts(joints: _Joints, low: Ints, count: Ints) -> Ints:
    """By loop, from its first joint on: the first corner or, where it has none, the leftmost joint."""
    left = np.repeat(np.minimum.reduceat(joints.point.real, low), count)
    corners = np.append(np.flatnonzero(joints.corner), len(left))
    leftmost = np.flatnonzero(joints.point.real == left)
    corner = corners[np.searchsorted(corners, low)]
    return np.where(corner < low + count, corner, leftmost[np.searchsorted(leftmost, low)]) - low


def _candidates(
    samples: _Samples, joints: _Joints, chains: _Chains, shortest: _Fits, spans: tuple[int, ...], tolerance: float
) -> list[_Fits]:
    """Spans that can be fitted, first and last as places in the chains; longer ones only where shorter ones fit.

    shortest: the fits from each joint to the next, which are taken as they are.
    """
    spans = spans if len(chains.joint) <= MOST_JOINTS else spans[:3]
    found = [shortest]
    count = len(chains.joint)
    fits = np.ones(count, bool)
    shorter = 1
    for span in spans:
        begin = np.flatnonzero((chains.room >= span) & fits)
        begin = begin[fits[begin + span - shorter]]
        if not len(begin):
            break
        fit = _fitted(samples, joints, chains.joint[begin], chains.joint[begin + span], tolerance)
        good = fit.error <= tolerance
        fits = np.zeros(count, bool)
        fits[begin[good]] = True
        found.append(replace(_picked(fit, np.flatnonzero(good)), first=begin[good], last=begin[good] + span))
        shorter = span
    return found


def _refitted(samples: _Samples, joints: _Joints, tolerance: float) -> dict[int, Loop]:
    """New loops by index; a loop with fewer than two joints has none."""
    count = np.bincount(joints.owner, minlength=len(samples.starts))
    joints = _taken(joints, np.flatnonzero(count[joints.owner] >= 2))
    if not len(joints.owner):
        return {}
    chains = _chains(joints)
    fits = _fitted(samples, joints, chains.joint[:-1], chains.joint[1:], tolerance)
    within = np.flatnonzero(chains.room > 0)
    fits = replace(_picked(fits, within), first=within, last=within + 1)
    fits = _cheapest(samples, joints, chains, fits, SPANS, tolerance)
    for _ in range(MOST_ROUNDS):
        # Only some lengths of spans were tried: once more, between the joints that are left.
        left = np.unique(chains.joint[fits.first])
        if len(left) == len(joints.owner):
            break
        joints = _taken(joints, left)
        chains = _chains(joints)
        within = np.flatnonzero(chains.room > 0)
        fits = replace(fits, first=within, last=within + 1)
        fits = _cheapest(samples, joints, chains, fits, SPANS[:3], tolerance)
    return _loops(samples, joints, chains, fits, tolerance)


def _joined(fits: list[_Fits]) -> _Fits:
    return _Fits(
        np.concatenate([fit.first for fit in fits]),
        np.concatenate([fit.last for fit in fits]),
        np.concatenate([fit.degree for fit in fits]),
        np.concatenate([fit.one for fit in fits]),
        np.concatenate([fit.two for fit in fits]),
        np.concatenate([fit.error for fit in fits]),
    )


def _picked(fits: _Fits, index: Ints) -> _Fits:
    return _Fits(
        fits.first[index],
        fits.last[index],
        fits.degree[index],
        fits.one[index],
        fits.two[index],
        fits.error[index],
    )


def _cheapest(
    samples: _Samples,
    joints: _Joints,
    chains: _Chains,
    shortest: _Fits,
    spans: tuple[int, ...],
    tolerance: float,
) -> _Fits:
    """The fits that make up the cheapest way along each chain, in the order of the chains."""
    fits = _joined(_candidates(samples, joints, chains, shortest, spans, tolerance))
    return _picked(fits, _cheapest_way(chains, fits, tolerance))


def _cheapest_way(chains: _Chains, fits: _Fits, tolerance: float) -> Ints:
    """Indices of fits, by dynamic programming."""
    cost = np.where(fits.degree == LINE, COSTS[LINE], COSTS[CUBIC])
    cost = cost + 0.3 * np.minimum(fits.error / tolerance, 100.0)
    order = np.argsort(fits.last, kind="stable")
    best = [0.0 if place == 0 else np.inf for place in range(len(chains.joint))]
    for low, _ in chains.bounds:
        best[low] = 0.0
    via = [-1] * len(best)
    columns = (fits.first[order].tolist(), fits.last[order].tolist(), cost[order].tolist(), order.tolist())
    for first, last, price, index in zip(*columns, strict=True):
        if best[first] + price < best[last]:
            best[last] = best[first] + price
            via[last] = index
    chosen: list[int] = []
    starts = fits.first.tolist()
    for low, high in reversed(chains.bounds):
        place = high
        while place > low:
            chosen.append(via[place])
            place = starts[via[place]]
    return np.array(chosen[::-1], np.int64)


def _loops(samples: _Samples, joints: _Joints, chains: _Chains, fits: _Fits, tolerance: float) -> dict[int, Loop]:
    """The chosen segments put together: lines straightened, joints moved to where they meet, cubics fitted again."""
    first, last = chains.joint[fits.first], chains.joint[fits.last]
    joints = _straightened(samples, joints, first, last, fits.degree == LINE, tolerance)
    one, two = fits.one.copy(), fits.two.copy()
    curved = np.flatnonzero(fits.degree == CUBIC)
    if len(curved):
        a, b = first[curved], last[curved]
        start, end = joints.point[a], joints.point[b]
        inner_one, inner_two, error = _cubics(_Spans.of(samples, joints, a, b))
        new_one, new_two = start + _complexes(inner_one), start + _complexes(inner_two)
        good = error <= np.maximum(1.5 * tolerance, 1.2 * fits.error[curved])
        # Where the fit fails there is none to keep either: the straight thirds, which a tiny span can bear.
        third = (end - start) / 3
        old_one, old_two = one[curved], two[curved]
        sound = np.isfinite(fits.error[curved])
        one[curved] = np.where(good, new_one, np.where(sound, old_one, start + third))
        two[curved] = np.where(good, new_two, np.where(sound, old_two, end - third))
    return _assembled(joints, first, last, fits.degree, one, two)


def _straightened(
    samples: _Samples, joints: _Joints, first: Ints, last: Ints, line: Bools, tolerance: float
) -> _Joints:
    """Lines as their points lie, upright and level ones exactly so; joints where two lines meet, or on the one line."""
    if not line.any():
        return joints
    a, b = first[line], last[line]
    points, _, _ = _span_samples(samples, joints, a, b)
    chord = joints.point[b] - joints.point[a]
    middle = points[:, FIT_SAMPLES // 8 : -FIT_SAMPLES // 8].mean(1)
    centred = points - points.mean(1)[:, None]
    direction = np.sqrt((centred**2).sum(1))
    direction = np.where((direction * np.conj(chord)).real < 0, -direction, direction)
    direction = np.where(np.abs(direction) < 1e-9, _unit(chord), _unit(direction))
    reach = np.abs(chord) / 2
    level = (np.abs(direction.imag) * reach <= AXIS_TOLERANCE * tolerance) & (np.abs(direction.imag) < np.sin(SMOOTH))
    upright = (np.abs(direction.real) * reach <= AXIS_TOLERANCE * tolerance) & (np.abs(direction.real) < np.sin(SMOOTH))
    direction = np.where(level & ~upright, np.sign(direction.real), direction)
    direction = np.where(upright & ~level, 1j * np.sign(direction.imag), direction)
    before = np.full(len(joints.point), -1)
    after = before.copy()
    before[b], after[a] = np.arange(len(b)), np.arange(len(a))
    return _met(joints, before, after, middle, direction, tolerance)


def _met(
    joints: _Joints, before: Ints, after: Ints, middle: Complexes, direction: Complexes, tolerance: float
) -> _Joints:
    """before, after: the line that ends and the one that starts at each joint, or -1."""
    both = (before >= 0) & (after >= 0)
    either = np.where(after >= 0, after, before)
    m1, d1, m2, d2 = middle[before], direction[before], middle[either], direction[either]
    cross = (np.conj(d1) * d2).imag
    meet = both & (np.abs(cross) > 0.2)
    met = m1 + d1 * (np.conj(m2 - m1) * d2).imag / np.where(np.abs(cross) > 0.2, cross, 1)
    onto = m2 + d2 * ((joints.point - m2) * np.conj(d2)).real
    moved = np.where(meet, met, np.where(either >= 0, onto, joints.point))
    allowed = np.where(joints.corner, 0.6 + 2 * tolerance, 2 * tolerance)
    moved = np.where(np.abs(moved - joints.point) <= allowed, moved, joints.point)
    alone = (either >= 0) & ~both & ~joints.corner
    return replace(joints, point=moved, tangent=np.where(alone, d2, joints.tangent))


def _assembled(
    joints: _Joints, first: Ints, last: Ints, degree: Ints, one: Complexes, two: Complexes
) -> dict[int, Loop]:
    owner = joints.owner[first]
    edges = np.flatnonzero(np.diff(owner, prepend=-1, append=-1))
    table = np.stack([one, two, joints.point[last]], 1)
    used = np.stack([degree == CUBIC, degree == CUBIC, np.ones(len(degree), bool)], 1)
    result: dict[int, Loop] = {}
    for low, high in pairwise(edges.tolist()):
        points = np.concatenate([joints.point[first[low : low + 1]], table[low:high][used[low:high]]])
        result[int(owner[low])] = Loop(np.stack([points.real, points.imag], 1), degree[low:high].astype(np.uint8))
    return result
