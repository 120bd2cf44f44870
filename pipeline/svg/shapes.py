"""A drawing as shapes: what VTracer's output is parsed into, what is improved, and what is printed.

Coordinates are pixels of the original image, x to the right and y down, whatever the size that was traced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
"""sRGB, 0 to 255 each."""

Point = tuple[float, float]

LINE, CUBIC = 1, 3
"""Degrees of a segment, which are also the numbers of points that it adds to a loop."""


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A closed curve. A straight line closes it where the last point is not the first.

    points: float64 (1 + sum of degrees, 2): the start, then the control points and the end of each segment.
    degrees: uint8 (segments,), LINE or CUBIC each.
    """

    points: NDArray[np.float64]
    degrees: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Ellipse:
    """center, radii: (x, y)."""

    center: Point
    radii: Point


@dataclass(frozen=True, slots=True)
class Rectangle:
    """corner: the top left one. size: width and height. radius: of its four corners."""

    corner: Point
    size: Point
    radius: float = 0.0


@dataclass(frozen=True, slots=True)
class Flat:
    """One colour. opacity: above 0, to 1."""

    color: Color
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Stop:
    """offset: 0 to 1 along the gradient."""

    offset: float
    color: Color
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class LinearGradient:
    """From start to end, in pixels of the image; beyond them the first and the last stop go on."""

    start: Point
    end: Point
    stops: tuple[Stop, ...]


@dataclass(frozen=True, slots=True)
class RadialGradient:
    center: Point
    radius: float
    stops: tuple[Stop, ...]


Paint = Flat | LinearGradient | RadialGradient
Outline = tuple[Loop, ...] | Ellipse | Rectangle
"""Loops together make one outline, filled by the nonzero rule: a hole runs the other way round."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    outline: Outline
    paint: Paint


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """width, height: pixels of the canvas. shapes: painted in this order, each over those before it."""

    width: int
    height: int
    shapes: tuple[Shape, ...]
