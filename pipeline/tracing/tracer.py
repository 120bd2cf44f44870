"""VTracer behind one call. The only import of it; the rest of tracewright knows `TracerParams` only.

VTracer may hang, panic, abort the process or ask for gigabytes: call this in a worker process, never beside anything
that must live. It holds Python's global lock for the whole call.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
import vtracer

from pipeline.core.errors import TracewrightError
from pipeline.core.records import FailureKind, Pixels, TracerParams
from pipeline.tracing.preparation import packed

TRACER_VERSION = "vtracer 0.6.15"

_SIZE = re.compile(r'<svg ([^>]*?)width="(\d+)" height="(\d+)">')


class TraceError(TracewrightError):
    """A trace gave no picture; `kind` says why."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: FailureKind = kind
        self.detail = detail


def encode(rgba: Pixels) -> bytes:
    """The image as VTracer's PNG decoder takes it.

    Compressed, for its decoder spends longer on a stored megabyte than on unpacking ten kilobytes; without PNG's
    filters, which cost a millisecond to choose and make a logo larger.
    """
    rgba = _with_a_key_colour_free(rgba)
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA), options)[1].tobytes()


_KEY_COLOURS = np.array([0x0000FF, 0x00FF00, 0xFF0000, 0x00FFFF, 0xFFFF00, 0xFF00FF], "<u4")
"""Those that VTracer may paint over what is transparent: pure red, green, blue, yellow, cyan and magenta, as BGR."""


def _with_a_key_colour_free(rgba: Pixels) -> Pixels:
    """Where an image with transparency has all of them, VTracer would take a random one, and differ from call to call.

    Then pure magenta becomes a shade that nobody can tell from it.
    """
    if rgba[..., 3].min() == 255:
        return rgba
    colours = packed(rgba) & 0xFFFFFF
    if not all((colours == key).any() for key in _KEY_COLOURS):
        return rgba
    freed = rgba.copy()
    freed[colours == _KEY_COLOURS[-1], 1] = 1
    return freed


def trace(png: bytes, params: TracerParams) -> str:
    """VTracer's own text for an image that was prepared and encoded, on the canvas of the prepared image.

    Raises TraceError, kind `panic`, `empty` or `invalid`.
    """
    svg = _convert(png, params)
    if "<path" not in svg:
        raise TraceError("empty", "the SVG has no path; lower filter_speckle or raise color_precision")
    return svg


def _convert(png: bytes, params: TracerParams) -> str:
    try:
        svg: str = vtracer.convert_raw_image_to_svg(
            png,
            img_format="png",
            colormode=params.colormode,
            hierarchical=params.hierarchical,
            mode=params.mode,
            filter_speckle=params.filter_speckle,
            color_precision=params.color_precision,
            layer_difference=params.layer_difference,
            corner_threshold=params.corner_threshold,
            length_threshold=params.length_threshold,
            max_iterations=params.max_iterations,
            splice_threshold=params.splice_threshold,
            path_precision=params.path_precision,
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise TraceError("invalid", str(error)[:500]) from None
    except BaseException as error:
        # A Rust panic arrives as pyo3's PanicException, which is no Exception and cannot be imported by name.
        if type(error).__name__ != "PanicException":
            raise
        raise TraceError("panic", str(error)[:500]) from None
    return svg


def on_canvas(svg: str, width: int, height: int) -> str:
    """Only the header rewritten, for a text that cannot be parsed: drawn at width x height, in the traced coordinates.

    Rounding can make the traced image's proportions differ by a fraction of a pixel from the original's; then the
    drawing is stretched by that fraction instead of being centred with a gap.
    """
    header = _SIZE.search(svg)
    if header is None:
        raise TraceError("unrenderable", "VTracer's SVG has no size in its header")
    traced_width, traced_height = int(header[2]), int(header[3])
    stretch = "" if traced_width * height == traced_height * width else ' preserveAspectRatio="none"'
    size = f'width="{width}" height="{height}" viewBox="0 0 {traced_width} {traced_height}"{stretch}'
    return f"{svg[: header.start()]}<svg {header[1]}{size}>{svg[header.end() :]}"
