"""The file that is written: always on the image's canvas, never larger than VTracer's own, and never lost."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import DEFAULT_PARAMS, Logo, Pixels, TracerParams
from pipeline.svg.parse import parse
from pipeline.tracing.improvement import Picture, improve
from pipeline.tracing.preparation import adapt, for_size, prepare
from pipeline.tracing.quality import paths_and_nodes
from pipeline.tracing.raster import render
from pipeline.tracing.tracer import TraceError, encode, on_canvas, trace
from tests.support.fakes import rgba_of

BOX = re.compile(r'<svg [^>]*width="(\d+)" height="(\d+)" viewBox="0 0 (\d+) (\d+)"')

UNKNOWN = (
    '<svg version="1.1" xmlns="http://www.w3.org/2000/svg" width="64" height="32">'
    '<circle cx="9" cy="9" r="5"/><path d="M0 0 L5 0 L5 5 Z" fill="#ff0000"/></svg>'
)


def traced(rgba: Pixels, params: TracerParams) -> str:
    return trace(encode(prepare(rgba, params)), adapt(params, rgba))


def improved(rgba: Pixels, params: TracerParams) -> Picture:
    return improve(traced(rgba, params), rgba, params)


SETTINGS = st.builds(
    TracerParams,
    mode=st.sampled_from(["spline", "polygon", "none"]),
    hierarchical=st.sampled_from(["stacked", "cutout"]),
    prescale=st.sampled_from([1.0, 1.3, 2.0]),
    palette=st.sampled_from([0, 4]),
    path_precision=st.sampled_from([0, 2, 8]),
    simplify=st.sampled_from([0.0, 0.2, 2.0]),
    refit=st.sampled_from([0, 1]),
    steps_per_pixel=st.sampled_from([1, 4, 10, 100]),
)


@given(seed=st.integers(0, 10_000), side=st.integers(24, 70), params=SETTINGS)
def test_every_picture_stands_on_the_images_canvas_and_says_what_it_holds(
    seed: int, side: int, params: TracerParams
) -> None:
    rgba = rgba_of(seed, side)[: side - 3]
    picture = improved(rgba, params)
    box = BOX.match(picture.svg)
    assert box is not None
    assert [int(number) for number in box.groups()] == [side, side - 3, side, side - 3]
    assert picture.parsed
    assert 0 < picture.paths <= picture.nodes
    assert picture.traced_bytes == len(traced(rgba, params).encode())


@given(seed=st.integers(0, 10_000), side=st.integers(24, 70), noise=st.sampled_from([0, 5, 60]))
def test_the_fair_default_is_never_larger_than_vtracers_own(seed: int, side: int, noise: int) -> None:
    rgba = rgba_of(seed, side)
    colours = rgba[..., :3].astype(int) + np.random.default_rng(seed).integers(-noise, noise + 1, (side, side, 3))
    rgba[..., :3] = colours.clip(0, 255)
    picture = improved(rgba, DEFAULT_PARAMS)
    assert picture.parsed
    assert len(picture.svg.encode()) <= picture.traced_bytes


def test_the_fair_default_draws_what_vtracers_own_draws(logo: Logo, real_logos: list[Logo]) -> None:
    for picture in (logo, *real_logos):
        own = on_canvas(traced(picture.rgba, DEFAULT_PARAMS), picture.width, picture.height)
        fair = improved(picture.rgba, DEFAULT_PARAMS)
        assert len(fair.svg) < 0.75 * len(own)
        before, after = (render(svg, picture.width, picture.height).astype(int) for svg in (own, fair.svg))
        assert np.abs(before - after).mean() < 0.1


@pytest.mark.parametrize("params", [DEFAULT_PARAMS, TracerParams(simplify=0.5, refit=1, steps_per_pixel=2)])
def test_what_cannot_be_parsed_is_kept_as_vtracer_printed_it(params: TracerParams) -> None:
    rgba = rgba_of(1, 32)[:16]
    picture = improve(UNKNOWN, rgba, params)
    kept = on_canvas(UNKNOWN, 32, 16)
    assert picture == Picture(kept, len(UNKNOWN), *paths_and_nodes(kept), parsed=False)
    assert (picture.paths, picture.nodes) == (1, 3)
    assert 'width="32" height="16" viewBox="0 0 64 32"' in kept


def test_a_text_without_a_size_is_a_typed_error() -> None:
    with pytest.raises(TraceError, match="no size"):
        improve("<svg><path/></svg>", rgba_of(1), DEFAULT_PARAMS)


def test_a_picture_without_a_shape_is_a_failure() -> None:
    header = '<svg version="1.1" xmlns="http://www.w3.org/2000/svg" width="32" height="32">'
    for path in ("", '<path d="" fill="#ff0000" transform="translate(1,1)"/>'):
        with pytest.raises(TraceError, match="empty: no shape"):
            improve(f"{header}\n{path}\n</svg>\n", rgba_of(1), DEFAULT_PARAMS)


def test_each_part_of_the_improvement_does_what_it_is_for(logo: Logo) -> None:
    plain = improved(logo.rgba, DEFAULT_PARAMS)
    simpler = improved(logo.rgba, replace(DEFAULT_PARAMS, simplify=0.4))
    assert simpler.nodes < plain.nodes
    assert len(simpler.svg) < len(plain.svg)
    coarser = improved(logo.rgba, replace(DEFAULT_PARAMS, steps_per_pixel=4))
    assert coarser.nodes == plain.nodes
    assert len(coarser.svg) < len(plain.svg)
    refitted = improved(logo.rgba, replace(DEFAULT_PARAMS, refit=1))
    assert refitted.svg != plain.svg
    assert refitted.nodes == plain.nodes


def test_a_small_image_is_traced_as_finely_as_a_large_one() -> None:
    params = replace(DEFAULT_PARAMS, prescale=2.0, simplify=0.4, steps_per_pixel=5)
    assert for_size(params, 64, 40) == replace(params, prescale=8.0, simplify=0.1, steps_per_pixel=20)
    assert for_size(params, 16, 16) == for_size(params, 64, 64)
    assert for_size(params, 256, 90) == for_size(params, 1000, 1000) == params
    assert for_size(DEFAULT_PARAMS, 64, 40) == DEFAULT_PARAMS, "the fair default is VTracer's"


def test_a_gradient_stays_a_gradient_only_with_the_refit() -> None:
    """VTracer has flat fills only."""
    rgba = np.full((64, 64, 4), 255, np.uint8)
    rgba[8:56, 8:56, 0] = np.linspace(40, 220, 48).astype(np.uint8)[:, None]
    rgba[8:56, 8:56, 1:3] = 60
    flat = replace(DEFAULT_PARAMS, layer_difference=128, color_precision=3)
    assert "linearGradient" not in improved(rgba, flat).svg
    fitted = improved(rgba, replace(flat, refit=1)).svg
    assert "linearGradient" in fitted
    errors = [
        np.abs(render(svg, 64, 64).astype(int) - rgba[..., :3]).mean() for svg in (improved(rgba, flat).svg, fitted)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_the_shapes_that_are_counted_are_those_that_vtracer_traced(logo: Logo) -> None:
    text = traced(logo.rgba, DEFAULT_PARAMS)
    assert improve(text, logo.rgba, DEFAULT_PARAMS).paths == len(parse(text, logo.width, logo.height).shapes)
