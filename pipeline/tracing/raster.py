"""SVG to pixels: by Skia, or by resvg where Skia cannot be loaded. The only import of either.

Skia is ten times as fast, and its wheel needs the system's OpenGL libraries; resvg needs nothing. Both draw with
anti-aliasing and differ by rounding at edges, so what drew is recorded with every run.
"""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import TracewrightError
from pipeline.core.records import Pixels
from pipeline.svg import shapes
from pipeline.tracing.quality import grey_of

try:
    import skia
except ImportError:  # libEGL.so.1 or libGL.so.1 is missing: a server or a slim container
    skia = None

_SIZE = re.compile(r'<svg [^>]*?width="(\d+)" height="(\d+)"')


class RenderError(TracewrightError):
    """An SVG that cannot be read or that has no size."""


class SkiaDrawing:
    """An SVG read once, to be drawn at several sizes."""

    def __init__(self, svg: str) -> None:
        """Raises RenderError."""
        # The stream must own a copy: Skia keeps reading after this string is gone.
        self._dom = skia.SVGDOM.MakeFromStream(skia.MemoryStream(svg.encode("utf-8"), True))
        if self._dom is None:
            raise RenderError("Skia cannot read the SVG")
        size = self._dom.containerSize()
        self._width, self._height = size.width(), size.height()
        if not (self._width > 0 and self._height > 0):
            raise RenderError("the SVG has no width and height")

    def pixels(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The drawing over the whole of a plain canvas: uint8 (height, width, 3)."""
        rgb: Pixels = cv2.cvtColor(self._rgba(width, height, skia.Color(*background)), cv2.COLOR_RGBA2RGB)  # type: ignore[assignment]
        return rgb

    def greys(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The same in greys, uint8 (height, width), without the detour by way of RGB."""
        grey: Pixels = cv2.cvtColor(self._rgba(width, height, skia.Color(*background)), cv2.COLOR_RGBA2GRAY)  # type: ignore[assignment]
        return grey

    def rgba(self, width: int, height: int) -> Pixels:
        """The drawing on nothing: uint8 (height, width, 4), premultiplied."""
        return self._rgba(width, height, skia.ColorTRANSPARENT)

    def _rgba(self, width: int, height: int, color: int) -> Pixels:
        rgba = np.empty((height, width, 4), dtype=np.uint8)
        canvas = skia.Surface(rgba, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType).getCanvas()
        canvas.clear(color)
        canvas.scale(width / self._width, height / self._height)
        self._dom.render(canvas)
        return rgba


class ResvgDrawing:
    """As SkiaDrawing, by resvg: drawn through a PNG at each call."""

    def __init__(self, svg: str) -> None:
        """Raises RenderError."""
        size = _SIZE.search(svg)
        if size is None or "0" in (size[1], size[2]):
            raise RenderError("the SVG has no width and height")
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
        bgr = self._bgr(width, height, cv2.IMREAD_COLOR, background="#{:02x}{:02x}{:02x}".format(*background))
        rgb: Pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
        return rgb

    def rgba(self, width: int, height: int) -> Pixels:
        """The drawing on nothing: uint8 (height, width, 4), premultiplied."""
        straight = cv2.cvtColor(self._bgr(width, height, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
        rgba: Pixels = cv2.cvtColor(straight, cv2.COLOR_RGBA2mRGBA)  # type: ignore[assignment]
        return rgba

    def _bgr(self, width: int, height: int, flags: int, background: str | None = None) -> Pixels:
        import resvg_py

        stretch = "" if "preserveAspectRatio" in self._after[:80] else ' preserveAspectRatio="none"'
        svg = f'{self._before}{self._head} width="{width}" height="{height}"{self._box}{stretch}{self._after}'
        try:
            png = bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, background=background))
        except ValueError as error:
            raise RenderError(f"resvg cannot read the SVG: {error}") from error
        pixels = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), flags)
        if pixels is None or pixels.shape[:2] != (height, width):
            raise RenderError("resvg drew nothing of the requested size")
        return cast(Pixels, pixels)

    def greys(self, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
        """The same in greys: uint8 (height, width)."""
        return grey_of(self.pixels(width, height, background))


RasterDrawing = SkiaDrawing | ResvgDrawing

DRAWINGS: dict[str, type[RasterDrawing]] = ({"skia-python": SkiaDrawing} if skia else {}) | {"resvg-py": ResvgDrawing}
"""What can draw here, by distribution, the preferred one first; the last is a second opinion where there are two."""

RASTERISERS = {name: f"{name} {version(name)}" for name in DRAWINGS}


def preferred_drawing(svg: str) -> RasterDrawing:
    """By the preferred of DRAWINGS. Raises RenderError."""
    return next(iter(DRAWINGS.values()))(svg)


def render(svg: str, width: int, height: int, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    """An SVG stretched over a canvas of width x height pixels: uint8 (height, width, 3). Raises RenderError."""
    return preferred_drawing(svg).pixels(width, height, background)


def labels(drawing: shapes.Drawing, rasteriser: str | None = None) -> NDArray[np.int32]:
    """Which shape each pixel shows, by its centre: int32 (height, width), indices of `drawing.shapes`; -1 is none.

    rasteriser: one of DRAWINGS, the first where none is named.
    """
    draw = _labels_by_skia if (rasteriser or next(iter(DRAWINGS))) == "skia-python" else _labels_by_resvg
    rgba = draw(drawing).astype(np.int32)
    shown: NDArray[np.int32] = rgba[..., 0] + (rgba[..., 1] << 8) + (rgba[..., 2] << 16) - 1
    return shown


def _labels_by_skia(drawing: shapes.Drawing) -> Pixels:
    """Colour i + 1, red the lowest byte, for shape i: uint8 (height, width, 4)."""
    rgba = np.zeros((drawing.height, drawing.width, 4), dtype=np.uint8)
    canvas = skia.Surface(rgba, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType).getCanvas()
    paint = skia.Paint(AntiAlias=False)
    for index, shape in enumerate(drawing.shapes, start=1):
        paint.setColor(0xFF000000 | _swapped(index))
        canvas.drawPath(_skia_path(shape.outline), paint)
    return rgba


def _swapped(index: int) -> int:
    """The number whose red (Skia's third byte) is the lowest byte of index."""
    return (index & 0xFF) << 16 | (index & 0xFF00) | (index >> 16 & 0xFF)


def _skia_path(outline: shapes.Outline) -> Any:
    path = skia.Path()
    if isinstance(outline, shapes.Ellipse):
        (x, y), (across, down) = outline.center, outline.radii
        return path.addOval(skia.Rect(x - across, y - down, x + across, y + down))
    if isinstance(outline, shapes.Rectangle):
        rect = skia.Rect.MakeXYWH(*outline.corner, *outline.size)
        return path.addRoundRect(rect, outline.radius, outline.radius)
    for loop in outline:
        points = loop.points.tolist()
        path.moveTo(*points[0])
        at = 1
        for degree in loop.degrees.tolist():
            if degree == shapes.LINE:
                path.lineTo(*points[at])
            else:
                path.cubicTo(*points[at], *points[at + 1], *points[at + 2])
            at += degree
        path.close()
    return path


def _labels_by_resvg(drawing: shapes.Drawing) -> Pixels:
    """As `_labels_by_skia`."""
    size = f'width="{drawing.width}" height="{drawing.height}"'
    elements = [
        f'<{_element(shape.outline)} fill="#{_swapped(index):06x}"/>'
        for index, shape in enumerate(drawing.shapes, start=1)
    ]
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} shape-rendering="crispEdges">{"".join(elements)}</svg>'
    rgb = ResvgDrawing(svg).pixels(drawing.width, drawing.height, background=(0, 0, 0))
    return rgb


def _element(outline: shapes.Outline) -> str:
    """An SVG element's name and geometry."""
    if isinstance(outline, shapes.Ellipse):
        (x, y), (across, down) = outline.center, outline.radii
        return f'ellipse cx="{x:.4f}" cy="{y:.4f}" rx="{across:.4f}" ry="{down:.4f}"'
    if isinstance(outline, shapes.Rectangle):
        (x, y), (width, height) = outline.corner, outline.size
        return f'rect x="{x:.4f}" y="{y:.4f}" width="{width:.4f}" height="{height:.4f}" rx="{outline.radius:.4f}"'
    return f'path d="{"".join(map(_path_data, outline))}"'


def _path_data(loop: shapes.Loop) -> str:
    points = [f"{x:.4f} {y:.4f}" for x, y in loop.points.tolist()]
    parts, at = [f"M{points[0]}"], 1
    for degree in loop.degrees.tolist():
        parts.append(("L" if degree == shapes.LINE else "C") + " ".join(points[at : at + degree]))
        at += degree
    return "".join(parts) + "Z"
