"""VTracer behind one call. The only import of it; the rest of tracewright knows `TracerParams` only.

VTracer may hang, panic, abort the process or ask for gigabytes: call this in a worker process, never beside anything
that must live. It holds Python's global lock for the whole call.
"""

from __future__ import annotations

import io
import re

import vtracer
from PIL import Image

from pipeline.errors import TracewrightError
from pipeline.records import FailureKind, Pixels, TracerParams

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

    Level 1 rather than 0: its decoder spends longer on a stored megabyte than on unpacking ten kilobytes.
    """
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def trace(rgba: Pixels, params: TracerParams, width: int, height: int) -> str:
    """The SVG of an image that was already prepared, on the canvas of the original, width x height pixels.

    Raises TraceError, kind `panic` or `empty`.
    """
    return trace_png(encode(rgba), params, width, height)


def trace_png(png: bytes, params: TracerParams, width: int, height: int) -> str:
    """As `trace`, for an image that `encode` already encoded."""
    svg = _convert(png, params)
    if "<path" not in svg:
        raise TraceError("empty", "the SVG has no path; lower filter_speckle or raise color_precision")
    return on_canvas(svg, width, height) if params.prescale != 1 else svg


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
    except BaseException as error:
        # A Rust panic arrives as pyo3's PanicException, which is no Exception and cannot be imported by name.
        if type(error).__name__ != "PanicException":
            raise
        raise TraceError("panic", str(error)[:500]) from None
    return svg


def on_canvas(svg: str, width: int, height: int) -> str:
    """Only the header rewritten: drawn at width x height, in the coordinates that were traced.

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
