"""Scores agree with scikit-image, and a blank canvas is worth nothing."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.metrics import structural_similarity

from pipeline.core.records import Logo, Pixels
from pipeline.tracing import quality
from pipeline.tracing.quality import QualityReference

EXACT = 1e-6


def expected_ssim(left: Pixels, right: Pixels, channel_axis: int | None = None) -> float:
    return float(structural_similarity(left, right, channel_axis=channel_axis))  # type: ignore[no-untyped-call]


def distortions(rgb: Pixels) -> dict[str, Pixels]:
    noise = np.random.default_rng(5).normal(0, 12, rgb.shape)
    return {
        "identical": rgb,
        "noisy": np.clip(rgb + noise, 0, 255).astype(np.uint8),
        "blurred": np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(1.5))),
        "shifted": np.roll(rgb, 2, axis=1),
        "inverted": 255 - rgb,
        "black": np.zeros_like(rgb),
    }


def test_ssim_is_that_of_scikit_image(logo: Logo, opaque_logo: Logo, real_logos: list[Logo]) -> None:
    for picture in (logo, opaque_logo, *real_logos):
        reference = QualityReference.of(picture.rgba)
        for name, other in distortions(reference.rgb).items():
            expected = expected_ssim(reference.rgb, other, channel_axis=2)
            assert quality.ssim(reference, other) == pytest.approx(expected, abs=EXACT), (picture.name, name)


@pytest.mark.parametrize("shape", [(7, 7), (8, 33), (200, 9), (301, 517)])
def test_ssim_holds_for_any_shape_and_any_noise(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(shape[0])
    left, right = generator.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    reference = QualityReference.of(np.dstack([left, np.full(shape, 255, np.uint8)]))
    assert quality.ssim(reference, right) == pytest.approx(expected_ssim(left, right, channel_axis=2), abs=EXACT)


def test_zoom_ssim_is_on_greys_against_a_bicubic_enlargement(opaque_logo: Logo, real_logos: list[Logo]) -> None:
    for picture in (opaque_logo, *real_logos[:3]):
        reference = QualityReference.of(picture.rgba)
        size = (picture.width * 3, picture.height * 3)
        candidate = Image.fromarray(reference.rgb).resize(size, Image.Resampling.NEAREST)
        enlarged = Image.fromarray(quality.grey_of(reference.rgb)).resize(size, Image.Resampling.BICUBIC)
        expected = expected_ssim(np.asarray(enlarged), quality.grey_of(np.asarray(candidate)))
        assert quality.zoom_ssim(reference, quality.grey_of(np.asarray(candidate))) == pytest.approx(
            expected, abs=EXACT
        )


def test_greys_are_those_of_pillow_but_for_rounding(real_logos: list[Logo]) -> None:
    for picture in real_logos:
        rgb = QualityReference.of(picture.rgba).rgb
        assert np.abs(quality.grey_of(rgb).astype(int) - np.asarray(Image.fromarray(rgb).convert("L"))).max() <= 1


def test_an_image_of_many_strips_scores_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = np.random.default_rng(2).integers(0, 256, (2, 90, 40, 3), dtype=np.uint8)
    whole = quality.mean_ssim(left, right)
    monkeypatch.setattr(quality, "_STRIP", 7 * left[0].size)
    assert quality.mean_ssim(left, right) == pytest.approx(whole, abs=1e-12)


def test_scratch_that_was_used_for_other_images_changes_nothing() -> None:
    scratch = quality.Scratch()
    for shape in ((40, 30, 3), (9, 9), (90, 40), (40, 30, 3)):
        left, right = np.random.default_rng(3).integers(0, 256, (2, *shape), dtype=np.uint8)
        assert quality.mean_ssim(left, right, scratch=scratch) == quality.mean_ssim(left, right)


def test_mse_and_psnr_are_measured_on_pixels(logo: Logo) -> None:
    reference = QualityReference.of(logo.rgba)
    other = distortions(reference.rgb)["noisy"]
    expected = float(((reference.rgb.astype(float) - other) ** 2).mean())
    assert quality.mse(reference, other) == pytest.approx(expected)
    assert quality.psnr(expected) == pytest.approx(10 * np.log10(255**2 / expected))
    assert quality.mse(reference, reference.rgb) == 0
    assert quality.psnr(0) == 100
    assert quality.psnr(1e-9) == 100


def test_no_plain_canvas_has_skill_and_the_image_has_all(logo: Logo, opaque_logo: Logo, real_logos: list[Logo]) -> None:
    for picture in (logo, opaque_logo, *real_logos):
        reference = QualityReference.of(picture.rgba)
        colours = [
            (255, 255, 255),
            (0, 0, 0),
            reference.rgb.mean((0, 1)).round(),
            np.median(reference.rgb, (0, 1)),
            *np.random.default_rng(1).integers(0, 256, (20, 3)),
        ]
        for colour in colours:
            plain = np.broadcast_to(np.asarray(colour, np.uint8), reference.rgb.shape).copy()
            assert quality.skill(quality.ssim(reference, plain), reference.blank_ssim) <= 1e-4
        assert quality.skill(quality.ssim(reference, reference.rgb), reference.blank_ssim) == pytest.approx(1)


def test_the_best_blank_is_found_among_all_greys(logo: Logo) -> None:
    """Exhaustively, in one channel: nothing beats the colour that the histogram gave."""
    reference = QualityReference.of(np.dstack([logo.rgba[..., :1].repeat(3, 2), logo.rgba[..., 3:]]))
    every = [
        quality.ssim(reference, np.full_like(reference.rgb, grey))
        for grey in {*range(0, 256, 5), *quality.best_blank(reference.moments).tolist()}
    ]
    assert reference.blank_ssim == pytest.approx(max(every), abs=1e-6)


def test_a_crop_of_the_picture_has_little_skill(logo: Logo) -> None:
    reference = QualityReference.of(logo.rgba)
    cropped = np.full_like(reference.rgb, 255)
    cropped[:20] = reference.rgb[:20]
    assert quality.skill(quality.ssim(reference, cropped), reference.blank_ssim) < 0.1


def test_a_blank_image_has_nothing_to_win() -> None:
    reference = QualityReference.of(np.full((16, 16, 4), 255, np.uint8))
    assert quality.skill(quality.ssim(reference, reference.rgb), reference.blank_ssim) == 0


def test_transparency_is_seen_on_the_background_that_is_set(logo: Logo) -> None:
    black = QualityReference.of(logo.rgba, (0, 0, 0))
    assert tuple(black.rgb[0, 0]) == (0, 0, 0)
    assert tuple(QualityReference.of(logo.rgba).rgb[0, 0]) == (255, 255, 255)


def test_images_of_other_sizes_are_refused(logo: Logo) -> None:
    reference = QualityReference.of(logo.rgba)
    with pytest.raises(ValueError, match="shape"):
        quality.ssim(reference, reference.rgb[:-1])
    with pytest.raises(ValueError, match="at least 7x7"):
        QualityReference.of(logo.rgba[:6])


def test_svg_statistics_count_paths_and_points_but_not_colours() -> None:
    svg = '<svg><path d="M0 0 C1 1 2 2 3 3 L4 4 Z M1 1 L2 2 Z " fill="#CCLLMM"/><path d="M1 1 Z" fill="#000"/></svg>é'
    assert quality.paths_and_nodes(svg) == (2, 6)
    assert abs(quality.gzip_size(svg.encode()) - len(gzip.compress(svg.encode(), 6))) <= 1


class ShiftedScratch(quality.Scratch):
    """Its floats begin `bytes` after a multiple of 64."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self._shift = shift

    def arrays(self, shape: tuple[int, ...]) -> tuple[Any, list[Any], list[Any]]:
        products, sums, floats = super().arrays(shape)
        moved = []
        for array in floats:
            memory = np.empty(array.nbytes + 128, np.uint8)
            begin = -memory.ctypes.data % 64 + self._shift
            moved.append(memory[begin : begin + array.nbytes].view(np.float32).reshape(shape))
        return products, sums, moved


@pytest.mark.parametrize("side", [157, 185, 199, 276])
def test_no_bit_depends_on_where_in_memory_the_scratch_lies(side: int) -> None:
    """The sides are some at which cv2.sumElems gives two answers."""
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ramp = np.broadcast_to((np.arange(side) * 255 // side).astype(np.uint8)[:, None], noise.shape).copy()
    found = {quality.mean_ssim(ramp, noise, scratch=ShiftedScratch(shift)) for shift in range(0, 64, 4)}
    assert len(found) == 1


@pytest.mark.parametrize("side", range(240, 260, 2))
def test_the_squared_error_is_that_of_whole_numbers(side: int) -> None:
    left, right = np.random.default_rng(side).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    reference = QualityReference.of(np.dstack([left, np.full(left.shape[:2], 255, np.uint8)]))
    squares = int(((left.astype(np.int64) - right) ** 2).sum())
    assert quality.mse(reference, right) == squares / right.size
