"""Rendering is always on the canvas asked for."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from pipeline.core.pixels import rgb_of
from pipeline.tracing.raster import DRAWINGS, RenderError, render

SQUARE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><path d="M0 0 H5 V10 H0 Z" fill="#ff0000"/></svg>'
)


def test_colours_and_background_are_where_they_belong() -> None:
    pixels = render(SQUARE, 10, 10, (0, 0, 255))
    assert pixels.shape == (10, 10, 3)
    assert (pixels[:, :5] == (255, 0, 0)).all()
    assert (pixels[:, 5:] == (0, 0, 255)).all()


@pytest.mark.parametrize(("width", "height"), [(30, 30), (20, 40), (7, 5)])
def test_the_drawing_covers_the_whole_canvas(width: int, height: int) -> None:
    pixels = render(SQUARE, width, height)
    assert pixels.shape == (height, width, 3)
    assert pixels[:, 0].tolist() == [[255, 0, 0]] * height
    assert pixels[:, -1].tolist() == [[255, 255, 255]] * height


def test_a_view_box_is_drawn_at_the_size_in_the_header() -> None:
    boxed = SQUARE.replace(
        'width="10" height="10"', 'width="20" height="5" viewBox="0 0 10 10" preserveAspectRatio="none"'
    )
    assert np.array_equal(render(boxed, 10, 10), render(SQUARE, 10, 10))


def test_a_drawing_outlives_its_text_and_draws_twice() -> None:
    drawing = next(iter(DRAWINGS.values()))("".join([SQUARE[:-6], "<!-- ", "x" * 50_000, " --></svg>"]))
    gc.collect()
    assert np.array_equal(drawing.pixels(10, 10), drawing.pixels(10, 10))
    assert drawing.pixels(30, 30).shape == (30, 30, 3)


@pytest.mark.parametrize(
    "text", ["", "no svg", "<svg", '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>']
)
def test_what_cannot_be_drawn_is_a_typed_error(text: str) -> None:
    with pytest.raises(RenderError):
        render(text, 10, 10)


def test_colours_are_parsed() -> None:
    assert rgb_of("#0A80ff") == (10, 128, 255)
