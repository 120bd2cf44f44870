"""What VTracer is given: hard edges, few colours, transparency where it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import DEFAULT_PARAMS, Logo, Pixels, TracerParams
from pipeline.tracing.preparation import adapt, enlarged_size, prepare, with_clear_row
from pipeline.tracing.raster import render
from pipeline.tracing.tracer import encode, on_canvas, trace


def colours_of(rgba: Pixels) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in rgba[rgba[..., 3] > 0].tolist()}


def test_without_preparation_the_very_same_image_is_traced(logo: Logo) -> None:
    rgba = logo.rgba
    assert prepare(rgba, DEFAULT_PARAMS) is rgba
    assert prepare(rgba, TracerParams(mode="polygon", filter_speckle=9)) is rgba


@pytest.mark.parametrize("prescale", [1.0, 1.25, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("palette", [0, 2, 5, 16, 256])
def test_size_alpha_and_number_of_colours(logo: Logo, prescale: float, palette: int) -> None:
    params = TracerParams(prescale=prescale, palette=palette)
    rgba = logo.rgba
    before = rgba.copy()
    prepared = prepare(rgba, params)
    assert prepared.dtype == np.uint8
    assert prepared.shape == (*reversed(enlarged_size(logo.width, logo.height, prescale)), 4)
    assert np.array_equal(rgba, before)
    if params != DEFAULT_PARAMS:
        assert set(np.unique(prepared[..., 3])) <= {0, 255}
    if palette:
        assert 1 < len(colours_of(prepared)) <= palette


def test_transparent_stays_transparent_and_opaque_opaque(logo: Logo, opaque_logo: Logo, real_logos: list[Logo]) -> None:
    for picture in (logo, opaque_logo, *real_logos):
        hard = prepare(picture.rgba, TracerParams(palette=8))
        assert (hard[picture.rgba[..., 3] == 0, 3] == 0).all()
        assert (hard[picture.rgba[..., 3] == 255, 3] == 255).all()
        assert (hard[hard[..., 3] == 0] == (255, 255, 255, 0)).all()
        large = prepare(picture.rgba, TracerParams(prescale=2.0))
        covered = picture.rgba[..., 3].mean() / 255
        assert abs(large[..., 3].mean() / 255 - covered) < 0.06


def test_a_colour_below_transparent_pixels_does_not_bleed_into_edges() -> None:
    """Green below the transparency, red visible: no green edge after enlarging, whatever the file hid there."""
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[:] = (0, 255, 0, 0)
    rgba[10:30, 10:30] = (255, 0, 0, 255)
    for params in (TracerParams(prescale=2.0), TracerParams(palette=4), TracerParams(prescale=1.5, palette=2)):
        seen = np.array(sorted(colours_of(prepare(rgba, params))))
        assert (seen[:, 0] > 240).all()
        assert (seen[:, 1] < 15).all()


def test_half_transparent_edges_keep_the_colour_of_the_shape() -> None:
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[5:15, 5:15] = (10, 20, 200, 255)
    rgba[5:15, 15] = (10, 20, 200, 250)
    prepared = prepare(rgba, TracerParams(palette=16))
    assert colours_of(prepared) == {(10, 20, 200, 255)}


def test_transparent_pixels_have_no_vote_on_the_palette() -> None:
    """99 % of the picture is transparent; both colours of the rest survive."""
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[:10, :5] = (255, 0, 0, 255)
    rgba[:10, 5:10] = (0, 0, 255, 255)
    assert colours_of(prepare(rgba, TracerParams(palette=2))) == {(255, 0, 0, 255), (0, 0, 255, 255)}


def test_an_image_that_is_all_transparent_stays_so() -> None:
    prepared = prepare(np.zeros((16, 16, 4), np.uint8), TracerParams(palette=4, prescale=2.0))
    assert prepared.shape == (32, 32, 4)
    assert not prepared[..., 3].any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 2, 7, 256]))
def test_any_image_can_be_prepared(seed: int, width: int, height: int, palette: int) -> None:
    rgba = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    for prescale in (1.0, 1.5):
        prepared = prepare(rgba, TracerParams(prescale=prescale, palette=palette))
        assert prepared.shape[:2] == tuple(reversed(enlarged_size(width, height, prescale)))
        assert palette == 0 or len(colours_of(prepared)) <= palette


def test_a_shape_is_traced_as_large_as_it_is(logo: Logo) -> None:
    """Without the correction in opaque_from the drawn area is one to two percent too large."""
    disc = np.zeros((96, 96, 4), np.uint8)
    y, x = np.mgrid[:96, :96] - 47.3
    disc[..., 3] = np.clip(30.5 - np.hypot(x, y), 0, 1) * 255
    for params in (TracerParams(palette=2), TracerParams(prescale=1.5), TracerParams(prescale=2.0, palette=2)):
        svg = on_canvas(trace(encode(prepare(disc, params)), params), 96, 96)
        drawn = (255 - render(svg, 96, 96)[..., 0].astype(float)).sum() / 255
        assert drawn == pytest.approx(np.pi * 30**2, rel=0.006)


def test_few_flat_colours_are_kept_exactly(opaque_logo: Logo) -> None:
    flat = np.zeros((30, 30, 4), np.uint8)
    flat[:] = (250, 250, 250, 255)
    flat[5:20, 5:20] = (200, 30, 40, 255)
    flat[10:28, 15:28] = (20, 60, 180, 255)
    assert np.array_equal(prepare(flat, TracerParams(palette=4)), flat)


REFIT = TracerParams(refit=1)


def disc(alpha: int, side: int = 64, radius: float = 24.0) -> Pixels:
    """Black, with a soft edge, on nothing."""
    y, x = np.mgrid[:side, :side] + 0.5
    cover = np.clip(radius + 0.5 - np.hypot(x - side / 2, y - side / 2), 0, 1)
    rgba = np.zeros((side, side, 4), np.uint8)
    rgba[..., 3] = np.rint(cover * alpha)
    return rgba


@pytest.mark.parametrize("prescale", [1.0, 2.0])
@pytest.mark.parametrize("alpha", [40, 127, 200])
def test_a_half_transparent_area_keeps_its_size(alpha: int, prescale: float) -> None:
    params = TracerParams(refit=1, prescale=prescale)
    covered = (prepare(disc(alpha), params)[..., 3] == 255).sum() / prescale**2
    assert covered == pytest.approx(np.pi * 24**2, rel=0.06)


def test_a_fade_is_traced_to_its_thin_end() -> None:
    rgba = np.zeros((32, 64, 4), np.uint8)
    rgba[..., 3] = np.linspace(0, 250, 64).astype(np.uint8)
    prepared = prepare(rgba, REFIT)
    assert (prepared[-32:, :, 3].min(axis=0) == 255).sum() >= 60


def test_opacities_of_one_colour_are_told_apart() -> None:
    rgba = np.zeros((32, 64, 4), np.uint8)
    rgba[4:28, 4:32, 3], rgba[4:28, 32:60, 3] = 255, 127
    prepared = prepare(rgba, REFIT)
    assert tuple(prepared[16, 16]) == (0, 0, 0, 255)
    assert tuple(prepared[16, 46]) == (128, 128, 128, 255)


def test_only_half_transparent_areas_are_cut_out() -> None:
    assert adapt(REFIT, disc(127)).hierarchical == "cutout"
    assert adapt(REFIT, disc(255)) is REFIT
    assert adapt(DEFAULT_PARAMS, disc(127)) is DEFAULT_PARAMS


def test_few_clear_pixels_get_a_clear_row() -> None:
    """Else VTracer paints them."""
    rgba = np.full((40, 40, 4), 255, np.uint8)
    assert with_clear_row(rgba) is rgba
    rgba[0, 0, 3] = 0
    assert with_clear_row(rgba).shape == (41, 40, 4)
    assert np.array_equal(with_clear_row(rgba)[1:], rgba)
    rgba[0, :16, 3] = 0
    assert with_clear_row(rgba) is rgba
