"""Visible damage of a rendered SVG, from the image that was traced alone: an estimate of its area in pixels.

A pixel counts where the drawing has a colour that the image does not have there, nor within `SLACK` pixels, and the
same holds on average for the 5 x 5 pixels around it. Edges that moved by a fraction of a pixel are forgiven that way;
a lost detail, a merged colour, a rounded corner and an opaque background are not. Colours are compared in OKLab
(Ottosson 2020), on a white and on a dark background, so transparency is part of the picture.

Image and drawing are compared at the size of the image, because a perfect vector drawn with anti-aliasing gives the
image back there; an enlarged image has edges that no vector has. Every step is an elementary operation on float32 or an
exact one on integers: the result is the same to the bit on any memory layout, with any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.pixels import on_background
from pipeline.core.records import Pixels
from pipeline.tracing.preparation import packed

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]

BACKGROUNDS = ((255, 255, 255), (0x20, 0x24, 0x2C))
"""A page in light and in dark mode."""

SLACK = 0.7
"""Pixels that an edge may move along x or y; along both at once half a pixel each."""

NOTICED = 8.0
"""OKLab distance x 100 above which a pixel can count."""

FAINT, OBVIOUS = 5.0, 10.0
"""Mean distances over a window: from the first on its middle counts, from the second on in full."""

VISIBLE = 4.0
"""Damage in pixels above which a trace counts as damaged: chosen for the smallest files within it to be sound."""

_SEEN = 4.0
"""Pixels whose colour differs by less are taken for identical: they cannot count alone, and hardly move a mean."""

_FLAT = 1.0
"""Where no neighbour differs by more the image has no edge that could have moved."""

_UNIT = 1024
"""Sums are of whole numbers of this fraction."""

_LINEAR = np.array(
    [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255], np.float32
)
_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (21.04542553, 79.36177850, -0.40720468),
    (197.79984951, -242.85922050, 45.05937099),
    (2.59040371, 78.27717662, -80.86757660),
)


class Box(NamedTuple):
    """Pixels of the image, x to the right and y down from the top left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Damage:
    """score: estimated area of visible damage in pixels, 0 for an identical drawing, VISIBLE where a person sees it.

    delta: mean colour error over the canvas on white, OKLab distance x 100.
    """

    score: float
    delta: float


@dataclass(frozen=True, eq=False, slots=True)
class Ground:
    """An image on one background.

    packed: uint32 (H, W), as `packed` packs opaque pixels. lab: float32 (3, H + 2, W + 2), OKLab x 100 with the border
    repeated once. edges: bool (H, W), where a neighbour has another colour.
    """

    background: tuple[int, int, int]
    packed: NDArray[np.uint32]
    lab: Floats
    edges: NDArray[np.bool_]

    @classmethod
    def of(cls, rgb: Pixels, background: tuple[int, int, int]) -> Ground:
        padded = np.pad(rgb, ((1, 1), (1, 1), (0, 0)), mode="edge")
        lab = oklab(padded.reshape(-1, 3)).reshape(3, *padded.shape[:2])
        opaque = np.pad(rgb, ((0, 0), (0, 0), (0, 1)), constant_values=255)
        return cls(background, packed(opaque), lab, _edges(lab))

    @property
    def nbytes(self) -> int:
        return int(self.packed.nbytes + self.lab.nbytes + self.edges.nbytes)


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """An image as its drawings are compared with it: what depends on it alone, computed once.

    grounds: the image on each of BACKGROUNDS. opaque: whether no pixel is transparent.
    """

    grounds: tuple[Ground, ...]
    opaque: bool

    @classmethod
    def of(cls, rgba: Pixels) -> Reference:
        """rgba: uint8 (H, W, 4), straight alpha, composited as browsers do, in sRGB."""
        opaque = bool(rgba[..., 3].min() == 255)
        return cls(tuple(Ground.of(on_background(rgba, color), color) for color in BACKGROUNDS), opaque)

    @property
    def nbytes(self) -> int:
        return sum(ground.nbytes for ground in self.grounds)


def damage(reference: Reference, rgba: Pixels) -> Damage:
    """How much a person would miss in a drawing, on the background where it is worse.

    rgba: uint8 (H, W, 4), premultiplied alpha, of the reference's size, drawn with anti-aliasing on nothing. Raises
    ValueError for another size.
    """
    grounds = _grounds(reference, rgba)
    areas, distances = zip(*[_areas(ground, composite(rgba, ground.background)) for ground in grounds], strict=True)
    mean = _total(distances[0]) / grounds[0].edges.size
    return Damage(score=max(_total(area) for area in areas), delta=mean)


def damage_map(reference: Reference, rgba: Pixels) -> Floats:
    """Where: float32 (H, W), the part of each pixel that counts, 0 to 1, the larger of both backgrounds."""
    areas = [_areas(ground, composite(rgba, ground.background))[0] for ground in _grounds(reference, rgba)]
    return cast(Floats, np.maximum.reduce(areas))


def worst_region(reference: Reference, rgba: Pixels) -> Box | None:
    """The bounds of the connected region with the most damage, None where there is no damage."""
    areas = damage_map(reference, rgba)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((areas > 0).astype(np.uint8), connectivity=8)
    if count == 1:
        return None
    whole = np.rint(areas * _UNIT).astype(np.int64).ravel()
    totals = np.zeros(count, np.int64)
    np.add.at(totals, labels.ravel().astype(np.intp), whole)
    x, y, width, height = stats[int(totals.argmax()), :4].tolist()
    return Box(x, y, width, height)


def composite(rgba: Pixels, background: tuple[int, int, int]) -> Pixels:
    """uint8 (H, W, 4), opaque: premultiplied alpha over one colour, rounded to the nearest."""
    behind = _behind(background)[rgba[..., 3]].view(np.uint8).reshape(rgba.shape)
    return cast(Pixels, cv2.add(np.ascontiguousarray(rgba), behind))


@cache
def _behind(background: tuple[int, int, int]) -> NDArray[np.uint32]:
    """What shines through at each alpha, packed, with the alpha that is missing: shape (256,)."""
    through = (255 - np.arange(256))[:, None] * np.array((*background, 255))
    return packed(((through + 127) // 255).astype(np.uint8))


def oklab(rgb: Pixels) -> Floats:
    """OKLab x 100 of sRGB colours: uint8 (N, 3) to float32 (3, N)."""
    linear = np.ascontiguousarray(_LINEAR[rgb].T)
    return _mixed(_cube_root(_mixed(linear, _TO_LMS)), _TO_LAB)


def _mixed(planes: Floats, matrix: tuple[tuple[float, float, float], ...]) -> Floats:
    """As a matrix product, which libraries round differently from machine to machine."""
    a, b, c = planes
    rows = [np.float32(x) * a + np.float32(y) * b + np.float32(z) * c for x, y, z in matrix]
    return np.stack(rows)


def _cube_root(values: Floats) -> Floats:
    """Of numbers from 0 on, to 2e-6 of the result: a third of the exponent, then Newton's method twice."""
    root = (values.view(np.int32) // 3 + np.int32(709921077)).view(np.float32)
    for _ in range(2):
        root = (root + root + values / (root * root)) * np.float32(1 / 3)
    return root


def _grounds(reference: Reference, rgba: Pixels) -> tuple[Ground, ...]:
    """Those that can differ: a background that nobody sees needs no second look."""
    shape = reference.grounds[0].edges.shape
    if rgba.shape != (*shape, 4):
        raise ValueError(f"the drawing's shape is {rgba.shape}, not {(*shape, 4)}")
    covered = reference.opaque and rgba[..., 3].min() == 255
    return reference.grounds[:1] if covered else reference.grounds


def _areas(ground: Ground, rgba: Pixels) -> tuple[Floats, Floats]:
    """The part of each pixel that counts, 0 to 1, and the colour distance: both float32 (H, W)."""
    distances, residuals = np.zeros((2, *rgba.shape[:2]), np.float32)
    drawn_packed = packed(rgba)
    differing = np.flatnonzero(drawn_packed != ground.packed)
    drawn = oklab(drawn_packed.ravel()[differing].view(np.uint8).reshape(-1, 4)[:, :3])
    at = _padded(differing, rgba.shape[1])
    of_differing = _distances(drawn, ground.lab.reshape(3, -1)[:, at])
    distances.ravel()[differing] = of_differing
    seen = of_differing > _SEEN
    residuals.ravel()[differing[seen]] = of_differing[seen]
    seen &= ground.edges.ravel()[differing]
    residuals.ravel()[differing[seen]] = _residuals(ground, drawn[:, seen], at[seen], of_differing[seen])
    area = (_window_means(residuals) - np.float32(FAINT)) / np.float32(OBVIOUS - FAINT)
    area = np.clip(area, np.float32(0), np.float32(1)) * (residuals > np.float32(NOTICED))
    return area, distances


def _padded(pixels: Indices, width: int) -> Indices:
    """Indices of pixels in the flattened image as those in the image with a border of one pixel."""
    return pixels + 2 * (pixels // width) + width + 3


def _residuals(ground: Ground, drawn: Floats, at: Indices, distances: Floats) -> Floats:
    """The distances (N,) that remain when the image may be moved by up to SLACK pixels in any of 8 directions.

    drawn: float32 (3, N). at: where, in the padded image.
    """
    lab, stride = ground.lab.reshape(3, -1), ground.lab.shape[2]
    here = lab[:, at]
    sides = {step: lab[:, at + step] for step in (-1, 1, -stride, stride)}
    near, far = np.float32(1 - SLACK), np.float32(SLACK)
    least = distances
    for there in sides.values():
        least = np.minimum(least, _distances(drawn, near * here + far * there))
    for across in (-1, 1):
        for along in (-stride, stride):
            corner = here + sides[across] + sides[along] + lab[:, at + across + along]
            least = np.minimum(least, _distances(drawn, np.float32(0.25) * corner))
    return least


def _distances(left: Floats, right: Floats) -> Floats:
    """Euclidean, of colours (3, ...)."""
    x, y, z = left - right
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


def _window_means(values: Floats) -> Floats:
    """The mean of the 5 x 5 values around each, mirrored at the border.

    Repeated, an error in the outermost row would count three times.
    """
    a, b = values.shape
    padded = np.pad(values, 2, mode="reflect")
    rows = padded[:a] + padded[1 : a + 1] + padded[2 : a + 2] + padded[3 : a + 3] + padded[4:]
    means: Floats = rows[:, :b] + rows[:, 1 : b + 1] + rows[:, 2 : b + 2] + rows[:, 3 : b + 3] + rows[:, 4:]
    means *= np.float32(1 / 25)
    return means


def _total(values: Floats) -> float:
    """The sum in whole units: the order of its terms cannot matter."""
    return int(np.rint(values * np.float32(_UNIT)).astype(np.int64).sum()) / _UNIT
