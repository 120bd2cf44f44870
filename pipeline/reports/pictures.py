"""Sheets of single images: the original, VTracer's default, ours and what differs, whole and enlarged.

A sheet is 1600 pixels wide and made to be looked at 800 wide, so its smallest text is 24 pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.errors import TracewrightError
from pipeline.core.facts.comparison import ImageResult
from pipeline.core.records import VISIBLE_DAMAGE, Pixels
from pipeline.reports import words
from pipeline.reports.colours import LIGHT
from pipeline.reports.tables import change_in_bytes

Colour = tuple[int, int, int]
Render = Callable[[str, int, int, Colour], Pixels]
"""(svg, width, height, background) -> uint8 (height, width, 3), stretched over the canvas. Raises TracewrightError."""

WIDTH, MARGIN, GAP = 1600, 32, 24
PANEL = (WIDTH - 2 * MARGIN - 3 * GAP) // 4
COLUMNS = tuple(MARGIN + k * (PANEL + GAP) for k in range(4))
CROP_HEIGHT = 210
TITLE_HEIGHT, CAPTION_HEIGHT, STRIP_GAP = 96, 76, 40

LARGEST = 1.5  # a small image is not blown up further, or the crop would not be an enlargement of it
ZOOM = 3
MOST_PIXELS = 48_000_000  # of an enlarged drawing; a larger image is cropped but not enlarged

INK, MUTED, PAPER, STRONG = LIGHT.ink, LIGHT.muted, LIGHT.paper, LIGHT.strong
LINE, PALE = "#d5d9e0", "#f4f6f9"
FRAME: Colour = (194, 65, 12)  # where the crop is
DIFFERENCE: Colour = (96, 12, 68)  # at its strongest
DIFFERENCE_SCALE = 4  # a difference of 64 of 255 is shown as the strongest


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One image to be shown. rgb: uint8 (height, width, 3), on the background; None when it cannot be read.

    An SVG is None when the evaluation left none.
    """

    result: ImageResult
    rgb: Pixels | None
    default_svg: str | None
    svg: str | None


@dataclass(frozen=True, slots=True)
class _Views:
    """One version of an image: as it is, and enlarged. Both uint8 (height, width, 3)."""

    plain: Pixels
    large: Pixels


def sheet(subjects: Sequence[Subject], render: Render, background: Colour, label: str) -> bytes:
    """A PNG with one strip per image, in order. label: what ours is called."""
    strips = [_strip(subject, render, background, label) for subject in subjects]
    page = Image.new("RGB", (WIDTH, sum(s.height for s in strips) + STRIP_GAP // 2), PAPER)
    top = 0
    for strip in strips:
        page.paste(strip, (0, top))
        top += strip.height
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _strip(subject: Subject, render: Render, background: Colour, label: str) -> Image.Image:
    if subject.rgb is None:
        return _unreadable(subject)
    height, width = subject.rgb.shape[:2]
    zoom = zoom_of(width, height)
    original = _Views(subject.rgb, _resized(subject.rgb, width * zoom, height * zoom))
    default = _drawn(subject.default_svg, original, render, background)
    ours = _drawn(subject.svg, original, render, background)
    apart = _Views(shade(original.plain, ours.plain), shade(original.large, ours.large)) if ours else None

    whole_width, whole_height = fitted(width, height)
    box = crop_box(_interest(original.plain, [v.plain for v in (default, ours) if v]), zoom)
    crop_height = box[3] - box[1]
    strip = Image.new("RGB", (WIDTH, TITLE_HEIGHT + whole_height + CAPTION_HEIGHT + crop_height + STRIP_GAP), PAPER)
    _title(strip, subject, label)
    captions = _captions(subject, original.plain, ours.plain if ours else None)
    for left, views, lines in zip(COLUMNS, (original, default, ours, apart), captions, strict=True):
        whole = _resized(views.plain, whole_width, whole_height) if views else None
        frame = tuple(round(edge / zoom * whole_width / width) for edge in box)
        _place(strip, whole, left, TITLE_HEIGHT, whole_height, frame if views else None)
        _lines(strip, lines, left, TITLE_HEIGHT + whole_height + 10, strong=views is ours and views is not None)
        crop = views.large[box[1] : box[3], box[0] : box[2]] if views else None
        _place(strip, crop, left, TITLE_HEIGHT + whole_height + CAPTION_HEIGHT, crop_height, None)
    return strip


def zoom_of(width: int, height: int) -> int:
    return ZOOM if ZOOM**2 * width * height <= MOST_PIXELS else 1


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size at which a whole image fits a panel, its proportions kept."""
    scale = min(PANEL / width, PANEL / height, LARGEST)
    return max(1, round(width * scale)), max(1, round(height * scale))


def crop_box(interest: NDArray[np.float64], zoom: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom in the enlarged image of the crop in which `interest`, (height, width), is greatest."""
    height, width = interest.shape
    crop_width, crop_height = min(width, PANEL // zoom), min(height, CROP_HEIGHT // zoom)
    total = np.pad(interest, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = (
        total[crop_height:, crop_width:] - total[:-crop_height, crop_width:]
        - total[crop_height:, :-crop_width] + total[:-crop_height, :-crop_width]
    )  # fmt: skip
    top, left = (int(i) for i in np.unravel_index(int(np.argmax(sums)), sums.shape))
    return left * zoom, top * zoom, (left + crop_width) * zoom, (top + crop_height) * zoom


def _interest(original: Pixels, others: Sequence[Pixels]) -> NDArray[np.float64]:
    """Where looking closer shows most: where what differs has edges; failing that, where the original has some.

    A shade that is off everywhere shows in the whole picture already.
    """
    interest = 0.05 * _edges(original)
    for other in others:
        interest += _edges(difference(original, other)[..., None])
    return interest


def _edges(pixels: NDArray[np.uint8] | NDArray[np.int16]) -> NDArray[np.float64]:
    """The steps to the pixels on the right and below, of the channel with the largest: shape (height, width)."""
    values = pixels.astype(np.float64)
    across = np.abs(np.diff(values, axis=1, append=values[:, -1:]))
    down = np.abs(np.diff(values, axis=0, append=values[-1:]))
    steps: NDArray[np.float64] = (across + down).max(axis=2)
    return steps


def _drawn(svg: str | None, original: _Views, render: Render, background: Colour) -> _Views | None:
    if svg is None:
        return None
    try:
        plain, large = (
            render(svg, shape[1], shape[0], background) for shape in (original.plain.shape, original.large.shape)
        )
    except TracewrightError:
        return None
    return _Views(plain, large)


def difference(one: Pixels, other: Pixels) -> NDArray[np.int16]:
    """Per pixel the largest difference among the channels, 0 to 255: shape (height, width)."""
    apart: NDArray[np.int16] = np.abs(one.astype(np.int16) - other.astype(np.int16)).max(axis=2)
    return apart


def shade(one: Pixels, other: Pixels) -> Pixels:
    """White where two pictures agree, darker the more they differ."""
    strength = np.minimum(difference(one, other) * DIFFERENCE_SCALE, 255)[..., None] / 255
    shaded: Pixels = (255 - strength * (255 - np.array(DIFFERENCE))).round().astype(np.uint8)
    return shaded


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Bicubic to enlarge, Lanczos to shrink."""
    if pixels.shape[:2] == (height, width):
        return pixels
    way = Image.Resampling.BICUBIC if width > pixels.shape[1] else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize((width, height), way))


def _captions(subject: Subject, original: Pixels, ours: Pixels | None) -> list[tuple[str, str]]:
    result = subject.result
    height, width = original.shape[:2]
    size = f"{words.count(result.bytes)} bytes, {change_in_bytes(result)}" if result.improved else "the default's, kept"
    apart, scale = words.DASH, ""
    if ours is not None:
        apart, scale = f"mean {difference(original, ours).mean():.2f} of 255", f"shown {DIFFERENCE_SCALE} × as strong"
    return [
        (f"{width} × {height} pixels", f"crops: {zoom_of(width, height)} × enlarged"),
        (f"{words.count(result.default_bytes)} bytes", _damage(result.default_damage)),
        (size, _damage(result.damage)),
        (apart, scale),
    ]


def _damage(pixels: float) -> str:
    return f"{words.number(pixels, 0)} pixels damaged" if pixels > VISIBLE_DAMAGE else "no visible damage"


def _title(strip: Image.Image, subject: Subject, label: str) -> None:
    draw = ImageDraw.Draw(strip)
    draw.line((MARGIN, 6, WIDTH - MARGIN, 6), fill=LINE, width=2)
    kind = f"{subject.result.category} logo"
    room = WIDTH - 2 * MARGIN - draw.textlength(kind, font=_font(24)) - GAP
    name = fit(words.visible(subject.result.path), room, 28, bold=True)
    draw.text((MARGIN, 18), name, fill=INK, font=_font(28, bold=True))
    draw.text((WIDTH - MARGIN, 22), kind, fill=MUTED, font=_font(24), anchor="ra")
    for left, head in zip(COLUMNS, ("Original", "VTracer default", label, "Difference to original"), strict=True):
        draw.text((left, 60), fit(head, PANEL, 24), fill=STRONG if head == label else MUTED, font=_font(24))


def _place(
    strip: Image.Image, pixels: Pixels | None, left: int, top: int, height: int, frame: tuple[int, ...] | None
) -> None:
    """A picture in a panel, centred; an empty panel that says so where there is none."""
    draw = ImageDraw.Draw(strip)
    draw.rectangle(
        (left, top, left + PANEL - 1, top + height - 1), fill=PALE if pixels is None else PAPER, outline=LINE
    )
    if pixels is None:
        draw.text((left + PANEL // 2, top + height // 2), "not available", fill=MUTED, font=_font(24), anchor="mm")
        return
    x, y = left + (PANEL - pixels.shape[1]) // 2, top + (height - pixels.shape[0]) // 2
    strip.paste(Image.fromarray(np.ascontiguousarray(pixels)), (x, y))
    draw.rectangle((left, top, left + PANEL - 1, top + height - 1), outline=LINE)
    if frame:
        box = (x + frame[0], y + frame[1], x + frame[2] - 1, y + frame[3] - 1)
        draw.rectangle(box, outline=PAPER, width=4)  # a light rim, or red would vanish on red
        draw.rectangle(box, outline=FRAME, width=2)


def _lines(strip: Image.Image, lines: tuple[str, str], left: int, top: int, *, strong: bool) -> None:
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        bold = strong and row == 0
        colour = STRONG if bold else INK if row == 0 else MUTED
        draw.text((left, top + row * 30), fit(line, PANEL, 24, bold=bold), fill=colour, font=_font(24, bold=bold))


def _unreadable(subject: Subject) -> Image.Image:
    strip = Image.new("RGB", (WIDTH, TITLE_HEIGHT + STRIP_GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.line((MARGIN, 6, WIDTH - MARGIN, 6), fill=LINE, width=2)
    name = fit(words.visible(subject.result.path), WIDTH - 2 * MARGIN, 28, bold=True)
    draw.text((MARGIN, 18), name, fill=INK, font=_font(28, bold=True))
    draw.text((MARGIN, 60), "The original cannot be read any more.", fill=MUTED, font=_font(24))
    return strip


def fit(text: str, room: float, size: int, *, bold: bool = False) -> str:
    """Text shortened in its middle until it is at most `room` pixels wide."""
    font, length = _font(size, bold=bold), len(text)
    while length > 4 and font.getlength(words.shortened(text, length)) > room:
        length -= 1
    return words.shortened(text, length)


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """matplotlib brings it along, so a sheet looks the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
