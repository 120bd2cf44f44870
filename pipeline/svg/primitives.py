"""Ellipses and rectangles recognised in a traced outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.svg.shapes import CUBIC, LINE, Ellipse, Loop, Rectangle

Complexes = NDArray[np.complex128]

KAPPA = 0.5522847498
"""Length of the handles of the cubic that stands for a quarter of a circle of radius 1."""

NOTCH, NOTCHED = 0.8, 0.06
"""Depth in pixels, and share of the length, of the notches that an ellipse may have."""


def ellipse_of(outline: Complexes, tolerance: float) -> Ellipse | None:
    """The upright ellipse with the area and the second moments of a closed outline, if the outline is that near.

    A notch of about a pixel, which VTracer likes to leave where a curve runs at 45 degrees, does not count.
    """
    low_x, high_x, low_y, high_y = _box(outline)
    width, height = high_x - low_x, high_y - low_y
    area = abs(signed_area(outline))
    if not 0.7 < area / max(width * height, 1e-9) < 0.87 or min(width, height) < 4 * tolerance:
        return None
    center, radii = _moments(outline)
    # The second moments give the proportions, the area the size, which is steadier against noise.
    scale = np.sqrt(area / (np.pi * radii[0] * radii[1]))
    rx, ry = radii[0] * scale, radii[1] * scale
    if abs(rx - ry) <= tolerance:
        rx = ry = np.sqrt(rx * ry)
    scaled = (outline.real - center[0]) / rx + 1j * (outline.imag - center[1]) / ry
    off = np.abs(np.abs(scaled) - 1) * np.abs(scaled.real * rx + 1j * scaled.imag * ry) / np.abs(scaled)
    limit = tolerance + 0.02 * min(rx, ry) if min(rx, ry) < 8 else tolerance
    weight = np.abs(np.roll(outline, -1) - outline)
    sound = off.max() <= limit + NOTCH and weight[off > limit].sum() <= NOTCHED * weight.sum()
    return Ellipse(center, (float(rx), float(ry))) if sound else None


def rectangle_of(outline: Complexes, tolerance: float) -> tuple[Loop, Rectangle] | None:
    """An upright rectangle, rounded or not, if no point of a closed outline is further from it."""
    low_x, high_x, low_y, high_y = _box(outline)
    width, height = high_x - low_x, high_y - low_y
    area = abs(signed_area(outline))
    if area < 0.78 * width * height or min(width, height) < 4 * tolerance:
        return None
    sides = _sides(outline, low_x, high_x, low_y, high_y)
    if sides is None:
        return None
    left, right, top, bottom = sides
    width, height = right - left, bottom - top
    radius = np.sqrt(max(0.0, width * height - area) / (4 - np.pi))
    # VTracer rounds every corner by about a pixel.
    radius = 0.0 if radius < 1.5 else min(radius, width / 2, height / 2)
    q_x = np.abs(outline.real - (left + right) / 2) - (width / 2 - radius)
    q_y = np.abs(outline.imag - (top + bottom) / 2) - (height / 2 - radius)
    off = np.hypot(np.maximum(q_x, 0), np.maximum(q_y, 0)) + np.minimum(np.maximum(q_x, q_y), 0) - radius
    limit = np.where((q_x > -1.5) & (q_y > -1.5), tolerance + 0.5, tolerance) if radius == 0 else tolerance
    if (np.abs(off) > limit).any():
        return None
    rectangle = Rectangle((float(left), float(top)), (float(width), float(height)), float(radius))
    return _rectangle_loop(rectangle, signed_area(outline)), rectangle


def exact_ellipse(ellipse: Ellipse, outline: Complexes) -> tuple[Loop, Ellipse]:
    """The ellipse as four cubics that run the way the outline does, and itself."""
    (x, y), (rx, ry) = ellipse.center, ellipse.radii
    k = KAPPA
    unit = np.array(
        [1, 1 + k * 1j, k + 1j, 1j, -k + 1j, -1 + k * 1j, -1, -1 - k * 1j, -k - 1j, -1j, k - 1j, 1 - k * 1j, 1]
    )
    unit = unit if signed_area(outline) > 0 else np.conj(unit)
    return Loop(np.stack([x + rx * unit.real, y + ry * unit.imag], 1), np.full(4, CUBIC, np.uint8)), ellipse


def signed_area(outline: Complexes) -> float:
    """Positive when x turns towards y, which is clockwise on the screen."""
    return float((np.conj(outline) * np.roll(outline, -1)).imag.sum() / 2)


def _box(outline: Complexes) -> tuple[float, float, float, float]:
    x, y = outline.real, outline.imag
    return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def _moments(outline: Complexes) -> tuple[tuple[float, float], tuple[float, float]]:
    """(centre, semi-axes) of the upright ellipse with the centroid and the second moments of a polygon."""
    base = outline.mean()
    x, y = (outline - base).real, (outline - base).imag
    x1, y1 = np.roll(x, -1), np.roll(y, -1)
    cross = x * y1 - x1 * y
    area = cross.sum() / 2
    cx, cy = ((x + x1) * cross).sum() / (6 * area), ((y + y1) * cross).sum() / (6 * area)
    xx = ((x * x + x * x1 + x1 * x1) * cross).sum() / (12 * area) - cx * cx
    yy = ((y * y + y * y1 + y1 * y1) * cross).sum() / (12 * area) - cy * cy
    center = float(base.real + cx), float(base.imag + cy)
    return center, (2 * float(np.sqrt(max(xx, 1e-9))), 2 * float(np.sqrt(max(yy, 1e-9))))


def _sides(
    outline: Complexes, low_x: float, high_x: float, low_y: float, high_y: float
) -> tuple[float, float, float, float] | None:
    """(left, right, top, bottom): where the middle half of each side lies on average, weighted by length."""
    following = np.roll(outline, -1)
    middle, step = (outline + following) / 2, following - outline
    x, y = (middle.real - low_x) / (high_x - low_x), (middle.imag - low_y) / (high_y - low_y)
    inner_x, inner_y = np.abs(x - 0.5) < 0.25, np.abs(y - 0.5) < 0.25
    found = []
    for near, value, weight in (
        (inner_y & (x < 0.5), middle.real, np.abs(step.imag)),
        (inner_y & (x >= 0.5), middle.real, np.abs(step.imag)),
        (inner_x & (y < 0.5), middle.imag, np.abs(step.real)),
        (inner_x & (y >= 0.5), middle.imag, np.abs(step.real)),
    ):
        total = weight[near].sum()
        if total <= 0:
            return None
        found.append(float((value[near] * weight[near]).sum() / total))
    return found[0], found[1], found[2], found[3]


def _rectangle_loop(rectangle: Rectangle, area: float) -> Loop:
    (x, y), (w, h), r = rectangle.corner, rectangle.size, rectangle.radius
    if r == 0:
        points, degrees = [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)], [LINE] * 4
    else:
        k = r * (1 - KAPPA)
        points, degrees = [(x + r, y)], []
        for (px, py), (ax, ay), (bx, by) in (
            ((x + w, y), (-1, 0), (0, 1)),
            ((x + w, y + h), (0, -1), (-1, 0)),
            ((x, y + h), (1, 0), (0, -1)),
            ((x, y), (0, 1), (1, 0)),
        ):
            points += [(px + r * ax, py + r * ay), (px + k * ax, py + k * ay)]
            points += [(px + k * bx, py + k * by), (px + r * bx, py + r * by)]
            degrees += [LINE, CUBIC]
    if area < 0:
        points, degrees = points[::-1], degrees[::-1]
    return Loop(np.array(points, float), np.array(degrees, np.uint8))
