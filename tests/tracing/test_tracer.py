"""VTracer's true behaviour behind our call: the default is the command line's, byte for byte."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import vtracer
from PIL import Image

from pipeline.core.records import DEFAULT_PARAMS, PARAM_NAMES, Logo, TracerParams
from pipeline.tracing.preparation import prepare
from pipeline.tracing.raster import render
from pipeline.tracing.space import active_names
from pipeline.tracing.tracer import TraceError, encode, on_canvas, trace


def traced(logo: Logo, params: TracerParams) -> str:
    return trace(encode(prepare(logo.rgba, params)), params)


def speckled(logo: Logo) -> Logo:
    """With dark dots of one to six pixels, so that in black and white too there is something to drop."""
    rgba = logo.rgba.copy()
    for side in range(1, 7):
        rgba[10 * side : 11 * side, 2 : 2 + side] = (30, 10, 10, 255)
        rgba[90 - 10 * side : 90 - 9 * side, 90 - side : 90] = (30, 10, 10, 255)
    return Logo.of("speckled", rgba, "simple")


def traced_or_empty(logo: Logo, params: TracerParams) -> str:
    """A pale logo can have nothing to draw in black and white."""
    try:
        return traced(logo, params)
    except TraceError as error:
        return error.kind


def command_line_default(logo: Logo) -> str:
    buffer = io.BytesIO()
    Image.fromarray(logo.rgba).save(buffer, "PNG")
    return str(vtracer.convert_raw_image_to_svg(buffer.getvalue(), "png", path_precision=2))


def test_the_default_is_the_command_lines(logo: Logo, opaque_logo: Logo, real_logos: list[Logo]) -> None:
    for picture in (logo, opaque_logo, *real_logos):
        assert traced(picture, DEFAULT_PARAMS) == command_line_default(picture)


def test_transparency_beside_all_key_colours_is_traced_the_same_each_time() -> None:
    """VTracer alone would paint what is transparent in another random colour each time, and let it be seen."""
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[8:34, 8:56] = (120, 130, 140, 255)
    for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)]):
        rgba[9 + i, 9] = (*colour, 255)
    params = TracerParams(hierarchical="cutout", color_precision=1, layer_difference=1)
    picture = Logo.of("key", rgba, "simple")
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG")
    values = {name: value for name, value in params.to_json().items() if name not in NOT_VTRACERS}
    alone = {vtracer.convert_raw_image_to_svg(buffer.getvalue(), "png", **values) for _ in range(16)}
    assert len(alone) > 1
    assert len({traced(picture, params) for _ in range(16)}) == 1


NOT_VTRACERS = ("prescale", "palette", "simplify", "refit", "steps_per_pixel")
"""Parameters of what is done before and after it."""

CHANGED: dict[str, list[Any]] = {
    "hierarchical": ["cutout"],
    "filter_speckle": [0, 16],
    "color_precision": [1, 8],
    "layer_difference": [1, 200],
    "corner_threshold": [0, 180],
    "length_threshold": [3.5, 10.0],
    "max_iterations": [1, 20],
    "splice_threshold": [0, 180],
    "path_precision": [0, 8],
    "prescale": [2.0],
    "palette": [2],
}


@pytest.mark.parametrize("colormode", ["color", "binary"])
@pytest.mark.parametrize("mode", ["spline", "polygon", "none"])
def test_inactive_parameters_change_nothing_and_active_ones_something(
    mode: Any, colormode: Any, logo: Logo, real_logos: list[Logo]
) -> None:
    """On an enlarged image too: the corners of polygons stay whole numbers."""
    pictures = (logo, speckled(logo), *real_logos[:3])
    for prescale in (1.0, 1.5):
        base = TracerParams(mode=mode, colormode=colormode, prescale=prescale)
        before = [traced_or_empty(picture, base) for picture in pictures]
        for name, values in CHANGED.items():
            moved = any(
                traced_or_empty(picture, replace(base, **{name: value})) != svg
                for value in values
                for picture, svg in zip(pictures, before, strict=True)
            )
            assert moved == (name in active_names(base)), (name, prescale)
    improvement = {"simplify", "refit", "steps_per_pixel"}  # what is done to the text afterwards
    assert set(CHANGED) | {"mode", "colormode"} | improvement == set(PARAM_NAMES)


def test_modes_reach_vtracer_as_what_they_are(logo: Logo) -> None:
    """It takes any unknown word for spline, so a wrong mapping would go unnoticed."""
    spline, polygon, none = (traced(logo, TracerParams(mode=mode)) for mode in ("spline", "polygon", "none"))
    assert " C" in spline
    assert " C" not in polygon
    assert " C" not in none
    assert len(none) > len(polygon)
    assert 'fill="#000000"' in traced(logo, TracerParams(colormode="binary"))


@pytest.mark.parametrize("prescale", [1.25, 1.5, 2.0, 3.0])
def test_an_enlarged_trace_is_on_the_originals_canvas(prescale: float, real_logos: list[Logo]) -> None:
    for picture in real_logos[:4]:
        svg = on_canvas(traced(picture, TracerParams(prescale=prescale)), picture.width, picture.height)
        assert f'width="{picture.width}" height="{picture.height}" viewBox="0 0 ' in svg
        assert svg.count("<svg") == 1
        enlarged = render(svg, picture.width, picture.height).astype(float)
        as_it_is = render(traced(picture, DEFAULT_PARAMS), picture.width, picture.height).astype(float)
        assert np.abs(enlarged - as_it_is).mean() < 12


def test_only_the_header_is_rewritten() -> None:
    svg = '<?xml?>\n<svg version="1.1" xmlns="x" width="30" height="20">\n<path d="M0 0"/></svg>'
    assert on_canvas(svg, 15, 10) == svg.replace('width="30" height="20"', 'width="15" height="10" viewBox="0 0 30 20"')
    assert 'preserveAspectRatio="none"' in on_canvas(svg, 15, 11)
    with pytest.raises(TraceError, match="no size"):
        on_canvas("<svg>", 1, 1)


def test_the_same_input_gives_the_same_bytes(logo: Logo) -> None:
    assert len({traced(logo, TracerParams(prescale=1.5, palette=4)) for _ in range(3)}) == 1


def test_a_panic_is_a_typed_error(logo: Logo) -> None:
    with pytest.raises(TraceError) as caught:
        traced(logo, replace(DEFAULT_PARAMS, max_iterations=0))
    assert caught.value.kind == "panic"
    assert caught.value.detail


def test_an_svg_without_a_path_is_a_typed_error() -> None:
    with pytest.raises(TraceError) as caught:
        trace(encode(np.zeros((32, 32, 4), np.uint8)), DEFAULT_PARAMS)
    assert caught.value.kind == "empty"
