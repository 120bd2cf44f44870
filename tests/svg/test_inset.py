"""Shapes made smaller by a fraction of a pixel."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.svg.inset import inset
from pipeline.svg.shapes import CUBIC, LINE, Drawing, Ellipse, Flat, Loop, Outline, Rectangle, Shape


def square(low: float, high: float, *, backwards: bool = False) -> Loop:
    points = np.array([[low, low], [high, low], [high, high], [low, high], [low, low]], float)
    return Loop(points[::-1] if backwards else points, np.full(4, LINE, np.uint8))


def moved(outline: Outline, pixels: float = 0.25) -> Outline:
    (shape,) = inset(Drawing(100, 100, (Shape(outline, Flat((1, 2, 3))),)), pixels).shapes
    return shape.outline


def extent(loop: Loop) -> list[float]:
    return [*loop.points.min(0), *loop.points.max(0)]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_square_with_a_hole_gets_thinner_from_both_sides(backwards: bool) -> None:
    outline = moved((square(10, 50, backwards=backwards), square(20, 40, backwards=not backwards)))
    assert isinstance(outline, tuple)
    assert extent(outline[0]) == pytest.approx([10.25, 10.25, 49.75, 49.75])
    assert extent(outline[1]) == pytest.approx([19.75, 19.75, 40.25, 40.25])


def test_what_lies_on_the_edge_of_the_canvas_stays_there() -> None:
    outline = moved((square(0, 50),))
    assert isinstance(outline, tuple)
    assert extent(outline[0]) == pytest.approx([0, 0, 49.75, 49.75])
    assert moved(Rectangle((0, 0), (100, 100))) == Rectangle((0, 0), (100, 100))


def test_primitives_get_smaller() -> None:
    assert moved(Ellipse((50, 50), (20, 10))) == Ellipse((50, 50), (19.75, 9.75))
    assert moved(Rectangle((10, 10), (20, 10), 3)) == Rectangle((10.25, 10.25), (19.5, 9.5), 2.75)


def test_what_is_too_thin_stays() -> None:
    thin = Loop(np.array([[10, 10], [60, 10], [60, 10.5], [10, 10.5], [10, 10]], float), np.full(4, LINE, np.uint8))
    outline = moved((thin,))
    assert isinstance(outline, tuple)
    assert np.array_equal(outline[0].points, thin.points)


def test_a_curve_moves_by_as_much_as_a_line() -> None:
    k = 0.5522847498
    quarter = np.array([1, 1 + k * 1j, k + 1j, 1j])
    ring = np.concatenate([[1], *(quarter[1:] * 1j**turn for turn in range(4))]) * 20 + 50 + 50j
    loop = Loop(np.stack([ring.real, ring.imag], 1), np.full(4, CUBIC, np.uint8))
    outline = moved((loop,))
    assert isinstance(outline, tuple)
    x, y = outline[0].points[::3].T
    assert np.hypot(x - 50, y - 50) == pytest.approx(np.full(5, 19.75), abs=1e-6)


def test_no_inset_changes_nothing() -> None:
    drawing = Drawing(100, 100, (Shape((square(10, 50),), Flat((1, 2, 3))),))
    assert inset(drawing, 0.0) is drawing
