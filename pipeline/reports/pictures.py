"""Sheets of single images: the original, VTracer's default, ours and what differs, whole and enlarged.

A sheet is 1600 pixels wide and made to be looked at 800 wide, so its smallest text is 24 pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.errors import TracewrightError
from pipeline.core.facts.comparison import DamagedRegion, ImageResult
from pipeline.core.pixels import on_background
from pipeline.core.records import VISIBLE_DAMAGE, Pixels
from pipeline.reports import words
from pipeline.reports.colours import LIGHT
from pipeline.reports.tables import change_in_bytes
from pipeline.tracing.damage_regions import damaged_regions

Colour = tuple[int, int, int]


class Drawing(Protocol):
    """An SVG that can be drawn, stretched over a canvas. Both raise TracewrightError."""

    def pixels(self, width: int, height: int, background: Colour) -> Pixels:
        """uint8 (height, width, 3)."""
        ...

    def rgba(self, width: int, height: int) -> Pixels:
        """On nothing: uint8 (height, width, 4), premultiplied."""
        ...


Draw = Callable[[str], Drawing]
"""The drawing of an SVG. Raises TracewrightError."""

WIDTH, MARGIN, GAP = 1600, 32, 24
PANEL = (WIDTH - 2 * MARGIN - 3 * GAP) // 4
COLUMNS = tuple(MARGIN + k * (PANEL + GAP) for k in range(4))
CROP_HEIGHT = 210
TITLE_HEIGHT, CAPTION_HEIGHT, STRIP_GAP = 96, 76, 40

LARGEST = 1.5  # a small image is not blown up further, or the crop would not be an enlargement of it
ZOOM = 4
ROOM = 5  # between a damaged region and its box
MOST_PIXELS = 48_000_000  # of an enlarged drawing; a larger image is cropped but not enlarged

INK, MUTED, PAPER, STRONG = LIGHT.ink, LIGHT.muted, LIGHT.paper, LIGHT.strong
LINE, PALE = "#d5d9e0", "#f4f6f9"
FRAME: Colour = (214, 40, 20)  # around damage
DIFFERENCE: Colour = (96, 12, 68)  # at its strongest
DIFFERENCE_SCALE = 4  # a difference of 64 of 255 is shown as the strongest


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One image to be shown. rgba: uint8 (height, width, 4), straight alpha; None when it cannot be read.

    An SVG is None when the evaluation left none.
    """

    result: ImageResult
    rgba: Pixels | None
    default_svg: str | None
    svg: str | None


@dataclass(frozen=True, slots=True)
class _Views:
    """One version of an image: as it is, and enlarged. Both uint8 (height, width, 3). regions: the damaged ones."""

    plain: Pixels
    large: Pixels
    regions: Sequence[DamagedRegion] = ()


def sheet(subjects: Sequence[Subject], draw: Draw, background: Colour, label: str) -> bytes:
    """A PNG with one strip per image, in order. label: what ours is called."""
    strips = [_strip(subject, draw, background, label) for subject in subjects]
    page = Image.new("RGB", (WIDTH, sum(s.height for s in strips) + STRIP_GAP // 2), PAPER)
    top = 0
    for strip in strips:
        page.paste(strip, (0, top))
        top += strip.height
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def _strip(subject: Subject, draw: Draw, background: Colour, label: str) -> Image.Image:
    if subject.rgba is None:
        return _unreadable(subject)
    rgb = on_background(subject.rgba, background)
    height, width = rgb.shape[:2]
    zoom = zoom_of(width, height)
    original = _Views(rgb, _resized(rgb, width * zoom, height * zoom))
    default = _drawn(subject.default_svg, subject.rgba, draw, background)
    ours = _drawn(subject.svg, subject.rgba, draw, background)
    apart = _Views(shade(original.plain, ours.plain), shade(original.large, ours.large)) if ours else None

    whole_width, whole_height = fitted(width, height)
    box = crop_box(_focus(original, default, ours), (height, width), zoom)
    crop_height = box[3] - box[1]
    strip = Image.new("RGB", (WIDTH, TITLE_HEIGHT + whole_height + CAPTION_HEIGHT + crop_height + STRIP_GAP), PAPER)
    _title(strip, subject, ("Original", "VTracer default", label, "Difference to original"))
    captions = _captions(subject, original, default, ours)
    for left, views, lines in zip(COLUMNS, (original, default, ours, apart), captions, strict=True):
        whole = _resized(views.plain, whole_width, whole_height) if views else None
        _place(strip, whole, left, TITLE_HEIGHT, whole_height)
        if views:
            corner = (left + (PANEL - whole_width) // 2, TITLE_HEIGHT)
            scale = whole_width / width
            _frame(strip, corner, [edge / zoom * scale for edge in box], INK, 1)
            _mark(strip, corner, views.regions, scale, (0, 0, whole_width, whole_height))
        _lines(strip, lines, left, TITLE_HEIGHT + whole_height + 10, strong=views is ours and views is not None)
        crop = views.large[box[1] : box[3], box[0] : box[2]] if views else None
        top = TITLE_HEIGHT + whole_height + CAPTION_HEIGHT
        _place(strip, crop, left, top, crop_height)
        if views:
            _mark(strip, (left + (PANEL - (box[2] - box[0])) // 2, top), views.regions, zoom, box)
    return strip


def zoom_of(width: int, height: int) -> int:
    return ZOOM if ZOOM**2 * width * height <= MOST_PIXELS else 1


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size at which a whole image fits a panel, its proportions kept."""
    scale = min(PANEL / width, PANEL / height, LARGEST)
    return max(1, round(width * scale)), max(1, round(height * scale))


def crop_box(focus: tuple[int, int], shape: tuple[int, int], zoom: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom in the enlarged image of the crop around `focus`, (x, y). shape: height, width."""
    height, width = shape
    crop_width, crop_height = min(width, PANEL // zoom), min(height, CROP_HEIGHT // zoom)
    left = min(max(0, focus[0] - crop_width // 2), width - crop_width)
    top = min(max(0, focus[1] - crop_height // 2), height - crop_height)
    return left * zoom, top * zoom, (left + crop_width) * zoom, (top + crop_height) * zoom


def _focus(original: _Views, default: _Views | None, ours: _Views | None) -> tuple[int, int]:
    """(x, y) of what is worth a closer look: ours' worst region, the default's, the largest difference."""
    for views in (ours, default):
        if views and views.regions:
            worst = views.regions[0]
            return worst.x + worst.width // 2, worst.y + worst.height // 2
    off = difference(original.plain, ours.plain) if ours else np.zeros(original.plain.shape[:2])
    if not off.any():
        return original.plain.shape[1] // 2, original.plain.shape[0] // 2
    y, x = np.unravel_index(int(off.argmax()), off.shape)
    return int(x), int(y)


def _drawn(svg: str | None, rgba: Pixels, draw: Draw, background: Colour) -> _Views | None:
    if svg is None:
        return None
    height, width = rgba.shape[:2]
    zoom = zoom_of(width, height)
    try:
        drawing = draw(svg)
        plain, large = (drawing.pixels(width * n, height * n, background) for n in (1, zoom))
        return _Views(plain, large, damaged_regions(rgba, drawing.rgba(width, height)))
    except TracewrightError:
        return None


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


def _captions(subject: Subject, original: _Views, default: _Views | None, ours: _Views | None) -> list[tuple[str, str]]:
    result = subject.result
    height, width = original.plain.shape[:2]
    size = f"{words.count(result.bytes)} bytes, {change_in_bytes(result)}" if result.improved else "the default's, kept"
    apart, scale = words.DASH, ""
    if ours is not None:
        off = difference(original.plain, ours.plain).mean()
        apart, scale = f"mean {off:.2f} of 255", f"shown {DIFFERENCE_SCALE} × as strong"
    return [
        (f"{width} × {height} pixels", f"crops: {zoom_of(width, height)} × enlarged"),
        (f"{words.count(result.default_bytes)} bytes", _damage(result.default_damage, default)),
        (size, _damage(result.damage, ours)),
        (apart, scale),
    ]


def _damage(damage: float, views: _Views | None) -> str:
    if damage <= VISIBLE_DAMAGE:
        return "no visible damage"
    kind = f": {words.DAMAGE_NOUNS[views.regions[0].kind]}" if views and views.regions else " damaged"
    return f"{words.number(damage, 0)} px{kind}"


def _title(strip: Image.Image, subject: Subject, heads: Sequence[str]) -> None:
    draw = ImageDraw.Draw(strip)
    draw.line((MARGIN, 6, WIDTH - MARGIN, 6), fill=LINE, width=2)
    kind = f"{subject.result.category} logo"
    room = WIDTH - 2 * MARGIN - draw.textlength(kind, font=_font(24)) - GAP
    name = fit(words.visible(subject.result.path), room, 28, bold=True)
    draw.text((MARGIN, 18), name, fill=INK, font=_font(28, bold=True))
    draw.text((WIDTH - MARGIN, 22), kind, fill=MUTED, font=_font(24), anchor="ra")
    for column, head in enumerate(heads):
        room = PANEL if len(heads) > 1 else WIDTH - 2 * MARGIN
        draw.text((COLUMNS[column], 60), fit(head, room, 24), fill=STRONG if column == 2 else MUTED, font=_font(24))


def _place(strip: Image.Image, pixels: Pixels | None, left: int, top: int, height: int) -> None:
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


def _mark(
    strip: Image.Image,
    corner: tuple[int, int],
    regions: Sequence[DamagedRegion],
    scale: float,
    window: tuple[int, int, int, int],
) -> None:
    """Boxes around the damaged regions on a picture whose upper left corner is there.

    window: left, top, right and bottom of what the picture shows, in pixels of the image enlarged by `scale`.
    """
    left, top, right, bottom = window
    for region in regions:
        x, y = region.x * scale, region.y * scale
        low = max(x - ROOM, left), max(y - ROOM, top)
        high = min(x + region.width * scale + ROOM, right), min(y + region.height * scale + ROOM, bottom)
        if low[0] < high[0] and low[1] < high[1]:
            _frame(strip, (corner[0] - left, corner[1] - top), (*low, *high), FRAME, 3)


def _frame(strip: Image.Image, corner: tuple[int, int], box: Sequence[float], colour: str | Colour, width: int) -> None:
    """left, top, right, bottom, from the corner; with a light rim, or a colour would vanish on itself."""
    x, y = corner
    left, top, right, bottom = (round(edge) for edge in box)
    edges = (x + left, y + top, x + max(right - 1, left), y + max(bottom - 1, top))
    draw = ImageDraw.Draw(strip)
    draw.rectangle((edges[0] - 1, edges[1] - 1, edges[2] + 1, edges[3] + 1), outline=PAPER, width=width + 2)
    draw.rectangle(edges, outline=colour, width=width)


def _lines(strip: Image.Image, lines: tuple[str, str], left: int, top: int, *, strong: bool) -> None:
    draw = ImageDraw.Draw(strip)
    for row, line in enumerate(lines):
        bold = strong and row == 0
        colour = STRONG if bold else INK if row == 0 else MUTED
        draw.text((left, top + row * 30), fit(line, PANEL, 24, bold=bold), fill=colour, font=_font(24, bold=bold))


def _unreadable(subject: Subject) -> Image.Image:
    strip = Image.new("RGB", (WIDTH, TITLE_HEIGHT + STRIP_GAP), PAPER)
    _title(strip, subject, ("The original cannot be read any more.",))
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
