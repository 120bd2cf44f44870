"""What `minify` prints against a plain printer of the same rounded drawing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.svg.minify import count_nodes, minify
from pipeline.svg.parse import parse
from pipeline.svg.shapes import (
    CUBIC,
    LINE,
    Color,
    Drawing,
    Ellipse,
    Flat,
    LinearGradient,
    Loop,
    Paint,
    RadialGradient,
    Rectangle,
    Shape,
    Stop,
)
from pipeline.tracing.raster import render
from tests.svg.test_parse import loop_data, traced

WIDTH, HEIGHT = 32, 24
HEAD = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
STEPS = (1, 2, 3, 4, 5, 7, 8, 10, 100, 1000)


def polygon(*points: tuple[float, float]) -> Loop:
    return Loop(np.array(points, dtype=np.float64), np.full(len(points) - 1, LINE, dtype=np.uint8))


def curve(*points: tuple[float, float]) -> Loop:
    return Loop(np.array(points, dtype=np.float64), np.full(len(points) // 3, CUBIC, dtype=np.uint8))


def drawing_of(*shapes: Shape) -> Drawing:
    return Drawing(WIDTH, HEIGHT, shapes)


def square(x: float, y: float, side: float, color: Color = (0, 0, 0), opacity: float = 1.0) -> Shape:
    corners = ((x, y), (x + side, y), (x + side, y + side), (x, y + side))
    return Shape((polygon(*corners),), Flat(color, opacity))


def body(drawing: Drawing, steps: int = 1, tolerance: float = 0.0) -> str:
    svg = minify(drawing, steps, tolerance)
    assert svg.startswith(HEAD)
    assert svg.endswith("</svg>")
    return svg[len(HEAD) : -len("</svg>")]


def plain(drawing: Drawing, steps: int) -> str:
    """The rounded drawing printed with absolute commands, all digits, one element for each shape."""
    definitions, elements = "", ""
    for number, shape in enumerate(drawing.shapes):
        paint = shape.paint
        if isinstance(paint, Flat):
            attributes = f'fill="rgb{paint.color}" fill-opacity="{paint.opacity}"'
        else:
            attributes = f'fill="url(#g{number})"'
            stops = "".join(
                f'<stop offset="{s.offset}" stop-color="rgb{s.color}" stop-opacity="{s.opacity}"/>' for s in paint.stops
            )
            if isinstance(paint, LinearGradient):
                (x1, y1), (x2, y2) = paint.start, paint.end
                kind, where = "linearGradient", f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
            else:
                kind, where = "radialGradient", f'cx="{paint.center[0]}" cy="{paint.center[1]}" r="{paint.radius}"'
            units = 'gradientUnits="userSpaceOnUse"'
            definitions += f'<{kind} id="g{number}" {units} {where}>{stops}</{kind}>'
        outline = shape.outline
        if isinstance(outline, Ellipse):
            (x, y), (rx, ry) = rounded(outline.center, steps), rounded(outline.radii, steps)
            elements += f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" {attributes}/>'
        elif isinstance(outline, Rectangle):
            x, y = rounded(outline.corner, steps)
            far = (outline.corner[0] + outline.size[0], outline.corner[1] + outline.size[1])
            right, bottom = rounded(far, steps)
            (radius,) = rounded((outline.radius,), steps)
            size = f'width="{right - x}" height="{bottom - y}"'
            elements += f'<rect x="{x}" y="{y}" {size} rx="{radius}" {attributes}/>'
        else:
            loops = [replace(loop, points=np.rint(loop.points * steps) / steps) for loop in outline]
            elements += f'<path d="{"".join(map(loop_data, loops))}" {attributes}/>'
    head = HEAD.replace(str(WIDTH), str(drawing.width)).replace(str(HEIGHT), str(drawing.height))
    return f"{head}{definitions}{elements}</svg>"


def rounded(values: tuple[float, ...], steps: int) -> tuple[float, ...]:
    return tuple(round(value * steps) / steps for value in values)


def assert_same_picture(drawing: Drawing, steps: int, allowed: int = 1) -> None:
    width, height = 4 * drawing.width, 4 * drawing.height
    ours, theirs = render(minify(drawing, steps), width, height), render(plain(drawing, steps), width, height)
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= allowed, (minify(drawing, steps), plain(drawing, steps))


whole = st.integers(-4, 36)
coordinates = st.one_of(whole.map(float), st.floats(-4, 36), st.integers(-16, 144).map(lambda value: value / 4))
points = st.tuples(coordinates, coordinates)
channels = st.sampled_from([0, 17, 128, 200, 255])
colors = st.sampled_from([(0, 0, 0), (255, 0, 0), (17, 34, 51), (128, 0, 0), (1, 2, 3)])
flats = st.builds(Flat, colors, st.sampled_from([1.0, 1.0, 0.5, 0.25]))


@st.composite
def loops(draw: st.DrawFn) -> Loop:
    degrees = draw(st.lists(st.sampled_from([LINE, LINE, CUBIC]), min_size=1, max_size=6))
    count = 1 + sum(degrees)
    return Loop(
        np.array(draw(st.lists(points, min_size=count, max_size=count)), dtype=np.float64),
        np.array(degrees, dtype=np.uint8),
    )


outlines = st.one_of(
    st.lists(loops(), min_size=1, max_size=3).map(tuple),
    st.builds(Ellipse, points, st.tuples(st.floats(0, 9), st.floats(0, 9))),
    st.builds(Rectangle, points, st.tuples(st.floats(0, 20), st.floats(0, 20)), st.sampled_from([0.0, 1.5])),
)
drawings = st.lists(st.builds(Shape, outlines, flats), min_size=0, max_size=6).map(lambda shapes: drawing_of(*shapes))


@settings(max_examples=200, deadline=None)
@given(drawings, st.sampled_from(STEPS))
def test_the_picture_is_that_of_a_plain_printer(drawing: Drawing, steps: int) -> None:
    assert_same_picture(drawing, steps)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("mode", ["spline", "polygon", "none"])
@pytest.mark.parametrize("hierarchical", ["stacked", "cutout"])
def test_the_picture_of_a_trace(mode: str, hierarchical: str, steps: int) -> None:
    assert_same_picture(parse(traced(mode, hierarchical), 48, 40), steps)


@settings(max_examples=60, deadline=None)
@given(drawings, st.sampled_from(STEPS))
def test_the_same_drawing_prints_the_same_text(drawing: Drawing, steps: int) -> None:
    assert minify(drawing, steps) == minify(drawing, steps)
    assert not re.search(r"[eE]-?\d|\s\s|nan|inf|\d-0\b", body(drawing, steps))


@pytest.mark.parametrize(
    ("shape", "steps", "expected"),
    [
        (square(2, 3, 5), 1, '<path d="m2 3h5v5H2z"/>'),
        (square(2, 3, 5), 1000, '<path d="m2 3h5v5H2z"/>'),
        (square(2.5, 3, 5, (255, 0, 0)), 10, '<path fill="red" d="m2.5 3h5v5h-5z"/>'),
        (square(0, 0, 5, (1, 2, 3), 0.5), 1, '<path fill="#010203" fill-opacity=".5" d="m0 0h5v5H0z"/>'),
        (Shape((curve((0, 0), (1, 1), (2, 2), (3, 3), (3, 3), (3, 0), (0, 0)),), Flat((0, 0, 0))), 1,
         '<path d="m3 3C3 3 3 0 0 0z"/>'),
        (Shape((curve((0, 0), (2, 4), (4, 4), (6, 0)),), Flat((0, 0, 0))), 1, '<path d="m0 0C2 4 4 4 6 0z"/>'),
        (Shape((curve((0, 0), (2, 4), (4, 4), (6, 0)),), Flat((0, 0, 0))), 3, '<path d="m0 0Q3 6 6 0z"/>'),
        (Shape(Ellipse((5, 6), (3, 3)), Flat((0, 0, 0))), 1, '<circle cx="5" cy="6" r="3"/>'),
        (Shape(Ellipse((0, 6), (3, 2)), Flat((0, 0, 0))), 1, '<ellipse cy="6" rx="3" ry="2"/>'),
        (Shape(Rectangle((1, 2), (9, 8), 2), Flat((0, 0, 0))), 1, '<rect x="1" y="2" width="9" height="8" rx="2"/>'),
        (Shape(Rectangle((1, 2), (9, 8)), Flat((0, 0, 0))), 1, '<path d="m1 2h9v8H1z"/>'),
    ],
)
def test_text(shape: Shape, steps: int, expected: str) -> None:
    assert body(drawing_of(shape), steps) == expected
