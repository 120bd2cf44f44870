"""Paints fitted to pixels, on images whose paints are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.records import Pixels
from pipeline.svg.fills import needs_cutout, refit
from pipeline.svg.shapes import (
    Drawing,
    Ellipse,
    Flat,
    LinearGradient,
    Loop,
    Paint,
    RadialGradient,
    Rectangle,
    Shape,
)
from pipeline.tracing import raster
from pipeline.tracing.raster import labels

SIDE = 64
GREY = Flat((128, 128, 128))
WHOLE = Rectangle((0.0, 0.0), (SIDE, SIDE))
DISC = Ellipse((32.0, 32.0), (20.0, 20.0))

YS, XS = np.mgrid[0:SIDE, 0:SIDE] + 0.5


def image(rgb: NDArray[np.float64], alpha: NDArray[np.float64] | float = 255) -> Pixels:
    rgba = np.empty((SIDE, SIDE, 4))
    rgba[..., :3], rgba[..., 3] = rgb, alpha
    return np.clip(np.rint(rgba), 0, 255).astype(np.uint8)


def blend(first: tuple[int, int, int], last: tuple[int, int, int], share: NDArray[np.float64]) -> NDArray[np.float64]:
    start, end = np.array(first, np.float64), np.array(last, np.float64)
    return start + (end - start) * np.clip(share, 0, 1)[..., np.newaxis]


def paint_of(rgba: Pixels, outline: Ellipse | Rectangle | tuple[Loop, ...] = WHOLE) -> Paint:
    return refit(Drawing(SIDE, SIDE, (Shape(outline, GREY),)), rgba, labels).shapes[0].paint


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_one_colour_comes_back(color: tuple[int, int, int]) -> None:
    assert paint_of(image(np.full((SIDE, SIDE, 3), color))) == Flat(color)


def test_a_soft_edge_has_no_say() -> None:
    cover = np.clip(20.5 - np.hypot(XS - 32, YS - 32), 0, 1)
    assert paint_of(image(blend((255, 255, 255), (200, 30, 60), cover)), DISC) == Flat((200, 30, 60))


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 250])
def test_a_linear_gradient_at_an_angle(degrees: int) -> None:
    unit = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    share = ((XS - 32) * unit[0] + (YS - 32) * unit[1]) / 90 + 0.5
    paint = paint_of(image(blend((250, 200, 20), (200, 20, 120), share)))
    assert isinstance(paint, LinearGradient)
    assert len(paint.stops) == 2
    way = np.subtract(paint.end, paint.start)
    assert abs(way @ unit) / np.linalg.norm(way) > np.cos(np.radians(1))
    for stop, at in ((paint.stops[0], paint.start), (paint.stops[-1], paint.end)):
        there = blend((250, 200, 20), (200, 20, 120), np.array([(np.array(at) - 32) @ unit / 90 + 0.5]))[0]
        np.testing.assert_allclose(stop.color, there, atol=2)


def test_a_bent_profile_gets_a_stop_where_it_bends() -> None:
    share = np.abs(XS / SIDE - 0.25)
    paint = paint_of(image(blend((20, 40, 200), (240, 240, 90), share)))
    assert isinstance(paint, LinearGradient)
    assert len(paint.stops) in (3, 4)
    bend = min(paint.stops, key=lambda stop: stop.color[0])
    assert abs(paint.start[0] + bend.offset * (paint.end[0] - paint.start[0]) - 16) < 3


@pytest.mark.parametrize("center", [(32, 32), (20, 25)])
def test_a_radial_gradient(center: tuple[int, int]) -> None:
    share = np.hypot(XS - center[0], YS - center[1]) / 50
    paint = paint_of(image(blend((255, 250, 150), (190, 30, 20), share)))
    assert isinstance(paint, RadialGradient)
    np.testing.assert_allclose(paint.center, center, atol=1.5)
    np.testing.assert_allclose(paint.stops[0].color, (255, 250, 150), atol=12)


@pytest.mark.parametrize("seed", range(5))
def test_noise_stays_flat(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 12, (SIDE, SIDE, 3))
    paint = paint_of(image(np.array([120, 130, 140]) + noise))
    assert isinstance(paint, Flat)
    np.testing.assert_allclose(paint.color, (120, 130, 140), atol=3)


def test_a_gradient_that_nobody_sees_stays_flat() -> None:
    assert isinstance(paint_of(image(blend((120, 120, 120), (126, 126, 126), XS / SIDE))), Flat)


def test_a_half_transparent_disc_gets_its_opacity() -> None:
    inside = np.hypot(XS - 32, YS - 32) < 20
    rgba = image(np.full((SIDE, SIDE, 3), (10, 90, 200)), np.where(inside, 102, 0))
    assert paint_of(rgba, DISC) == Flat((10, 90, 200), 0.4)
    assert needs_cutout(rgba)


def test_an_opacity_that_fades() -> None:
    rgba = image(np.full((SIDE, SIDE, 3), (0, 0, 0)), 220 - 200 * XS / SIDE)
    paint = paint_of(rgba)
    assert isinstance(paint, LinearGradient)
    opacities = sorted(stop.opacity for stop in paint.stops)
    assert opacities[0] < 0.15
    assert opacities[-1] > 0.8
    assert all(max(stop.color) <= 2 for stop in paint.stops)


def test_what_lies_over_another_shape_stays_opaque() -> None:
    rgba = image(np.full((SIDE, SIDE, 3), (10, 90, 200)), 102)
    below, above = refit(Drawing(SIDE, SIDE, (Shape(WHOLE, GREY), Shape(DISC, GREY))), rgba, labels).shapes
    assert below.paint == Flat((10, 90, 200), 0.4)
    assert above.paint == Flat((10, 90, 200))


@pytest.mark.parametrize("width", [1, 5, 8])
def test_soft_edges_alone_do_not_ask_for_cutout(width: int) -> None:
    rgba = image(np.zeros((SIDE, SIDE, 3)), 255 * np.clip((20.5 - np.hypot(XS - 32, YS - 32)) / width, 0, 1))
    assert not needs_cutout(rgba)


def test_a_shape_of_two_pixels() -> None:
    rgba = image(np.full((SIDE, SIDE, 3), (255, 255, 255)))
    rgba[10, 10:12, :3] = (250, 0, 0)
    assert paint_of(rgba, Rectangle((10.0, 10.0), (2.0, 1.0))) == Flat((250, 0, 0))


def test_what_shows_no_pixel_keeps_its_paint() -> None:
    rgba = image(np.full((SIDE, SIDE, 3), (1, 2, 3)))
    hidden, cover = refit(Drawing(SIDE, SIDE, (Shape(DISC, GREY), Shape(WHOLE, GREY))), rgba, labels).shapes
    assert hidden.paint == GREY
    assert cover.paint == Flat((1, 2, 3))


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the drawing 64 x 64"):
        refit(Drawing(SIDE, SIDE, ()), np.zeros((SIDE, 32, 4), np.uint8), labels)


def loop(points: list[tuple[float, float]], degrees: list[int]) -> Loop:
    return Loop(np.array(points), np.array(degrees, np.uint8))


@pytest.mark.parametrize("rasteriser", raster.DRAWINGS)
def test_labels_of_each_outline(rasteriser: str) -> None:
    ring = (
        loop([(0, 0), (20, 0), (20, 20), (0, 20)], [1, 1, 1]),
        loop([(5, 5), (5, 15), (15, 15), (15, 5), (5, 5)], [1, 1, 1, 1]),
    )
    bulge = (loop([(40, 40), (40, 20), (60, 20), (60, 40)], [3]),)
    outlines = (ring, Ellipse((30.0, 50.0), (5.0, 8.0)), Rectangle((40.0, 5.0), (10.0, 6.0)), bulge)
    hidden = tuple(Shape(WHOLE, GREY) for _ in range(300))
    shown = raster.labels(Drawing(SIDE, SIDE, hidden + tuple(Shape(outline, GREY) for outline in outlines)), rasteriser)
    assert shown.dtype == np.int32
    assert shown[2, 2] == 300
    assert shown[10, 10] == 299  # in the hole
    assert shown[50, 30] == 301
    assert (shown == 302).sum() == 60
    assert shown[30, 50] == 303
    assert shown[20, 50] == 299  # above the bulge


def test_nothing_is_painted_outside() -> None:
    shown = raster.labels(Drawing(SIDE, SIDE, (Shape(DISC, GREY),)))
    assert shown[0, 0] == -1
    assert abs((shown == 0).sum() - np.pi * 400) < 20


def test_a_dithered_shape_has_the_colour_that_a_person_sees() -> None:
    rgba = np.full((SIDE, SIDE, 4), 255, np.uint8)
    rgba[..., :3] = np.where((np.indices((SIDE, SIDE)).sum(0) % 3 == 0)[..., None], (72, 36, 170), (72, 36, 255))
    paint = refit(Drawing(SIDE, SIDE, (Shape(WHOLE, GREY),)), rgba, labels).shapes[0].paint
    assert isinstance(paint, Flat)
    assert np.abs(np.subtract(paint.color, (72, 36, 227))).max() <= 3
