"""Shapes made smaller on all sides: VTracer draws them a fraction of a traced pixel too large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.svg.shapes import Drawing, Ellipse, Loop, Outline, Rectangle

Complexes = NDArray[np.complex128]

BORDER = 0.6
"""Pixels from the edge of the canvas within which a point stays on it: the shape may well go on beyond."""
MITER = 2.0
"""How many times `pixels` a sharp corner may move."""


def inset(drawing: Drawing, pixels: float) -> Drawing:
    """Every outline moved inwards by `pixels`, holes outwards; loops too thin for that stay as they are."""
    if pixels == 0:
        return drawing
    size = drawing.width, drawing.height
    return replace(
        drawing,
        shapes=tuple(replace(shape, outline=_outline(shape.outline, pixels, size)) for shape in drawing.shapes),
    )


def _outline(outline: Outline, pixels: float, size: tuple[int, int]) -> Outline:
    if isinstance(outline, Ellipse):
        rx, ry = outline.radii
        return replace(outline, radii=(rx - pixels, ry - pixels)) if min(rx, ry) > 2 * pixels else outline
    if isinstance(outline, Rectangle):
        return _rectangle(outline, pixels, size)
    areas = [_area(loop) for loop in outline]
    way = float(np.sign(max(areas, key=abs)))
    return tuple(_loop(loop, area, way * pixels, size) for loop, area in zip(outline, areas, strict=True))


def _rectangle(rectangle: Rectangle, pixels: float, size: tuple[int, int]) -> Rectangle:
    low, high = [], []
    for corner, length, side in zip(rectangle.corner, rectangle.size, size, strict=True):
        low.append(corner if corner < BORDER else corner + pixels)
        high.append(corner + length if corner + length > side - BORDER else corner + length - pixels)
    if min(rectangle.size) <= 4 * pixels:
        return rectangle
    radius = max(0.0, rectangle.radius - pixels)
    return Rectangle((low[0], low[1]), (high[0] - low[0], high[1] - low[1]), radius)


def _area(loop: Loop) -> float:
    """Of the control polygon; positive when x turns towards y."""
    x, y = (loop.points - loop.points[0]).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def _loop(loop: Loop, area: float, pixels: float, size: tuple[int, int]) -> Loop:
    """The control polygon moved to its left (Tiller and Hanson 1984), by a negative `pixels` to its right."""
    points = loop.points[:, 0] + 1j * loop.points[:, 1]
    closed = abs(points[0] - points[-1]) < 1e-9
    ring = points[:-1] if closed else points
    legs = np.roll(ring, -1) - ring
    if len(ring) < 3 or abs(area) <= 2 * abs(pixels) * np.abs(legs).sum():
        return loop
    after = _direction(legs)
    before = np.roll(_direction(legs[::-1])[::-1], 1)
    middle = before + after
    # The miter join: as far along the bisector as both sides need.
    scale = np.minimum(2 / np.maximum(np.abs(middle) ** 2, 1e-9), MITER / np.maximum(np.abs(middle), 1e-9))
    moved = ring + 1j * pixels * middle * scale
    x = np.where((ring.real < BORDER) | (ring.real > size[0] - BORDER), ring.real, moved.real)
    y = np.where((ring.imag < BORDER) | (ring.imag > size[1] - BORDER), ring.imag, moved.imag)
    result = np.stack([x, y], 1)
    return replace(loop, points=np.concatenate([result, result[:1]]) if closed else result)


def _direction(legs: Complexes) -> Complexes:
    """Of each leg a unit vector; a leg without length has that of the next one that has some."""
    length = np.abs(legs)
    long = np.flatnonzero(length > 1e-6)
    if not len(long):
        return np.ones(len(legs), np.complex128)
    following = long[np.searchsorted(long, np.arange(len(legs))) % len(long)]
    directions: Complexes = legs[following] / length[following]
    return directions
