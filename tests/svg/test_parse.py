from __future__ import annotations

import numpy as np
import pytest

from pipeline.svg.parse import UnparsedSvg, parse
from pipeline.svg.shapes import CUBIC, LINE, Flat, Loop
from pipeline.tracing.raster import render
from tests.support.vtracer_output import loop_data, traced

HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n<!-- Generator: visioncortex VTracer 0.6.12 -->\n'
SVG = HEADER + (
    '<svg version="1.1" xmlns="http://www.w3.org/2000/svg" width="40" height="20">\n'
    '<path d="M0 0 C1.5 0 -2 3 4 4 C4 5 5 5 0 0 Z M1,1 L2,1 L2,-2 Z " fill="#0A14FF" transform="translate(10,-0.5)"/>\n'
    '<path d="" fill="#000000" transform="translate(0,0)"/>\n'
    "</svg>\n"
)


def test_a_path_with_two_loops() -> None:
    drawing = parse(SVG, 40, 20)
    assert (drawing.width, drawing.height, len(drawing.shapes)) == (40, 20, 1)
    shape = drawing.shapes[0]
    assert shape.paint == Flat((10, 20, 255))
    assert isinstance(shape.outline, tuple)
    curve, polygon = shape.outline
    assert isinstance(curve, Loop)
    assert curve.degrees.tolist() == [CUBIC, CUBIC]
    assert curve.points[:4].tolist() == [[10, -0.5], [11.5, -0.5], [8, 2.5], [14, 3.5]]
    assert polygon.degrees.tolist() == [LINE, LINE]
    assert polygon.points.tolist() == [[11, 0.5], [12, 0.5], [12, -2.5]]


def test_coordinates_are_pixels_of_the_canvas() -> None:
    enlarged, plain = parse(SVG, 20, 5).shapes[0].outline, parse(SVG, 40, 20).shapes[0].outline
    assert isinstance(enlarged, tuple)
    assert isinstance(plain, tuple)
    for one, other in zip(enlarged, plain, strict=True):
        np.testing.assert_allclose(one.points, other.points * [0.5, 0.25])


def test_a_view_box_says_what_was_traced() -> None:
    svg = SVG.replace('height="20"', 'height="20" viewBox="0 0 80 40" preserveAspectRatio="none"')
    outline = parse(svg, 40, 20).shapes[0].outline
    assert isinstance(outline, tuple)
    assert outline[0].points[0].tolist() == [5, -0.25]


@pytest.mark.parametrize("mode", ["spline", "polygon", "none"])
@pytest.mark.parametrize("hierarchical", ["stacked", "cutout"])
@pytest.mark.parametrize("precision", range(9))
def test_all_that_vtracer_writes(mode: str, hierarchical: str, precision: int) -> None:
    """Printed again as plainly as can be, it looks as before."""
    svg = traced(mode, hierarchical, precision)
    drawing = parse(svg, 48, 40)
    assert len(drawing.shapes) == svg.count('d="M')
    paths = []
    for shape in drawing.shapes:
        assert isinstance(shape.outline, tuple)
        assert isinstance(shape.paint, Flat)
        data = " ".join(loop_data(loop) for loop in shape.outline)
        paths.append(f'<path d="{data}" fill="rgb{shape.paint.color}"/>')
    again = f'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="40">{"".join(paths)}</svg>'
    difference = np.abs(render(again, 192, 160).astype(int) - render(svg, 192, 160))
    # The translation is added in double precision here and in single precision there.
    assert difference.max() <= 8
    assert difference.mean() < 0.01


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("M0 0 C", "M0 0 Q"),
        ("M0 0 C", "m0 0 C"),
        ("M0 0 C", "M0 0 1 C"),
        ("M0 0 C", "M0  0 C"),
        ("M0 0 C", "M0 0 C1 "),
        ("M0 0 C", "C"),
        ("C1.5 0", "C1.5.5 0"),
        ("C1.5 0", "C1-5 0"),
        ("C1.5 0", "C1e5 0"),
        ("C1.5 0", "C\u0661 0"),
        ("0 0 Z M", "0 0 M"),
        ('fill="#0A14FF"', 'fill="red"'),
        (' transform="translate(10,-0.5)"', ""),
        ("translate(10,-0.5)", "scale(2)"),
        ("</svg>", "<g></g></svg>"),
        ("</svg>", ""),
        ('width="40"', 'width="0"'),
        ('width="40" ', ""),
        ("<svg ", "<html "),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    assert old in SVG
    with pytest.raises(UnparsedSvg):
        parse(SVG.replace(old, new, 1), 40, 20)


def test_no_path_at_all() -> None:
    assert parse(SVG[: SVG.index("<path")] + "</svg>", 4, 2).shapes == ()
