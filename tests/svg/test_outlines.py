"""Simpler outlines: what is recognised, what is kept, and how far the new outline may be from the old."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.svg.outlines import simplify
from pipeline.svg.shapes import CUBIC, LINE, Drawing, Ellipse, Flat, Loop, Outline, Rectangle, Shape

Complexes = NDArray[np.complex128]


def loop_of(points: Complexes) -> Loop:
    """A closed polygon."""
    closed = np.append(points, points[0])
    return Loop(np.stack([closed.real, closed.imag], 1), np.full(len(points), LINE, np.uint8))


def drawing_of(*loops: Loop) -> Drawing:
    return Drawing(200, 200, (Shape(loops, Flat((10, 20, 30))),))


def dense(loop: Loop) -> Complexes:
    """Closely spaced points of a loop."""
    points = loop.points[:, 0] + 1j * loop.points[:, 1]
    found, place = [], 0
    u = np.linspace(0, 1, 16)
    for degree in loop.degrees.tolist():
        p = points[place : place + degree + 1]
        if degree == LINE:
            found.append(p[0] + (p[1] - p[0]) * u)
        else:
            v = 1 - u
            found.append(v**3 * p[0] + 3 * u * v * v * p[1] + 3 * u * u * v * p[2] + u**3 * p[3])
        place += degree
    return np.concatenate(found)


def area(loop: Loop) -> float:
    points = dense(loop)
    return float((np.conj(points) * np.roll(points, -1)).imag.sum() / 2)


def distance(one: Loop, two: Loop) -> float:
    """Hausdorff distance, from dense points to the polylines through dense points."""
    return max(_farthest(dense(one), dense(two)), _farthest(dense(two), dense(one)))


def _farthest(points: Complexes, polyline: Complexes) -> float:
    start, step = polyline[:-1], np.diff(polyline)
    squared = np.maximum(np.abs(step) ** 2, 1e-12)
    along = ((points[:, None] - start) * np.conj(step)).real / squared
    return float(np.abs(points[:, None] - start - np.clip(along, 0, 1) * step).min(1).max())


def noisy(points: Complexes, size: float = 0.08) -> Complexes:
    generator = np.random.default_rng(3)
    return points + size * (generator.uniform(-1, 1, len(points)) + 1j * generator.uniform(-1, 1, len(points)))


def circle(center: complex, rx: float, ry: float, count: int = 60) -> Complexes:
    angle = np.arange(count) / count * 2 * np.pi
    return center + rx * np.cos(angle) + 1j * ry * np.sin(angle)


def polygon(corners: list[complex], spacing: float = 3.0) -> Complexes:
    """Points along straight sides."""
    sides = []
    for start, end in pairwise([*corners, corners[0]]):
        count = max(1, round(abs(end - start) / spacing))
        sides.append(start + (end - start) * np.arange(count) / count)
    return np.concatenate(sides)


def only_outline(drawing: Drawing) -> Outline:
    (shape,) = drawing.shapes
    return shape.outline


def only_loop(drawing: Drawing) -> Loop:
    outline = only_outline(drawing)
    assert isinstance(outline, tuple)
    (loop,) = outline
    return loop


def test_a_noisy_circle_is_a_circle() -> None:
    ellipse = only_outline(simplify(drawing_of(loop_of(noisy(circle(50 + 40j, 20, 20)))), 0.2))
    assert isinstance(ellipse, Ellipse)
    assert ellipse.radii[0] == ellipse.radii[1] == pytest.approx(20, abs=0.15)
    assert ellipse.center == pytest.approx((50, 40), abs=0.1)


def test_a_noisy_ellipse_is_an_ellipse() -> None:
    ellipse = only_outline(simplify(drawing_of(loop_of(noisy(circle(50 + 40j, 30, 18)))), 0.2))
    assert isinstance(ellipse, Ellipse)
    assert ellipse.radii == pytest.approx((30, 18), abs=0.15)


def test_a_notch_of_a_pixel_is_no_part_of_a_circle() -> None:
    points = circle(50 + 40j, 20, 20, 120)
    points[14] *= 1 - 0.9 / abs(points[14])
    assert isinstance(only_outline(simplify(drawing_of(loop_of(points)), 0.2)), Ellipse)


def test_a_circle_with_a_dent_stays_a_loop() -> None:
    points = circle(50 + 40j, 20, 20, 120)
    points[10:20] -= 2 * np.exp(1j * 2 * np.pi * np.arange(10, 20) / 120)
    assert isinstance(only_outline(simplify(drawing_of(loop_of(points)), 0.2)), tuple)


def test_a_noisy_rectangle_is_a_rectangle() -> None:
    corners = [10 + 10j, 60 + 10j, 60 + 40j, 10 + 40j]
    rectangle = only_outline(simplify(drawing_of(loop_of(noisy(polygon(corners)))), 0.2))
    assert isinstance(rectangle, Rectangle)
    assert rectangle.radius == 0
    assert rectangle.corner == pytest.approx((10, 10), abs=0.1)
    assert rectangle.size == pytest.approx((50, 30), abs=0.15)


def test_a_rounded_rectangle_keeps_its_radius() -> None:
    angle = np.linspace(0, np.pi / 2, 12)
    arcs = [c + 8 * np.exp(1j * (angle + turn)) for c, turn in ((52 + 32j, 0), (18 + 32j, np.pi / 2))]
    arcs += [c + 8 * np.exp(1j * (angle + turn)) for c, turn in ((18 + 18j, np.pi), (52 + 18j, 1.5 * np.pi))]
    rectangle = only_outline(simplify(drawing_of(loop_of(noisy(np.concatenate(arcs), 0.05))), 0.2))
    assert isinstance(rectangle, Rectangle)
    assert rectangle.radius == pytest.approx(8, abs=0.6)
    assert rectangle.size == pytest.approx((50, 30), abs=0.2)


def test_a_ring_is_eight_arcs_and_its_hole_runs_the_other_way() -> None:
    outer, inner = circle(50 + 50j, 30, 30), circle(50 + 50j, 20, 20)[::-1]
    outline = only_outline(simplify(drawing_of(loop_of(noisy(outer)), loop_of(noisy(inner))), 0.2))
    assert isinstance(outline, tuple)
    assert [loop.degrees.tolist() for loop in outline] == [[CUBIC] * 4] * 2
    assert area(outline[0]) == pytest.approx(np.pi * 900, rel=0.01)
    assert area(outline[1]) == pytest.approx(-np.pi * 400, rel=0.01)


def test_a_triangle_has_three_straight_sides_and_sharp_corners() -> None:
    corners = [10 + 10j, 90 + 30j, 40 + 80j]
    loop = only_loop(simplify(drawing_of(loop_of(noisy(polygon(corners)))), 0.2))
    assert loop.degrees.tolist() == [LINE] * 3
    ends = loop.points[:3, 0] + 1j * loop.points[:3, 1]
    for corner in corners:
        assert np.abs(ends - corner).min() < 0.3


def test_a_chamfered_corner_is_sharpened() -> None:
    corners = [50 + 10j, 90 + 40j, 60 + 80j, 20 + 50j]
    sides = polygon(corners, 0.6)
    cut = sides[np.min(np.abs(sides[:, None] - np.array(corners)), axis=1) > 0.5]
    loop = only_loop(simplify(drawing_of(loop_of(cut)), 0.2))
    assert loop.degrees.tolist() == [LINE] * 4
    ends = loop.points[:, 0] + 1j * loop.points[:, 1]
    for corner in corners:
        assert np.abs(ends - corner).min() < 0.1


def test_a_nearly_level_side_is_level() -> None:
    corners = [10 + 10j, 90 + 10.2j, 40 + 80j]
    loop = only_loop(simplify(drawing_of(loop_of(polygon(corners))), 0.2))
    steps = np.diff(loop.points, axis=0)
    assert (np.abs(steps[:, 1]) < 1e-9).sum() == 1


def test_a_half_disc_is_a_line_and_few_curves() -> None:
    angle = np.linspace(0, np.pi, 60)
    loop = only_loop(simplify(drawing_of(loop_of(noisy(50 + 50j + 30 * np.exp(1j * angle), 0.05))), 0.2))
    assert LINE in loop.degrees.tolist()
    assert len(loop.degrees) <= 5


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(0.0, 6.0),
    st.sampled_from([0.1, 0.2, 0.4]),
    st.booleans(),
)
def test_a_smooth_outline_stays_within_the_tolerance(
    waves: list[float], phase: float, tolerance: float, backwards: bool
) -> None:
    angle = np.arange(120) / 120 * 2 * np.pi
    radius = 40 + sum(4 * size * np.cos((k + 2) * angle + phase) for k, size in enumerate(waves))
    points = 100 + 100j + radius * np.exp(1j * angle) * (1 + 0j)
    before = loop_of(points[::-1] if backwards else points)
    result = only_outline(simplify(drawing_of(before, loop_of(circle(20 + 20j, 4, 4))), tolerance))
    assert isinstance(result, tuple)
    assert distance(before, result[0]) <= 2 * tolerance + 0.05
    assert np.sign(area(result[0])) == np.sign(area(before))
    assert area(result[0]) == pytest.approx(area(before), rel=0.02)
    assert len(result[0].degrees) <= 30


def test_a_second_pass_changes_little() -> None:
    angle = np.arange(120) / 120 * 2 * np.pi
    before = drawing_of(loop_of(100 + 100j + (40 + 8 * np.cos(3 * angle)) * np.exp(1j * angle)))
    once = simplify(before, 0.2)
    twice = simplify(once, 0.2)
    assert distance(only_loop(once), only_loop(twice)) <= 0.4
    assert len(only_loop(twice).degrees) <= len(only_loop(once).degrees)


def test_no_tolerance_and_no_shapes_change_nothing() -> None:
    drawing = drawing_of(loop_of(circle(50 + 40j, 20, 20)))
    assert simplify(drawing, 0.0) is drawing
    empty = Drawing(10, 10, ())
    assert simplify(empty, 0.2) is empty


@pytest.mark.parametrize(
    "points",
    [
        [5 + 5j, 5 + 5j, 5 + 5j],
        [5 + 5j, 6 + 5j],
        [5 + 5j, 50 + 5j, 5 + 5j],
        [5 + 5j, 5.5 + 5j, 5.5 + 5.5j, 5 + 5.5j],
        [0, 30 + 0.5j, 0 + 1j],
        [1 + 1j, 9 + 9j, 9 + 1j, 1 + 9j],
    ],
)
def test_degenerate_loops_survive(points: list[complex]) -> None:
    loop = only_outline(simplify(drawing_of(loop_of(np.array(points, complex)), loop_of(circle(50, 9, 9))), 0.2))
    assert isinstance(loop, tuple)
    assert len(loop) == 2
    for item in loop:
        assert np.isfinite(item.points).all()
        assert len(item.points) == 1 + int(item.degrees.sum())


def test_an_open_loop_is_closed() -> None:
    points = np.array([[10, 10], [60, 12], [40, 70]], float)
    loop = only_loop(simplify(drawing_of(Loop(points, np.full(2, LINE, np.uint8))), 0.2))
    assert loop.degrees.tolist() == [LINE] * 3


def test_a_loop_without_a_segment_stays_as_it_is_wherever_it_stands() -> None:
    point = Loop(np.array([[3.0, 4.0]]), np.zeros(0, np.uint8))
    for loops in ([point], [point, loop_of(circle(20 + 20j, 8, 8))], [loop_of(circle(20 + 20j, 8, 8)), point]):
        simple = simplify(Drawing(64, 64, tuple(Shape((loop,), Flat((1, 2, 3))) for loop in loops)), 0.3)
        assert len(simple.shapes) == len(loops)
