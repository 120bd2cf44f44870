"""What `minify` prints against a plain printer of the same rounded drawing."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

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
from pipeline.tracing.raster import DRAWINGS, render
from tests.support.path_reader import flatten, segments
from tests.support.vtracer_output import loop_data, traced

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


def assert_same_picture(drawing: Drawing, steps: int) -> None:
    """At 4 x, to 10 of 255.

    Skia puts an edge within a quarter of a pixel where a path is complex, and which way depends on what else the path
    holds; so both are drawn at 28 x with the curves cut into lines, where that comes to 64 / 7 of 255.
    """
    ours, theirs = (fine(flatten(svg), drawing) for svg in (minify(drawing, steps), plain(drawing, steps)))
    assert np.abs(ours - theirs).max() <= 10, (minify(drawing, steps), plain(drawing, steps))


def fine(svg: str, drawing: Drawing) -> NDArray[np.int64]:
    size = (4 * drawing.width, 4 * drawing.height)
    pixels = render(svg, 7 * size[0], 7 * size[1])
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.int64)


whole = st.integers(-4, 36)
coordinates = st.one_of(whole.map(float), st.floats(-4, 36), st.integers(-16, 144).map(lambda value: value / 4))
points = st.tuples(coordinates, coordinates)
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


@given(drawings, st.sampled_from(STEPS))
def test_the_picture_is_that_of_a_plain_printer(drawing: Drawing, steps: int) -> None:
    assert_same_picture(drawing, steps)


@pytest.mark.parametrize("steps", [1, 3, 4, 100])
@pytest.mark.parametrize("mode", ["spline", "polygon", "none"])
@pytest.mark.parametrize("hierarchical", ["stacked", "cutout"])
def test_the_picture_of_a_trace(mode: str, hierarchical: str, steps: int) -> None:
    assert_same_picture(parse(traced(mode, hierarchical), 48, 40), steps)


@given(drawings, st.sampled_from(STEPS))
def test_the_same_drawing_prints_the_same_text(drawing: Drawing, steps: int) -> None:
    assert minify(drawing, steps) == minify(drawing, steps)
    assert not re.search(r"[eE]-?\d|\s\s|nan|inf|\d-0\b", body(drawing, steps))


@given(loops(), st.sampled_from(STEPS))
def test_what_is_printed_prints_itself(loop: Loop, steps: int) -> None:
    """Read back and printed again it is as long: nothing was left to gain by a second pass."""
    drawing = drawing_of(Shape((loop,), Flat((0, 0, 0))))
    text = minify(drawing, steps)
    data = re.search(r' d="([^"]*)"', text)
    if data is None:
        return
    scaled = "scale" in text
    assert len(minify(drawing_of(Shape(read(data[1], steps if scaled else 1), Flat((0, 0, 0)))), steps)) == len(text)


def read(data: str, scale: int) -> tuple[Loop, ...]:
    """The loops of path data, quadratics as cubics."""
    found: list[tuple[list[complex], list[int]]] = []
    for command, places in segments(data):
        if command == "M":
            found.append(([places[-1]], []))
        elif command == "L":
            if len(places) == 3:
                start, control, end = places
                places = [start, (start + 2 * control) / 3, (end + 2 * control) / 3, end]
            found[-1][0].extend(places[1:])
            found[-1][1].append(len(places) - 1)
    return tuple(
        Loop(np.array([(z.real / scale, z.imag / scale) for z in places]), np.array(degrees, dtype=np.uint8))
        for places, degrees in found
    )


GRADIENT = (Stop(0, (255, 0, 0)), Stop(1, (0, 0, 255), 0.5))
LINEAR = LinearGradient((4, 0), (20, 10), GRADIENT)
RADIAL = RadialGradient((12, 10), 9, (Stop(0.25, (0, 0, 0)), Stop(1, (255, 255, 255))))


@pytest.mark.parametrize("steps", [1, 4, 10])
@pytest.mark.parametrize("paint", [LINEAR, RADIAL])
def test_gradients(paint: Paint, steps: int) -> None:
    """As a plain printer's, below a scale and without; both rasterisers read them."""
    rough = Shape((curve((1, 1), (30.3, 2), (28.2, 20), (20, 22), (5.2, 21), (3, 10), (1, 1)),), paint)
    drawing = drawing_of(rough, square(28, 1, 3), Shape(Ellipse((6.5, 18.25), (4, 4)), paint))
    svg = minify(drawing, steps)
    assert svg.count("Gradient id=") == 1
    for name in DRAWINGS:
        ours, theirs = (DRAWINGS[name](text).pixels(128, 96).astype(int) for text in (svg, plain(drawing, steps)))
        assert np.abs(ours - theirs).mean() < 0.5, name


def test_gradient_text() -> None:
    svg = body(drawing_of(Shape((polygon((0, 0), (9, 0), (0, 9)),), LINEAR)))
    assert svg == (
        '<linearGradient id="a" gradientUnits="userSpaceOnUse" x1="4" x2="20" y2="10"><stop stop-color="red"/>'
        '<stop offset="1" stop-color="#00f" stop-opacity=".5"/></linearGradient><path fill="url(#a)" d="M0 9V0h9z"/>'
    )


RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_equal_paints_that_are_apart_share_a_path() -> None:
    assert body(drawing_of(square(0, 0, 4, RED), square(8, 0, 4, RED))) == (
        '<path fill="red" d="M0 0H4V4H0zm8 0h4V4H8z"/>'
    )


def test_equal_paints_that_touch_share_a_group() -> None:
    shapes = [square(x, 0, 4, RED) for x in (0, 2, 4)]
    svg = body(drawing_of(*shapes, square(20, 0, 4, RED)))
    assert svg.count('fill="red"') == 1
    assert svg.count("<path") == 3


@pytest.mark.parametrize("opacity", [1.0, 0.5])
def test_black_stays_black_among_shapes_of_another_fill(opacity: float) -> None:
    """SVG's default fill is not printed, but an outer group's fill would be inherited."""
    maroon = [square(9 * place, 2, 12, (128, 0, 0), 0.25 + 0.75 * (place % 2)) for place in range(3)]
    reds = [square(2.5 + place, 9 * (place % 3), 7, (128, 0, 0)) for place in (1, 8, 15, 22)]
    drawing = drawing_of(*maroon, *reds, square(4, 4, 16, (0, 0, 0), opacity), *reds[:2])
    assert '<g fill="maroon"' in minify(drawing, 3)
    assert_same_picture(drawing, 3)


def test_nothing_moves_over_what_overlaps_it() -> None:
    svg = body(drawing_of(square(0, 0, 4, RED), square(2, 2, 9, BLUE), square(8, 8, 4, RED)))
    assert [svg.count(text) for text in ("red", "#00f")] == [2, 1]
    apart = body(drawing_of(square(0, 0, 4, RED), square(20, 2, 9, BLUE), square(8, 8, 4, RED)))
    assert [apart.count(text) for text in ("red", "#00f")] == [1, 1]
    forward = body(drawing_of(square(0, 0, 4, RED), square(8, 8, 9, BLUE), square(8, 8, 4, RED)))
    assert forward.startswith('<path fill="#00f"')
    assert forward.count("red") == 1


def test_opposite_windings_do_not_cancel() -> None:
    one, other = polygon((0, 0), (9, 0), (9, 9), (0, 9)), polygon((3, 3), (3, 6), (6, 6), (6, 3))
    drawing = drawing_of(Shape((one,), Flat(RED)), Shape((other,), Flat(RED)))
    assert body(drawing).count("<path") == 2
    hole = drawing_of(Shape((one, other), Flat(RED)))
    assert body(hole).count("<path") == 1
    assert_same_picture(hole, 1)


def test_what_covers_nothing_vanishes() -> None:
    thin = Shape((polygon((0, 0), (9, 3), (3, 1)),), Flat(RED))
    dot = Shape((curve((1, 1), (1.1, 1), (1, 1.1), (1, 1)),), Flat(RED))
    assert body(drawing_of(thin, dot, Shape(Ellipse((4, 4), (0.2, 0.2)), Flat(RED)))) == ""


def test_a_coarser_grid_is_found() -> None:
    even = square(2, 4, 6)
    assert minify(drawing_of(even), 1000) == minify(drawing_of(even), 1)


def test_tolerance_lets_control_points_move_that_far() -> None:
    nearly = Shape((curve((0, 0), (3, 0.04), (6, -0.04), (9, 0), (9, 5), (3, 9), (0, 0)),), Flat((0, 0, 0)))
    exact, loose = (minify(drawing_of(nearly), 100, tolerance) for tolerance in (0.0, 0.05))
    assert len(loose) < len(exact)
    assert "z" in loose
    assert minify(drawing_of(nearly), 100, 0.03) == exact


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_grid_that_is_none(steps: int) -> None:
    with pytest.raises(ValueError, match="steps_per_pixel"):
        minify(drawing_of(square(0, 0, 1)), steps)


def test_count_nodes() -> None:
    closed = Shape((curve((0, 0), (1, 1), (2, 2), (3, 3), (3, 3), (3, 0), (0, 0)),), Flat((0, 0, 0)))
    round_box = Shape(Rectangle((0, 0), (4, 4), 1), Flat((0, 0, 0)))
    shapes = [closed, square(0, 0, 4), round_box, Shape(Ellipse((4, 4), (2, 2)), Flat((0, 0, 0)))]
    assert [count_nodes(drawing_of(shape)) for shape in shapes] == [2, 4, 8, 4]
    assert count_nodes(drawing_of(*shapes)) == 18


@pytest.mark.parametrize(
    ("shape", "steps", "expected"),
    [
        (square(2, 3, 5), 1, '<path d="M2 3H7V8H2z"/>'),
        (square(2, 3, 5), 1000, '<path d="M2 3H7V8H2z"/>'),
        (square(2.5, 3, 5, (255, 0, 0)), 10, '<path fill="red" d="m2.5 3h5v5h-5z"/>'),
        (square(0, 0, 5, (1, 2, 3), 0.5), 1, '<path fill="#010203" fill-opacity=".5" d="M0 0H5V5H0z"/>'),
        (
            Shape((curve((0, 0), (1, 1), (2, 2), (3, 3), (3, 3), (3, 0), (0, 0)),), Flat((0, 0, 0))),
            1,
            '<path d="m3 3s0-3-3-3z"/>',
        ),
        (Shape((curve((0, 0), (2, 4), (4, 4), (6, 0)),), Flat((0, 0, 0))), 1, '<path d="m0 0q3 6 6 0z"/>'),
        (Shape(Ellipse((5, 6), (3, 3)), Flat((0, 0, 0))), 1, '<circle cx="5" cy="6" r="3"/>'),
        (Shape(Ellipse((0, 6), (3, 2)), Flat((0, 0, 0))), 1, '<ellipse cy="6" rx="3" ry="2"/>'),
        (Shape(Rectangle((1, 2), (9, 8), 2), Flat((0, 0, 0))), 1, '<rect x="1" y="2" width="9" height="8" rx="2"/>'),
        (Shape(Rectangle((1, 2), (9, 8)), Flat((0, 0, 0))), 1, '<path d="m1 2h9v8H1z"/>'),
    ],
)
def test_text(shape: Shape, steps: int, expected: str) -> None:
    assert body(drawing_of(shape), steps) == expected
