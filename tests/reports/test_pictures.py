from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import TracewrightError
from pipeline.core.facts.comparison import DamagedRegion
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

    def __call__(self, svg: str) -> Canvas:
        if svg == "broken":
            raise TracewrightError("cannot be drawn")
        return Canvas({"green": GREEN, "red": RED}[svg].astype(np.uint8), self.sizes)


@dataclass(frozen=True)
class Canvas:
    colour: Pixels
    sizes: list[tuple[int, int]]

    def pixels(self, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
        self.sizes.append((width, height))
        return self.rgba(width, height)[..., :3]

    def rgba(self, width: int, height: int) -> Pixels:
        return opaque(self.colour, width, height)


def opaque(colour: NDArray[np.integer], width: int, height: int) -> Pixels:
    return np.full((height, width, 4), [*colour, 255], dtype=np.uint8)


def subject(
    width: int = 100, height: int = 80, svg: str | None = "green", default_svg: str | None = "red", **changes: object
) -> Subject:
    rgba = opaque(GREEN, width, height)
    return Subject(result=replace(RESULT, **changes), rgba=rgba, default_svg=default_svg, svg=svg)  # type: ignore[arg-type]


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


def test_svgs_are_drawn_at_their_own_size_and_four_times_as_large() -> None:
    painter = Painter()
    sheet([subject(100, 80)], painter, WHITE, "tracewright")
    assert painter.sizes == [(100, 80), (400, 320)] * 2


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
    gone = replace(subject(), rgba=None)
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


def test_the_crop_is_around_its_focus_and_within_the_image() -> None:
    left, top, right, bottom = crop_box((310, 155), (200, 400), 4)
    assert (right - left, bottom - top) == (pictures.PANEL // 4 * 4, pictures.CROP_HEIGHT // 4 * 4)
    assert (left + right) / 2 == pytest.approx(310 * 4, abs=4)
    assert (top + bottom) / 2 == pytest.approx(155 * 4, abs=4)


def test_a_damaged_region_is_boxed_and_its_kind_named() -> None:
    def framed(svg: str) -> list[int]:
        page = pixels(sheet([subject(svg=svg, damage=8000.0)], Painter(), WHITE, "tracewright"))
        return [painted(page, np.array(pictures.FRAME, np.uint8), column) for column in (0, 1, 2)]

    assert framed("green")[2] == 0
    assert framed("red")[2] > 500
    assert framed("red")[0] == 0, "the original has no damage"


def test_the_crop_is_at_the_worst_region_of_ours() -> None:
    small, large = (
        DamagedRegion(x=x, y=40, width=10, height=6, damage=d, kind="detail") for x, d in ((0, 9.0), (80, 30.0))
    )
    canvas = np.zeros((100, 200, 3), np.uint8)
    original, sound = pictures._Views(canvas, canvas), pictures._Views(canvas, canvas)
    assert pictures._focus(original, sound, pictures._Views(canvas, canvas, [large, small])) == (85, 43)
    assert pictures._focus(original, pictures._Views(canvas, canvas, [small]), sound) == (5, 43)
    off = canvas.copy()
    off[70, 90] = 60
    assert pictures._focus(original, None, pictures._Views(off, canvas)) == (90, 70)
    assert pictures._focus(original, None, sound) == (100, 50)


@given(st.integers(1, 500), st.integers(1, 300))
def test_the_crop_lies_within_the_image(width: int, height: int) -> None:
    left, top, right, bottom = crop_box((width // 2, height - 1), (height, width), 3)
    assert 0 <= left < right <= 3 * width
    assert 0 <= top < bottom <= 3 * height


def test_huge_images_are_not_enlarged() -> None:
    assert zoom_of(1024, 1024) == 4
    assert zoom_of(8000, 8000) == 1


def test_a_difference_is_the_largest_among_the_channels() -> None:
    one, other = np.zeros((1, 1, 3), np.uint8), np.array([[[10, 255, 3]]], np.uint8)
    assert difference(one, other).tolist() == difference(other, one).tolist() == [[255]]


def test_text_is_shortened_to_the_room_it_has() -> None:
    assert fit("short", 300, 24) == "short"
    long = fit("a-very-long-name-" * 20 + ".png", 300, 24)
    assert pictures._font(24).getlength(long) <= 300
    assert long.endswith(".png")
