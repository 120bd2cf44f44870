from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from pipeline.core.pixels import on_background
from pipeline.core.records import Pixels
from pipeline.data.probe import MEASURE_NAMES, measure

WHITE = (255, 255, 255)


def canvas(side: int = 96) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (side, side), "white")
    return image, ImageDraw.Draw(image)


def pixels_of(image: Image.Image) -> Pixels:
    return np.array(image.convert("RGBA"))


def padded(rgba: Pixels, top: int, left: int, value: tuple[int, int, int, int] = (255, 255, 255, 255)) -> Pixels:
    height, width = rgba.shape[:2]
    result = np.empty((height + 2 * top, width + 2 * left, 4), dtype=np.uint8)
    result[...] = value
    result[top : top + height, left : left + width] = rgba
    return result


@given(
    st.tuples(st.integers(8, 40), st.integers(8, 40)).flatmap(lambda s: arrays(np.uint8, (*s, 4))),
    st.tuples(*[st.integers(0, 255)] * 3),
)
def test_all_measures_are_finite_and_of_sensible_size(rgba: Pixels, background: tuple[int, int, int]) -> None:
    values = measure(rgba, background).as_array()
    assert values.shape == (len(MEASURE_NAMES),)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 70


def test_what_cannot_be_seen_does_not_count(picture: Pixels) -> None:
    other = picture.copy()
    other[other[..., 3] == 0, :3] = 123
    assert measure(other) == measure(picture)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_compositing_rounds_to_the_nearest(colour: int, alpha: int, ground: int) -> None:
    rgba = np.full((2, 2, 4), colour, dtype=np.uint8)
    rgba[..., 3] = alpha
    exact = (colour * alpha + ground * (255 - alpha)) / 255
    assert on_background(rgba, (ground, ground, ground))[0, 0, 1] == round(exact)


def test_ranges(picture: Pixels) -> None:
    ratios = ("transparent_ratio", "content_ratio", "ground_ratio", "top_colours_ratio", "edge_density")
    measured = measure(picture)
    for name in (*ratios, "gradient_strength", "contrast", "saturation", "complexity", "quality", "has_alpha"):
        assert 0 <= getattr(measured, name) <= 1, name


def test_padding_changes_only_what_is_of_the_whole_image(picture: Pixels) -> None:
    opaque = np.dstack([on_background(picture, WHITE), np.full(picture.shape[:2], 255, np.uint8)])
    some, more = measure(padded(opaque, 4, 4)), measure(padded(opaque, 30, 12))
    of_the_image = {"log_pixels", "log_aspect", "transparent_ratio", "content_ratio", "quality"}
    changed = {name for name in MEASURE_NAMES if getattr(some, name) != getattr(more, name)}
    assert changed <= of_the_image
    assert more.content_ratio < some.content_ratio


def test_size_and_aspect() -> None:
    rgba = np.full((40, 80, 4), 255, dtype=np.uint8)
    rgba[10:30, 20:60, :3] = 0
    measured = measure(rgba)
    assert measured.log_pixels == pytest.approx(np.log(3200))
    assert measured.log_aspect == pytest.approx(np.log(2))
    assert measured.log_content_aspect == pytest.approx(np.log(2))
    assert measured.content_ratio == pytest.approx(0.25)
    assert measured.has_alpha == 0


def test_transparency() -> None:
    rgba = np.full((40, 40, 4), 255, dtype=np.uint8)
    rgba[:, :10, 3] = 0
    rgba[5:9, 20:30, :3] = 0
    assert measure(rgba).transparent_ratio == pytest.approx(0.25)
    assert measure(rgba).has_alpha == 1


def test_colours_and_entropy_of_two_halves() -> None:
    rgba = np.full((40, 40, 4), 255, dtype=np.uint8)
    rgba[2:-2, 20:-2, :3] = 0
    measured = measure(rgba)
    content = (36 + 4) * (18 + 4)  # the margin is ground
    share = 36 * 18 / content
    wanted = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert np.exp(measured.log_colours) == pytest.approx(2)
    assert measured.entropy == pytest.approx(wanted)
    assert measured.colour_entropy == pytest.approx(wanted)
    assert measured.ground_ratio == pytest.approx(1 - share)
    assert measured.top_colours_ratio == 1


def test_a_gradient_is_strong_where_flat_colours_have_none() -> None:
    flat, pen = canvas()
    pen.rectangle((10, 10, 85, 85), fill=(200, 60, 60))
    shaded = pixels_of(flat)
    shaded[10:86, 10:86, 0] = np.linspace(80, 230, 76).astype(np.uint8)
    assert measure(pixels_of(flat)).gradient_strength == 0
    assert measure(shaded).gradient_strength > 0.5


def test_letters_stand_on_one_line() -> None:
    word, pen = canvas(160)
    for n in range(6):
        pen.rectangle((10 + 24 * n, 60, 24 + 24 * n, 90), fill="black")
    stairs, pen = canvas(160)
    for n in range(6):
        pen.rectangle((10 + 24 * n, 10 + 22 * n, 24 + 24 * n, 28 + 22 * n), fill="black")
    assert np.expm1(measure(pixels_of(word)).log_letters) == pytest.approx(6)
    assert np.expm1(measure(pixels_of(word)).log_parts) == pytest.approx(6)
    assert np.expm1(measure(pixels_of(stairs)).log_letters) == pytest.approx(1)


def test_thick_strokes_are_thicker() -> None:
    thin, pen = canvas()
    pen.line((10, 48, 85, 48), fill="black", width=3)
    thick, pen = canvas()
    pen.line((10, 48, 85, 48), fill="black", width=25)
    assert measure(pixels_of(thick)).stroke > measure(pixels_of(thin)).stroke


def test_noise_is_measured_in_steps() -> None:
    rng = np.random.default_rng(0)
    grey = np.clip(128 + rng.normal(0, 3, (128, 128)), 0, 255).round().astype(np.uint8)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    assert measure(rgba).noise == pytest.approx(3, rel=0.1)


def test_blurring_lowers_sharpness_and_quality(picture: Pixels) -> None:
    image = Image.fromarray(picture)
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image)
    before = measure(pixels_of(background))
    after = measure(pixels_of(background.filter(ImageFilter.GaussianBlur(4))))
    assert after.sharpness < before.sharpness
    assert after.quality < before.quality


def test_contrast_is_the_spread_of_grey(picture: Pixels) -> None:
    pale = picture.copy()
    pale[..., :3] = 255 - (255 - pale[..., :3]) // 8
    assert measure(pale).contrast < measure(picture).contrast / 4
    assert measure(pale).quality < measure(picture).quality


def test_parts_agree_with_scipy() -> None:
    rng = np.random.default_rng(3)
    drawn = np.kron(rng.random((12, 12)) < 0.3, np.ones((6, 6))).astype(bool)
    drawn[:6] = drawn[-6:] = drawn[:, :6] = drawn[:, -6:] = False
    rgba = np.full((72, 72, 4), 255, dtype=np.uint8)
    rgba[drawn, :3] = 0
    _, parts = ndimage.label(drawn, np.ones((3, 3)))
    assert np.expm1(measure(rgba).log_parts) == pytest.approx(parts)


def test_dirt_is_no_part() -> None:
    rgba = np.full((64, 64, 4), 255, dtype=np.uint8)
    rgba[10:40, 10:40, :3] = 0
    rgba[50:52, 50:52, :3] = 0
    assert np.expm1(measure(rgba).log_parts) == pytest.approx(1)


def test_more_is_more_complex(real_logos: Path) -> None:
    def complexity(path: str) -> float:
        return measure(np.array(Image.open(real_logos / path).convert("RGBA"))).complexity

    assert complexity("simple_geometric/bluesky.png") < complexity("complex/jenkins.png")
    assert complexity("simple_geometric/expo-icon.png") < complexity("complex/perl.png")


def test_names_are_the_fields_in_order(picture: Pixels) -> None:
    measured = measure(picture)
    assert tuple(getattr(measured, name) for name in MEASURE_NAMES) == astuple(measured)
    assert measured.as_array().dtype == np.float32
