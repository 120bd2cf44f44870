"""Visible damage of a rendered SVG, from the image that was traced alone: an estimate of its area in pixels.

A pixel counts where the drawing has a colour that the image does not have there, nor within `SLACK` pixels, and the
same holds on average for the 5 x 5 pixels around it. Edges that moved by a fraction of a pixel are forgiven that way;
a lost detail, a merged colour, a rounded corner and an opaque background are not. A hairline would be forgiven too, so
a pixel also counts, in part, where the mean colour of the 5 x 5 pixels around it changed by much of their contrast. And
each pixel of a flat area counts a little if its colour has visibly changed, although by less.
Colours are compared in OKLab (Ottosson 2020), on a white and on a dark background, so transparency is part of the
picture.

Image and drawing are compared at the size of the image, because a perfect vector drawn with anti-aliasing gives the
image back there; an enlarged image has edges that no vector has. Every step is an elementary operation on float32 or an
exact one on integers: the result is the same to the bit on any memory layout, with any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.pixels import LMS_TO_OKLAB, SRGB_TO_LMS, linear_light, on_background
from pipeline.core.records import Pixels
from pipeline.tracing.preparation import packed

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

BACKGROUNDS = ((255, 255, 255), (0x20, 0x24, 0x2C))
"""A page in light and in dark mode."""

SLACK = 0.5
"""Pixels that an edge may move along x or y, or along both at once: a phase that rasterisers differ by."""

NOTICED = 8.0
"""OKLab distance x 100 above which a pixel can count."""

FAINT, OBVIOUS = 5.0, 10.0
"""Mean distances over a window: from the first on its middle counts, from the second on in full."""

MISSED, LOST = 0.16, 0.19
"""Mean colour differences over a window, of the contrast in it: from the first on its middle counts, from the second on
in full. A line one pixel wide is a fifth of its window; an edge that moves by `SLACK` pixels is a tenth.
"""

DIM = 6.0
"""Mean colour difference over a window up to which a line that is lost is hardly missed."""

THIN = 0.25
"""The part of a pixel that counts where a line is lost: four pixels of it are visible."""

SHIFTED, WIDE = 5.0, 0.02
"""OKLab distance x 100 above which a flat area has visibly another colour, and the part of each of its pixels that
counts: fifty are visible. Two colours that were merged are often no farther apart.
"""

_SEEN = 4.0
"""Pixels whose colour differs by less are taken for identical: they cannot count alone, and hardly move a mean."""

_FLAT = 1.0
"""Where no neighbour differs by more the image has no edge that could have moved."""

_SOFT = np.uint32(0x00FFFFFF)
"""What no premultiplied pixel is."""

_UNIT = 1024
"""Sums are of whole numbers of this fraction."""

_LINEAR = linear_light(255)


@dataclass(frozen=True, slots=True)
class Damage:
    """score: estimated area of visible damage in pixels, 0 for an identical drawing; seen from VISIBLE_DAMAGE on.

    delta: mean colour error over the canvas on white, OKLab distance x 100.
    """

    score: float
    delta: float


@dataclass(frozen=True, eq=False, slots=True)
class Ground:
    """An image on one background.

    packed: uint32 (H, W), as `packed` packs opaque pixels. lab: float32 (3, H + 2, W + 2), OKLab x 100 with the border
    repeated once. edges: bool (H, W), where a neighbour has another colour. contrast: float32 (H, W), the length of the
    ranges of lab in the 5 x 5 pixels around one.
    """

    background: tuple[int, int, int]
    packed: NDArray[np.uint32]
    lab: Floats
    edges: NDArray[np.bool_]
    contrast: Floats

    @classmethod
    def of(cls, rgb: Pixels, background: tuple[int, int, int]) -> Ground:
        padded = np.pad(rgb, ((1, 1), (1, 1), (0, 0)), mode="edge")
        lab = oklab(padded.reshape(-1, 3)).reshape(3, *padded.shape[:2])
        opaque = np.pad(rgb, ((0, 0), (0, 0), (0, 1)), constant_values=255)
        return cls(background, packed(opaque), lab, _edges(lab), _contrast(lab))

    @property
    def nbytes(self) -> int:
        return int(self.packed.nbytes + self.lab.nbytes + self.edges.nbytes + self.contrast.nbytes)


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """An image as its drawings are compared with it: what depends on it alone, computed once.

    grounds: the image on each of BACKGROUNDS. plain: uint32 (H, W), its pixels as a drawing has them, packed, and _SOFT
    where they are half transparent. solid: bool (H, W), where a pixel and its eight neighbours are opaque.
    """

    grounds: tuple[Ground, ...]
    plain: NDArray[np.uint32]
    solid: NDArray[np.bool_]

    @classmethod
    def of(cls, rgba: Pixels) -> Reference:
        """rgba: uint8 (H, W, 4), straight alpha, composited as browsers do, in sRGB."""
        alpha = rgba[..., 3]
        plain = np.select([alpha == 255, alpha == 0], [packed(rgba), np.uint32(0)], _SOFT)
        solid = cv2.erode((alpha == 255).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
        return cls(tuple(Ground.of(on_background(rgba, color), color) for color in BACKGROUNDS), plain, solid)

    @property
    def nbytes(self) -> int:
        return sum(ground.nbytes for ground in self.grounds) + int(self.plain.nbytes + self.solid.nbytes)


def damage(reference: Reference, rgba: Pixels) -> Damage:
    """How much a person would miss in a drawing, on the background where it is worse.

    rgba: uint8 (H, W, 4), premultiplied alpha, of the reference's size, drawn with anti-aliasing on nothing. Raises
    ValueError for another size.
    """
    grounds, delta = _errors(reference, rgba)
    return Damage(score=max(_total(area) for _, area in _areas(grounds, reference.plain.shape)), delta=delta)


def damage_map(reference: Reference, rgba: Pixels) -> Floats:
    """Where: float32 (H, W), the part of each pixel that counts, 0 to 1, the larger of both backgrounds."""
    worst = np.zeros(rgba.shape[0] * rgba.shape[1], np.float32)
    for pixels, area in _areas(_errors(reference, rgba)[0], reference.plain.shape):
        worst[pixels] = np.maximum(worst[pixels], area)
    return worst.reshape(rgba.shape[:2])


def composite(rgba: Pixels, background: tuple[int, int, int]) -> Pixels:
    """uint8 (H, W, 4), opaque: premultiplied alpha over one colour, rounded to the nearest."""
    if not rgba.size:
        return rgba
    behind = _behind(background).take(rgba[..., 3]).view(np.uint8).reshape(rgba.shape)
    return cast(Pixels, cv2.add(np.ascontiguousarray(rgba), behind))


@cache
def _behind(background: tuple[int, int, int]) -> NDArray[np.uint32]:
    """What shines through at each alpha, packed, with the alpha that is missing: shape (256,)."""
    through = (255 - np.arange(256))[:, None] * np.array((*background, 255))
    return packed(((through + 127) // 255).astype(np.uint8))


def oklab(rgb: Pixels) -> Floats:
    """OKLab x 100 of sRGB colours: uint8 (N, 3) to float32 (3, N)."""
    return _mixed(_cube_root(_mixed(_LINEAR.take(rgb.T), SRGB_TO_LMS)), LMS_TO_OKLAB, 100)


def _oklab_of(colours: NDArray[np.uint32]) -> Floats:
    """The same of packed colours (N,). Equal ones in a row, of which flat shapes have many, are converted once."""
    if not len(colours):
        return np.zeros((3, 0), np.float32)
    heads = np.append(0, np.flatnonzero(colours[1:] != colours[:-1]) + 1)
    if len(heads) * 2 > len(colours):
        return oklab(_unpacked(colours)[:, :3])
    lab = oklab(_unpacked(colours[heads])[:, :3])
    return np.repeat(lab, np.diff(heads, append=len(colours)), axis=1)


def _unpacked(colours: NDArray[np.uint32]) -> Pixels:
    return np.ascontiguousarray(colours).view(np.uint8).reshape(-1, 4)


def _mixed(planes: Floats, matrix: tuple[tuple[float, float, float], ...], scale: float = 1) -> Floats:
    """As a matrix product, which libraries round differently from machine to machine."""
    a, b, c = planes
    rows = [np.float32(scale * x) * a + np.float32(scale * y) * b + np.float32(scale * z) * c for x, y, z in matrix]
    return np.stack(rows)


def _cube_root(values: Floats) -> Floats:
    """Of numbers from 0 on, to 2e-6 of the result: a third of the exponent, then Newton's method twice."""
    root = (values.view(np.int32) // 3 + np.int32(709921077)).view(np.float32)
    for _ in range(2):
        root = (root + root + values / (root * root)) * np.float32(1 / 3)
    return root


@dataclass(frozen=True, eq=False, slots=True)
class _Errors:
    """Pixels of a drawing that look different on a background.

    pixels: indices in the flattened image, rising. drawn: their colours, float32 (3, n), OKLab x 100. differences: from
    the image's, float32 (3, n). distances: their lengths, float32 (n,).
    """

    ground: Ground
    pixels: Indices
    drawn: Floats
    differences: Floats
    distances: Floats

    @classmethod
    def of(cls, ground: Ground, pixels: Indices, colours: NDArray[np.uint32]) -> _Errors:
        """colours: of the drawing, packed, premultiplied."""
        shown = composite(_unpacked(colours)[np.newaxis], ground.background).view("<u4").ravel()
        differing = np.flatnonzero(shown != ground.packed.ravel().take(pixels))
        pixels, drawn = pixels[differing], _oklab_of(shown[differing])
        lab = ground.lab.reshape(3, -1).take(_padded(pixels, ground.edges.shape[1]), axis=1)
        differences = drawn - lab
        return cls(ground, pixels, drawn, differences, _lengths(differences))

    def taken(self, which: NDArray[np.bool_]) -> _Errors:
        index = np.flatnonzero(which)
        drawn, differences = (values.take(index, axis=1) for values in (self.drawn, self.differences))
        return _Errors(self.ground, self.pixels[index], drawn, differences, self.distances[index])


def _errors(reference: Reference, rgba: Pixels) -> tuple[list[list[_Errors]], float]:
    """What is seen on each background, and the mean distance on the first.

    What is opaque in the image and in the drawing looks the same on all of them, and is the first part of each.
    """
    if rgba.shape != (*reference.plain.shape, 4):
        raise ValueError(f"the drawing's shape is {rgba.shape}, not {(*reference.plain.shape, 4)}")
    drawn, (light, dark) = packed(rgba).ravel(), reference.grounds
    changed = np.flatnonzero(drawn != reference.plain.ravel())
    drawn = drawn[changed]
    errors = _Errors.of(light, changed, drawn)
    mean = _total(errors.distances) / reference.plain.size
    errors = errors.taken(errors.distances > _SEEN)
    covered = (drawn >= 0xFF000000) & reference.solid.ravel().take(changed)
    if covered.all():
        return [[errors]], mean
    alike = covered[np.searchsorted(changed, errors.pixels)]
    both = errors.taken(alike)
    through = np.flatnonzero(~covered)
    on_dark = _Errors.of(dark, changed[through], drawn[through])
    return [[both, errors.taken(~alike)], [both, on_dark.taken(on_dark.distances > _SEEN)]], mean


def _areas(grounds: list[list[_Errors]], shape: tuple[int, ...]) -> list[tuple[Indices, Floats]]:
    """For each background the pixels that count, and the part of each that does, 0 to 1.

    Only they and what is in their windows need a residual: for a good drawing next to nothing.
    """
    parts = {id(part): part for ground in grounds for part in ground}
    noticed = {key: _noticed(part) for key, part in parts.items()}
    near = _around(np.concatenate(list(noticed.values())), shape)
    fields = {}
    for key, part in parts.items():
        close = part.taken(near.take(part.pixels))
        fields[key] = close.pixels, _residuals(close)
    areas = []
    for ground in grounds:
        pixels = np.concatenate([noticed[id(part)] for part in ground])
        residuals = np.zeros(shape, np.float32)
        for part in ground:
            where, values = fields[id(part)]
            residuals.ravel()[where] = values
        area = (_window_means(residuals, pixels) - np.float32(FAINT)) / np.float32(OBVIOUS - FAINT)
        lost = np.clip(_missing(ground, pixels, shape), np.float32(0), np.float32(1)) * np.float32(THIN)
        part_of = np.zeros(shape, np.float32)
        for part in ground:
            flat = ~part.ground.edges.ravel().take(part.pixels)
            part_of.ravel()[part.pixels[flat & (part.distances > SHIFTED)]] = WIDE
        worst = np.maximum(np.clip(area, np.float32(0), np.float32(1)), lost)
        part_of.ravel()[pixels] = np.maximum(part_of.ravel()[pixels], worst)
        counted = np.flatnonzero(part_of)
        areas.append((counted, part_of.ravel()[counted]))
    return areas


def _missing(errors: Sequence[_Errors], pixels: Indices, shape: tuple[int, ...]) -> Floats:
    """How far the mean colour around some pixels differs from the image's, (n,): from 0 on it counts, from 1 on fully.

    An edge that moves adds on one side what it takes on the other, unless it moves far; a thin line that is lost does
    not.
    """
    squares = np.zeros(len(pixels), np.float32)
    for channel in range(3):
        differences = np.zeros(shape, np.float32)
        for part in errors:
            differences.ravel()[part.pixels] = part.differences[channel]
        means = _window_means(differences, pixels)
        squares += means * means
    lengths = np.sqrt(squares)
    contrast = errors[0].ground.contrast.ravel().take(pixels)
    shares = (lengths / np.maximum(contrast, np.float32(1)) - np.float32(MISSED)) / np.float32(LOST - MISSED)
    return np.where(lengths > DIM, shares, np.float32(0))


def _noticed(errors: _Errors) -> Indices:
    """The pixels whose residual is above NOTICED."""
    candidates = errors.taken(errors.distances > NOTICED)
    return candidates.pixels[_residuals(candidates, NOTICED) > NOTICED]


def _around(pixels: Indices, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool (H * W,): which pixels are in the 5 x 5 window of one of some."""
    mask = np.zeros(shape, np.uint8)
    if len(pixels):
        mask.ravel()[pixels] = 1
        mask = cv2.dilate(mask, np.ones((5, 5), np.uint8))  # type: ignore[assignment]
    return mask.ravel().view(np.bool_)


def _padded(pixels: Indices, width: int) -> Indices:
    """Indices of pixels in the flattened image as those in the image with a border of one pixel."""
    return pixels + 2 * (pixels // width) + width + 3


def _residuals(errors: _Errors, enough: float = 0.0) -> Floats:
    """The distances (n,) that remain when the image may be moved by up to SLACK pixels in any of 8 directions.

    Those that are found to be `enough` or less are not made as small as they may be.
    """
    residuals = errors.distances.copy()
    moving = np.flatnonzero(errors.ground.edges.ravel().take(errors.pixels))
    if not len(moving):
        return residuals
    lab, stride = errors.ground.lab.reshape(3, -1), errors.ground.lab.shape[2]
    at, drawn = _padded(errors.pixels[moving], stride - 2), errors.drawn.take(moving, axis=1)
    near, far = np.float32(1 - SLACK) * lab.take(at, axis=1), np.float32(SLACK)
    least = residuals[moving]
    for step in (-1, 1, -stride, stride):
        np.minimum(least, _distances(drawn, near + far * lab.take(at + step, axis=1)), out=least)
    residuals[moving] = least
    left = np.flatnonzero(least > enough)
    moving, at, drawn, least = moving[left], at[left], drawn.take(left, axis=1), least[left]
    here, sides = lab.take(at, axis=1), {step: lab.take(at + step, axis=1) for step in (-1, 1, -stride, stride)}
    for across in (-1, 1):
        for along in (-stride, stride):
            corner = here + sides[across] + sides[along] + lab.take(at + across + along, axis=1)
            np.minimum(least, _distances(drawn, np.float32(0.25) * corner), out=least)
    residuals[moving] = least
    return residuals


def _distances(left: Floats, right: Floats) -> Floats:
    """Euclidean, of colours (3, ...)."""
    return _lengths(left - right)


def _lengths(vectors: Floats) -> Floats:
    x, y, z = vectors
    lengths: Floats = np.sqrt(x * x + y * y + z * z)
    return lengths


def _edges(lab: Floats) -> NDArray[np.bool_]:
    height, width = lab.shape[1] - 2, lab.shape[2] - 2
    here = lab[:, 1:-1, 1:-1]
    edges = np.zeros((height, width), np.bool_)
    for down in range(3):
        for right in range(3):
            edges |= _distances(here, lab[:, down : down + height, right : right + width]) > _FLAT
    return edges


def _contrast(lab: Floats) -> Floats:
    window = np.ones((5, 5), np.uint8)
    ranges = [cv2.dilate(plane, window) - cv2.erode(plane, window) for plane in lab[:, 1:-1, 1:-1].copy()]
    return _lengths(np.stack(ranges))


def _window_means(values: Floats, pixels: Indices) -> Floats:
    """The mean of the 5 x 5 values around some pixels, (n,), mirrored at the border.

    Repeated, an error in the outermost row would count three times.
    """
    if not len(pixels):
        return np.zeros(0, np.float32)
    height, width = values.shape
    padded = np.pad(values, 2, mode="reflect")
    rows = padded[:height] + padded[1 : height + 1] + padded[2 : height + 2] + padded[3 : height + 3] + padded[4:]
    at = pixels + pixels // width * 4
    a, b, c, d, e = (rows.ravel().take(at + step) for step in range(5))
    means: Floats = a + b + c + d + e
    means *= np.float32(1 / 25)
    return means


def _total(values: Floats) -> float:
    """The sum in whole units: the order of its terms cannot matter."""
    return int(np.rint(values * np.float32(_UNIT)).astype(np.int64).sum()) / _UNIT
