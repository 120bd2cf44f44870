from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import TracewrightError
from pipeline.core.records import Pixels
from pipeline.reports import pictures
from pipeline.reports.pictures import Subject, crop_box, difference, fit, fitted, sheet, zoom_of
from tests.support.facts import image_result

RESULT = image_result(
    path="a/logo.png", category="text", value=0.5, ratio=0.6, bytes=600, default_bytes=1000, ssim=0.95,
    default_ssim=0.94, zoom_ssim=0.9, default_zoom_ssim=0.91,
)  # fmt: skip
WHITE = (255, 255, 255)
GREEN, RED = np.array([0, 200, 0]), np.array([200, 0, 0])


class Painter:
    """Draws an SVG named after a colour as a plain canvas, and remembers the sizes that it was asked for."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, svg: str, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
        self.sizes.append((width, height))
        if svg == "broken":
            raise TracewrightError("cannot be drawn")
        return np.full((height, width, 3), {"green": GREEN, "red": RED}[svg], dtype=np.uint8)


def subject(
    width: int = 100, height: int = 80, svg: str | None = "green", default_svg: str | None = "red", **changes: object
) -> Subject:
    rgb = np.full((height, width, 3), GREEN, dtype=np.uint8)
    return Subject(result=replace(RESULT, **changes), rgb=rgb, default_svg=default_svg, svg=svg)  # type: ignore[arg-type]


def pixels(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def painted(page: Pixels, colour: Pixels, column: int) -> int:
    left = pictures.COLUMNS[column]
    return int((page[:, left : left + pictures.PANEL] == colour).all(axis=2).sum())


def test_each_version_stands_in_its_own_column() -> None:
    page = pixels(sheet([subject()], Painter(), WHITE, "tracewright"))
    assert page.shape[1] == 1600
    for column, colour in ((0, GREEN), (1, RED), (2, GREEN)):
        assert painted(page, colour.astype(np.uint8), column) > 10_000
    assert painted(page, RED.astype(np.uint8), 0) == painted(page, RED.astype(np.uint8), 2) == 0


def test_svgs_are_drawn_at_their_own_size_and_three_times_as_large() -> None:
    painter = Painter()
    sheet([subject(100, 80)], painter, WHITE, "tracewright")
    assert painter.sizes == [(100, 80), (300, 240)] * 2


def test_where_ours_is_the_original_the_difference_is_white_else_dark() -> None:
    dark = np.array(pictures.DIFFERENCE, dtype=np.uint8)
    same = pixels(sheet([subject(svg="green")], Painter(), WHITE, "tracewright"))
    other = pixels(sheet([subject(svg="red")], Painter(), WHITE, "tracewright"))
    assert painted(same, dark, 3) == 0
    assert painted(other, dark, 3) > 10_000


def test_one_strip_per_image_in_order() -> None:
    single = pixels(sheet([subject()], Painter(), WHITE, "tracewright"))
    double = pixels(sheet([subject(), subject()], Painter(), WHITE, "tracewright"))
    strip = single.shape[0] - pictures.STRIP_GAP // 2
    assert double.shape[0] == 2 * strip + pictures.STRIP_GAP // 2
    assert np.array_equal(double[:strip], single[:strip])


@pytest.mark.parametrize("svg", [None, "broken"])
def test_what_is_missing_or_broken_leaves_an_empty_panel(svg: str | None) -> None:
    page = pixels(sheet([subject(svg=svg)], Painter(), WHITE, "tracewright"))
    assert painted(page, GREEN.astype(np.uint8), 2) == 0
    assert painted(page, RED.astype(np.uint8), 1) > 10_000


def test_an_original_that_is_gone_is_named_without_pictures() -> None:
    painter = Painter()
    gone = replace(subject(), rgb=None)
    assert sheet([gone], painter, WHITE, "tracewright")
    assert painter.sizes == []


@pytest.mark.parametrize(("width", "height"), [(32, 32), (2000, 40), (40, 2000), (1, 1), (366, 70)])
def test_any_shape_fits(width: int, height: int) -> None:
    page = pixels(sheet([subject(width, height)], Painter(), WHITE, "tracewright"))
    assert page.shape[0] < 1000


def test_hostile_names_and_missing_scores_are_drawn() -> None:
    bare = subject(path="\n\u202e" + "漢" * 300, bytes=None, default_bytes=None, ssim=None, zoom_ssim=None)
    assert sheet([bare], Painter(), WHITE, "x" * 200)


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_whole_image_keeps_its_proportions_within_the_panel(width: int, height: int) -> None:
    w, h = fitted(width, height)
    assert 1 <= w <= pictures.PANEL
    assert 1 <= h <= pictures.PANEL
    assert w <= pictures.LARGEST * width + 1
    assert w == pytest.approx(max(1, width * h / height), abs=max(1.0, width / height))


def test_the_crop_is_where_most_is_going_on() -> None:
    interest = np.zeros((200, 400))
    interest[150:160, 300:320] = 1.0
    left, top, right, bottom = crop_box(interest, 3)
    assert (right - left, bottom - top) == (pictures.PANEL // 3 * 3, pictures.CROP_HEIGHT // 3 * 3)
    assert left <= 300 * 3
    assert right >= 320 * 3
    assert top <= 150 * 3
    assert bottom >= 160 * 3


def test_a_wrong_detail_draws_the_crop_and_a_shade_that_is_off_does_not() -> None:
    original = np.full((200, 400, 3), 100, dtype=np.uint8)
    off = original.copy()
    off[:, :200] += 60
    off[150:156:2, 300:310] += 60
    interest = pictures._interest(original, [off])
    assert interest[:, 205:].sum() > interest[:100, :190].sum() == 0
    left, top, right, bottom = crop_box(interest, 1)
    assert left <= 300 < 310 <= right
    assert top <= 150 < 156 <= bottom


@given(st.integers(1, 500), st.integers(1, 300))
def test_the_crop_lies_within_the_image(width: int, height: int) -> None:
    left, top, right, bottom = crop_box(np.ones((height, width)), 3)
    assert 0 <= left < right <= 3 * width
    assert 0 <= top < bottom <= 3 * height


def test_huge_images_are_not_enlarged() -> None:
    assert zoom_of(2048, 2048) == 3
    assert zoom_of(8000, 8000) == 1


def test_a_difference_is_the_largest_among_the_channels() -> None:
    one, other = np.zeros((1, 1, 3), np.uint8), np.array([[[10, 255, 3]]], np.uint8)
    assert difference(one, other).tolist() == difference(other, one).tolist() == [[255]]


def test_text_is_shortened_to_the_room_it_has() -> None:
    assert fit("short", 300, 24) == "short"
    long = fit("a-very-long-name-" * 20 + ".png", 300, 24)
    assert pictures._font(24).getlength(long) <= 300
    assert long.endswith(".png")
