"""The paint of each shape, fitted to the pixels that it shows.

A tracer gives a shape the mean colour of its cluster: soft edges are in it, a gradient becomes one colour or a stack of
bands, and half-transparent pixels become opaque. Here each shape gets the median colour of its inner pixels or, where
one colour would look wrong, a linear or radial gradient with two to four stops. Outlines stay as they are.

Visible differences are distances in OKLab (Ottosson 2020) times 100: about 2 can just be seen side by side. Gradients
are fitted in sRGB, in which SVG interpolates. Coordinates are those of the drawing; a pixel's centre lies at + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.pixels import LMS_TO_OKLAB, SRGB_TO_LMS, linear_light
from pipeline.core.records import Pixels
from pipeline.svg.shapes import Drawing, Flat, LinearGradient, Paint, Point, RadialGradient, Shape, Stop

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]
DrawLabels = Callable[[Drawing], Labels]

SAMPLES = 768
"""Pixels that speak for a shape, at most."""
BINS = 24
"""Parts of a gradient's length whose mean colours its stops are fitted to."""
DESCENTS = 7
"""Steps of the search for a gradient's direction or centre."""
MOST_STOPS = 4
BEND = 1.0
"""Visible difference from a straight line that is worth another stop, in a part with as many pixels as any."""
ENOUGH_INSIDE = 6
"""Inner pixels from which on a shape's edge pixels have no say."""
CLEAR, OPAQUE = 5, 250
"""Levels of alpha: what lies between is half transparent."""
EVEN = 0.5
"""Standard deviation in levels up to which the mean will do."""
STEADY = 2.0
"""Standard deviation in levels of the most varied channel, up to which a shape has one colour: a gradient whose ends
differ by 7 levels, less than the least visible one."""
EXPLAINED = 0.7
"""Of the error of one colour, what a gradient may leave."""
DITHERED = 4.0
"""Levels by which the inner pixels of an image differ from their neighbourhood on average, when it is dithered."""
SMALL = 40
"""Pixels; a gradient in a smaller shape must have twice the range."""
ENOUGH_FOR_A_GRADIENT = 16
"""Inner pixels. Without them, what varies is the soft edge."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Pixels of one shape: where they are, float32 (n, 2), and their straight RGBA, 0 to 255, float32 (n, 4).

    size: pixels that the shape shows. inner: whether these are inner ones.
    """

    at: Floats
    rgba: Floats
    size: int
    inner: bool

    @property
    def opaque(self) -> bool:
        return bool(self.rgba[:, 3].min() >= 255)


@dataclass(frozen=True, slots=True)
class Profile:
    """Colour along one coordinate, straight between knots.

    knots: float32 (k,), 0 to 1, rising. rgba: float32 (k, 4), straight, 0 to 255. start, end: the coordinate at 0, 1.
    error: visible difference, root mean square over the pixels that it was fitted to.
    """

    knots: Floats
    rgba: Floats
    start: float
    end: float
    error: float

    @property
    def stops(self) -> tuple[Stop, ...]:
        found = [_paint_of(values) for values in self.rgba]
        return tuple(
            Stop(round(float(knot), 3), flat.color, flat.opacity) for knot, flat in zip(self.knots, found, strict=True)
        )


def refit(drawing: Drawing, rgba: Pixels, draw_labels: DrawLabels, visible: float = 3.5) -> Drawing:
    """The same outlines in better paints.

    rgba: uint8 (drawing.height, drawing.width, 4), straight alpha, the image before any preparation.
    draw_labels: `raster.labels`, the number of the shape that each pixel shows, int32 (height, width), -1 for none.
    visible: the range of colour, in OKLab times 100, from which on a gradient is written.

    A shape that shows no pixel keeps its paint. Half-transparent pixels give a shape opacity only where it alone
    covers them; what lies over other shapes stays opaque, so trace in cutout mode where `needs_cutout` says so.
    Raises ValueError when the image is not of the drawing's size.
    """
    if rgba.shape != (drawing.height, drawing.width, 4):
        raise ValueError(f"the image is {rgba.shape}, the drawing {drawing.width} x {drawing.height}")
    if not drawing.shapes:
        return drawing
    shown = draw_labels(drawing)
    see_through = _see_through(drawing, shown, rgba, draw_labels)
    paints = [shape.paint for shape in drawing.shapes]
    samples = _samples(shown, rgba, len(paints))
    means, deviations = samples.steady()
    for place, index in enumerate(samples.shapes.tolist()):
        if deviations[place] <= EVEN and means[place, 3] >= OPAQUE:
            paints[index] = _paint_of(means[place])
        else:
            paints[index] = _paint(samples.of(place), index in see_through, visible)
    return replace(drawing, shapes=tuple(map(_painted, drawing.shapes, paints)))


def _painted(shape: Shape, paint: Paint) -> Shape:
    return Shape(shape.outline, paint)


CALM, CALM_SHARE = 48, 0.35
"""Range of alpha in 3 x 3 pixels up to which it changes slowly, and the part of half-transparent pixels that must.

Of 49 images, blurred edges had parts up to 0.32, half-transparent areas from 0.5 on.
"""


def needs_cutout(rgba: Pixels, share: float = 0.002) -> bool:
    """Whether at least this share of an image is half transparent, soft edges apart: uint8 (H, W, 4).

    Then shapes must not lie over others, or what is below them shows through. Where an edge is blurred over many
    pixels, as in an image that was enlarged, alpha changes fast nearly everywhere; in glass, fades and shadows it does
    not.
    """
    alpha = rgba[..., 3]
    if np.count_nonzero((alpha >= CLEAR) & (alpha <= OPAQUE)) < share * alpha.size:
        return False
    half, window = _half_transparent(rgba), np.ones((3, 3), np.uint8)
    calm = half & (cv2.dilate(alpha, window) - cv2.erode(alpha, window) <= CALM)
    return bool(calm.mean() >= share and np.count_nonzero(calm) >= CALM_SHARE * np.count_nonzero(half))


def _half_transparent(rgba: Pixels) -> NDArray[np.bool_]:
    """Pixels that are half transparent like all their neighbours: bool (H, W)."""
    alpha = rgba[..., 3]
    if alpha.min() > OPAQUE:
        return np.zeros(alpha.shape, np.bool_)
    half = ((alpha >= CLEAR) & (alpha <= OPAQUE)).astype(np.uint8)
    return cv2.erode(half, np.ones((3, 3), np.uint8)).astype(np.bool_)


def _see_through(drawing: Drawing, shown: Labels, rgba: Pixels, draw_labels: DrawLabels) -> frozenset[int]:
    """Shapes most of whose inner pixels are half transparent and covered by no other shape."""
    half = _half_transparent(rgba)
    if not half.any():
        return frozenset()
    lowest = len(drawing.shapes) - 1 - draw_labels(replace(drawing, shapes=drawing.shapes[::-1]))
    count = len(drawing.shapes)
    inner = _inner(shown)
    alone = np.bincount(shown[inner & half & (lowest == shown)], minlength=count)
    of_all = np.bincount(shown[inner], minlength=count)
    return frozenset(np.flatnonzero((alone > 0) & (alone * 2 >= of_all)).tolist())


def _inner(shown: Labels) -> NDArray[np.bool_]:
    """Pixels of a shape whose eight neighbours are of the same shape: bool (H, W)."""
    whole = shown.astype(np.float32) if shown.max() >= 0xFFFF else (shown + 1).astype(np.uint16)
    square = np.ones((3, 3), np.uint8)
    same: NDArray[np.bool_] = cv2.erode(whole, square) == cv2.dilate(whole, square)
    return same & (shown >= 0)


@dataclass(frozen=True, slots=True)
class Samples:
    """Those of all shapes, one shape's after the other's.

    at: float32 (n, 2). rgba: float32 (n, 4). shapes: the indices of those that show a pixel, rising. starts: where each
    begins, and the end. sizes: pixels that each shows. inner: whether its sample is of inner pixels.
    """

    at: Floats
    rgba: Floats
    shapes: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    inner: NDArray[np.bool_]

    def of(self, place: int) -> Sample:
        part = slice(self.starts[place], self.starts[place + 1])
        return Sample(self.at[part], self.rgba[part], int(self.sizes[place]), bool(self.inner[place]))

    def steady(self) -> tuple[Floats, Floats]:
        """By shape: the mean colour, (k, 4), and the standard deviation of the most varied channel, (k,)."""
        counts = np.diff(self.starts)[:, np.newaxis].astype(np.float32)
        mean = (np.add.reduceat(self.rgba, self.starts[:-1]) / counts).astype(np.float32)
        away = self.rgba - np.repeat(mean, np.diff(self.starts), axis=0)
        spread = (np.add.reduceat(away * away, self.starts[:-1]) / counts).astype(np.float32)
        deviations: Floats = np.sqrt(spread.max(axis=1))
        return mean, deviations


def _samples(shown: Labels, rgba: Pixels, count: int) -> Samples:
    """Each shape that shows a pixel, by its inner pixels or, where it has next to none, by all."""
    inner = _inner(shown)
    sizes = np.bincount(shown.ravel() + 1, minlength=count + 1)[1:]
    thin = np.append(np.bincount(shown[inner], minlength=count) < ENOUGH_INSIDE, False)
    taken = np.flatnonzero(inner | (thin[shown] & (shown >= 0)))
    of = shown.ravel()[taken]
    counts = np.bincount(of, minlength=count)
    order = taken[np.argsort(of.astype(np.uint16) if count <= 0xFFFF else of, kind="stable")]
    shapes = np.flatnonzero(counts)
    begins = (np.cumsum(counts) - counts)[shapes]
    picks = [begin + _spread(size) for begin, size in zip(begins.tolist(), counts[shapes].tolist(), strict=True)]
    chosen = order[np.concatenate(picks)] if picks else order
    width = shown.shape[1]
    at = np.stack([chosen % width, chosen // width], axis=1).astype(np.float32) + np.float32(0.5)
    starts = np.cumsum([0, *map(len, picks)])
    return Samples(
        at,
        _without_dither(rgba, inner).reshape(-1, 4)[chosen].astype(np.float32),
        shapes,
        starts,
        sizes[shapes],
        ~thin[shapes],
    )


def _without_dither(rgba: Pixels, inner: NDArray[np.bool_]) -> Pixels:
    """The image, averaged over 3 x 3 pixels where dithering or noise makes the pixels of one shape differ a lot.

    A median by channel would be a colour that the image does not have. Flat shapes keep their own pixels, since an
    average would mix a thin one with its soft edges.
    """
    averaged: Pixels = cv2.blur(rgba, (3, 3)).astype(np.uint8, copy=False)
    if not inner.any() or float(np.abs(averaged[inner].astype(np.int16) - rgba[inner]).mean()) <= DITHERED:
        return rgba
    return averaged


def _spread(count: int) -> NDArray[np.int64]:
    """Indices below `count`, SAMPLES at most, evenly spread without a period (a golden-ratio sequence)."""
    if count <= SAMPLES:
        return np.arange(count)
    return (np.arange(SAMPLES) * 0.6180339887498949 % 1 * count).astype(np.int64)


def _paint(sample: Sample, see_through: bool, visible: float) -> Paint:
    if not see_through:
        sample = _opaque(sample)
    flat = _paint_of(_medians(sample.rgba))
    if not sample.inner or len(sample.at) < ENOUGH_FOR_A_GRADIENT or sample.rgba.std(axis=0).max() <= STEADY:
        return flat
    gradient = _gradient(sample, flat, visible if sample.size >= SMALL else 2 * visible)
    return gradient or flat


def _medians(rgba: Floats) -> Floats:
    """By channel: float32 (4,). A tenth of the time that numpy's takes for a few hundred pixels."""
    ordered = np.sort(np.ascontiguousarray(rgba.T), axis=1)
    middle = len(rgba) // 2
    medians: Floats = (
        ordered[:, middle] if len(rgba) % 2 else np.float32(0.5) * (ordered[:, middle - 1] + ordered[:, middle])
    )
    return medians


def _opaque(sample: Sample) -> Sample:
    """The colours alone. Pixels that are next to transparent have no colour to speak of and are left out."""
    seen = sample.rgba[:, 3] >= CLEAR
    at, rgba = (sample.at[seen], sample.rgba[seen]) if seen.any() else (sample.at, sample.rgba.copy())
    rgba[:, 3] = 255
    return Sample(at, rgba, sample.size, sample.inner)


def _paint_of(rgba: Floats) -> Flat:
    red, green, blue, alpha = np.clip(np.rint(rgba), 0, 255).astype(int).tolist()
    return Flat((red, green, blue), 1.0 if alpha > OPAQUE else max(0.01, round(alpha / 255, 2)))


def _values_of(flat: Flat) -> Floats:
    return np.array([*flat.color, flat.opacity * 255], np.float32)


def _gradient(sample: Sample, flat: Flat, visible: float) -> Paint | None:
    """The gradient that looks clearly more like the pixels than one colour does, if any."""
    views = _views(sample.rgba, sample.opaque)
    grey = _principal(views)
    if np.ptp(grey) < visible:
        return None
    flat_error = _rms(views - _views(_values_of(flat)[np.newaxis], sample.opaque))
    paint: Paint | None = None
    error = flat_error
    linear = _linear(sample, views, grey, EXPLAINED * flat_error)
    if linear is not None:
        (start, end), profile = linear
        if _pays(profile, flat_error, visible):
            paint, error = LinearGradient(start, end, profile.stops), profile.error
    if error > 1.0:
        radial = _radial(sample, views, grey, min(EXPLAINED * flat_error, 0.75 * error, error - 0.3))
        if radial is not None:
            center, profile = radial
            if _pays(profile, flat_error, visible) and profile.error < 0.75 * error and profile.error < error - 0.3:
                paint = _radial_paint(center, profile)
    return paint


def _pays(profile: Profile, flat_error: float, visible: float) -> bool:
    """Whether a gradient's ends differ visibly, and it explains most of what one colour leaves."""
    views = _views(profile.rgba, bool((profile.rgba[:, 3] > OPAQUE).all()))
    ends = float(np.linalg.norm(views[:, np.newaxis] - views[np.newaxis], axis=2).max())
    return ends >= visible and profile.error < EXPLAINED * flat_error


def _radial_paint(center: Point, profile: Profile) -> RadialGradient:
    """SVG's radial gradients begin at the centre, so the stops move outwards by where the profile begins."""
    stops = tuple(
        replace(stop, offset=round((profile.start + stop.offset * (profile.end - profile.start)) / profile.end, 3))
        for stop in profile.stops
    )
    return RadialGradient(center, profile.end, stops)


def _linear(sample: Sample, views: Floats, grey: Floats, most: float) -> tuple[tuple[Point, Point], Profile] | None:
    """The line along which the colour changes most, and the colour along it; None where the error is above `most`.

    grey: `_principal` of the views.
    """
    middle = sample.at.mean(axis=0)
    at = sample.at - middle
    seen = _premultiplied(sample.rgba)
    slopes = np.linalg.lstsq(at.T @ at, at.T @ (seen - seen.mean(axis=0)), rcond=None)[0]
    (across, both), (_, down) = (slopes @ slopes.T).tolist()
    angle = np.array([np.arctan2(2 * both, across - down) / 2], np.float32)

    def along(turns: Floats) -> Floats:
        shifted: Floats = np.cos(turns) * at[:, 0] + np.sin(turns) * at[:, 1]
        return shifted

    angle, left = _descend(lambda turns: _unexplained(along(turns), grey), angle, _TURNS, 0.1)
    if left * float(grey @ grey) > most**2 * len(grey):
        return None
    best = _profile(along(angle), sample.rgba, views)
    if best is None:
        return None
    unit = np.array([np.cos(angle[0]), np.sin(angle[0])])
    return (_point(middle + unit * best.start), _point(middle + unit * best.end)), best


def _radial(sample: Sample, views: Floats, grey: Floats, most: float) -> tuple[Point, Profile] | None:
    """The centre around which the colour changes, and the colour by the distance from it. As in `_linear`."""
    middle = sample.at.mean(axis=0)
    at = sample.at - middle
    extent = float(np.abs(at).max())
    unit = at / np.float32(extent)
    paraboloid = np.column_stack([unit, (unit**2).sum(axis=1), np.ones(len(at), np.float32)])
    solved = np.linalg.lstsq(paraboloid.T @ paraboloid, paraboloid.T @ grey, rcond=None)[0]
    across, down, bend, _ = solved.tolist()
    if abs(bend) * 6 < np.hypot(across, down):  # The centre is more than three extents away.
        return None
    center = np.array([-across / (2 * bend), -down / (2 * bend)], np.float32) if bend else np.zeros(2, np.float32)

    def around(centers: Floats) -> Floats:
        distances: Floats = np.hypot(at[:, 0] - centers[..., :1], at[:, 1] - centers[..., 1:])
        return distances

    center *= np.float32(extent)
    center, left = _descend(lambda centers: _unexplained(around(centers), grey), center, _MOVES, extent / 4)
    if left * float(grey @ grey) > most**2 * len(grey):
        return None
    best = _profile(around(center), sample.rgba, views)
    return None if best is None else (_point(middle + center), best)


def _principal(views: Floats) -> Floats:
    """Along the direction in which they vary most, about their mean: float32 (n,)."""
    away = views - views.mean(axis=0)
    principal: Floats = away @ np.linalg.eigh(away.T @ away)[1][:, -1]
    return principal


def _unexplained(along: Floats, grey: Floats) -> Floats:
    """For each of some coordinates the part of the values' variance that the means of BINS parts of its length leave.

    along: float32 (k, n). grey: float32 (n,), of mean 0. The result is (k,). A smooth profile is what is meant; BINS
    means are quicker and rank the same.
    """
    low, high = along.min(axis=1, keepdims=True), along.max(axis=1, keepdims=True)
    part = ((along - low) * (np.float32(BINS - 0.01) / np.maximum(high - low, np.float32(1e-3)))).astype(np.intp)
    rows = len(along)
    part = (part + np.arange(rows)[:, np.newaxis] * BINS).ravel()
    sums = np.bincount(part, np.tile(grey, rows), rows * BINS).reshape(rows, BINS)
    counts = np.bincount(part, minlength=rows * BINS).reshape(rows, BINS)
    left: Floats = 1 - (sums * sums / np.maximum(counts, 1)).sum(axis=1) / max(float(grey @ grey), 1e-9)
    return left


_TURNS = np.array([[0], [1], [-1], [2], [-2], [3], [-3]], np.float32)
_MOVES = np.array([[x, y] for x in (0, 1, -1) for y in (0, 1, -1)], np.float32)


def _descend(cost: Callable[[Floats], Floats], start: Floats, ways: Floats, step: float) -> tuple[Floats, float]:
    """Downhill by the best of all ways at once, the first of which is to stay: the place and its cost.

    The step shrinks to a third where staying is best and, along one axis, each time.
    """
    best, lowest = start, np.inf
    for _ in range(DESCENTS):
        trials = best + ways * np.float32(step)
        costs = cost(trials)
        chosen = int(costs.argmin())
        best, lowest = trials[chosen], float(costs[chosen])
        if lowest <= 0.003:
            break
        if chosen == 0 or len(start) == 1:
            step /= 3
    return best, lowest


def _point(at: NDArray[np.floating]) -> Point:
    return float(at[0]), float(at[1])


def _profile(along: Floats, rgba: Floats, views: Floats) -> Profile | None:
    """The colour as a function of one coordinate, float32 (n,); None where it does not vary.

    Two knots at the ends, and up to two more, each where the line is furthest from the mean colours.
    """
    low, high = float(along.min()), float(along.max())
    if high - low < 1:
        return None
    place = (along - low) * np.float32(1 / (high - low))
    means, places, counts = _bins(place, rgba)
    knots = np.array([0, 1], np.float32)
    opaque = views.shape[1] == 3
    wanted = _views(means, opaque)
    while True:
        hats = _hats(knots, places)
        distances = np.abs(places[:, np.newaxis] - knots)
        fitted = _at_knots(hats, distances, means, counts)
        if len(knots) == MOST_STOPS:
            break
        away = _views(hats @ fitted, opaque) - wanted
        misses = (away * away).sum(axis=1) * counts
        misses[distances.min(axis=1) < 1.5 / BINS] = 0
        worst = int(misses.argmax())
        if misses[worst] < BEND**2 * counts.max():
            break
        knots = np.sort(np.append(knots, places[worst]))
    error = _rms(_views(_hats(knots, place) @ fitted, opaque) - views)
    return Profile(knots, fitted, low, high, error)


def _bins(place: Floats, rgba: Floats) -> tuple[Floats, Floats, Floats]:
    """By part of the length, empty ones left out: mean straight colour, mean place, number of pixels."""
    part = np.minimum((place * BINS).astype(np.int64), BINS - 1)
    weight = rgba[:, 3]
    sums = np.stack(
        [np.bincount(part, values, BINS) for values in (*(rgba[:, :3] * weight[:, np.newaxis]).T, weight, place)]
    )
    counts = np.bincount(part, minlength=BINS)
    some = counts > 0
    sums, counts = sums[:, some], counts[some]
    means = np.column_stack([(sums[:3] / np.maximum(sums[3], 1)).T, sums[3] / counts])
    return means.astype(np.float32), (sums[4] / counts).astype(np.float32), counts.astype(np.float32)


def _at_knots(hats: Floats, distances: Floats, means: Floats, counts: Floats) -> Floats:
    """Colours at the knots, by least squares over the parts. hats, distances: float32 (parts, knots)."""
    weighted = hats * counts[:, np.newaxis]
    # A little weight keeps the ends near the colours that were seen where a knot has few pixels around it.
    anchor = means[distances.argmin(axis=0)]
    weight = np.float32(0.0025 * counts.mean())
    normal = (weighted.T @ hats).astype(np.float64) + weight * np.eye(hats.shape[1])
    solved = np.linalg.solve(normal, weighted.T @ means + weight * anchor)
    return np.clip(solved, 0, 255).astype(np.float32)


def _hats(knots: Floats, places: Floats) -> Floats:
    """How much each knot says at each place: float32 (places, knots), rows add up to 1."""
    past = np.ones((len(places), len(knots) + 1), np.float32)
    past[:, -1] = 0
    past[:, 1:-1] = np.clip((places[:, np.newaxis] - knots[:-1]) / np.maximum(np.diff(knots), np.float32(1e-6)), 0, 1)
    hats: Floats = past[:, :-1] - past[:, 1:]
    return hats


def _premultiplied(rgba: Floats) -> Floats:
    """float32 (n, 4): what shows on black, and alpha."""
    return np.column_stack([rgba[:, :3] * (rgba[:, 3:] / 255), rgba[:, 3]])


_LINEAR = linear_light(4 * 255)
"""Of sRGB in quarters of a level."""
_LMS, _LAB = np.array(SRGB_TO_LMS, np.float32), np.array(LMS_TO_OKLAB, np.float32)


def _oklab(rgb: Floats) -> Floats:
    """OKLab times 100 of sRGB, 0 to 255: float32 (n, 3)."""
    linear = _LINEAR[(rgb * 4 + np.float32(0.5)).astype(np.int32)]
    lab: Floats = np.cbrt(linear @ _LMS.T) @ (_LAB.T * np.float32(100))
    return lab


def _views(rgba: Floats, opaque: bool) -> Floats:
    """How colours look, in OKLab times 100: float32 (n, 3) if opaque, else (n, 6), on white and on black."""
    if opaque:
        return _oklab(rgba[:, :3])
    alpha = rgba[:, 3:] * np.float32(1 / 255)
    on_black = rgba[:, :3] * alpha
    return np.hstack([_oklab(on_black + 255 * (1 - alpha)), _oklab(on_black)]) * np.float32(np.sqrt(0.5))


def _rms(differences: Floats) -> float:
    """Root mean square of the lengths of the rows."""
    return float(np.sqrt((differences**2).sum(axis=1).mean()))
