"""SVG to pixels: by Skia, or by resvg where Skia cannot be loaded. The only import of either.

Skia is ten times as fast, and its wheel needs the system's OpenGL libraries; resvg needs nothing. Both draw with
anti-aliasing and differ by rounding at edges, so what drew is recorded with every run.
"""

from __future__ import annotations

import re
from importlib.metadata import version

import cv2
import numpy as np

from pipeline.core.errors import TracewrightError
from pipeline.core.records import Pixels
from pipeline.tracing.quality import grey_of

try:
    import skia
except ImportError:  # libEGL.so.1 or libGL.so.1 is missing: a server or a slim container
    skia = None

_SIZE = re.compile(r'<svg [^>]*?width="(\d+)" height="(\d+)"')


class Unrenderable(TracewrightError):
    """An SVG that cannot be read or that has no size."""


class SkiaDrawing:
    """An SVG read once, to be drawn at several sizes."""

    def __init__(self, svg: str) -> None:
        """Raises Unrenderable."""
        # The stream must own a copy: Skia keeps reading after this string is gone.
        self._dom = skia.SVGDOM.MakeFromStream(skia.MemoryStream(svg.encode("utf-8"), True))
        if self._dom is None:
            raise Unrenderable("Skia cannot read the SVG")
        size = self._dom.containerSize()
        self._width, self._height = size.width(), size.height()
        if not (self._width > 0 and self._height > 0):
            raise Unrenderable("the SVG has no width and height")

    def pixels(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The drawing over the whole of a plain canvas: uint8 (height, width, 3)."""
        rgb: Pixels = cv2.cvtColor(self._rgba(width, height, background), cv2.COLOR_RGBA2RGB)  # type: ignore[assignment]
        return rgb

    def greys(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The same in greys, uint8 (height, width), without the detour by way of RGB."""
        grey: Pixels = cv2.cvtColor(self._rgba(width, height, background), cv2.COLOR_RGBA2GRAY)  # type: ignore[assignment]
        return grey

    def _rgba(self, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
        rgba = np.empty((height, width, 4), dtype=np.uint8)
        canvas = skia.Surface(rgba, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType).getCanvas()
        canvas.clear(skia.Color(*background))
        canvas.scale(width / self._width, height / self._height)
        self._dom.render(canvas)
        return rgba


class ResvgDrawing:
    """As SkiaDrawing, by resvg: drawn anew, through a PNG, each time."""

    def __init__(self, svg: str) -> None:
        """Raises Unrenderable."""
        size = _SIZE.search(svg)
        if size is None or "0" in (size[1], size[2]):
            raise Unrenderable("the SVG has no width and height")
        # Without a viewBox resvg would crop or pad a canvas of another size instead of scaling.
        box = (
            ""
            if "viewBox" in size[0] + svg[size.end() : svg.index(">", size.end())]
            else f' viewBox="0 0 {size[1]} {size[2]}"'
        )
        self._before, self._after, self._box = svg[: size.start()], svg[size.end() :], box
        self._head = re.sub(r' (width|height)="\d+"', "", size[0])

    def pixels(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The drawing over the whole of a plain canvas: uint8 (height, width, 3)."""
        import resvg_py

        stretch = "" if "preserveAspectRatio" in self._after[:80] else ' preserveAspectRatio="none"'
        svg = f'{self._before}{self._head} width="{width}" height="{height}"{self._box}{stretch}{self._after}'
        colour = "#{:02x}{:02x}{:02x}".format(*background)
        try:
            png = bytes(resvg_py.svg_to_bytes(svg_string=svg, background=colour, skip_system_fonts=True))
        except ValueError as error:
            raise Unrenderable(f"resvg cannot read the SVG: {error}") from error
        bgr = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_COLOR)
        if bgr is None or bgr.shape[:2] != (height, width):
            raise Unrenderable("resvg drew nothing of the size asked for")
        rgb: Pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
        return rgb

    def greys(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The same in greys: uint8 (height, width)."""
        return grey_of(self.pixels(width, height, background))


Drawing = SkiaDrawing | ResvgDrawing

DRAWINGS: dict[str, type[Drawing]] = ({"skia-python": SkiaDrawing} if skia else {}) | {"resvg-py": ResvgDrawing}
"""What can draw here, by distribution, the preferred one first; the last is a second opinion where there are two."""

RASTERISERS = {name: f"{name} {version(name)}" for name in DRAWINGS}


def render(svg: str, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    """An SVG stretched over a canvas of width x height pixels: uint8 (height, width, 3). Raises Unrenderable."""
    drawing = next(iter(DRAWINGS.values()))(svg)
    return drawing.pixels(width, height, background)
