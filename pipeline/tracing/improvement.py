"""From VTracer's text to the file that is written: fewer nodes, fills from the pixels, and the fewest bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.records import Pixels, TracerParams
from pipeline.svg.fills import refit
from pipeline.svg.minify import count_nodes, minify
from pipeline.svg.outlines import simplify
from pipeline.svg.parse import UnparsedSvg, parse
from pipeline.svg.shapes import Drawing, Flat, Rectangle, Shape
from pipeline.tracing.preparation import adapt, enlarged_size, prepare
from pipeline.tracing.quality import paths_and_nodes
from pipeline.tracing.raster import labels
from pipeline.tracing.tracer import TraceError, encode, on_canvas, trace

UNCOVERED = 4
"""Pixels of an opaque image that may stay without a shape."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG as it is written. traced_bytes: of VTracer's own text. parsed: False where that text is kept as it was."""

    svg: str
    traced_bytes: int
    paths: int
    nodes: int
    parsed: bool = True


def picture_of(rgba: Pixels, params: TracerParams) -> Picture:
    """The whole way from an image, uint8 (H, W, 4), to its SVG, in this process. Raises TraceError.

    VTracer may abort the process: where that matters, a pool evaluates.
    """
    adapted = adapt(params, rgba)
    return improve(trace(encode(prepare(rgba, adapted)), adapted), rgba, adapted)


def improve(traced: str, rgba: Pixels, params: TracerParams) -> Picture:
    """traced: VTracer's text for the image after its preparation. rgba: the image itself, uint8 (H, W, 4).

    A text outside VTracer's dialect is kept, on the image's canvas. Raises TraceError when it has no size, or when
    no shape is left.
    """
    height, width = rgba.shape[:2]
    traced_bytes = len(traced.encode("utf-8"))
    try:
        rows = enlarged_size(width, height, params.prescale)[1]
        drawing = parse(traced, width, height, rows if params.refit else None)
    except UnparsedSvg:
        svg = on_canvas(traced, width, height)
        return Picture(svg, traced_bytes, *paths_and_nodes(svg), parsed=False)
    if params.simplify:
        drawing = simplify(drawing, params.simplify)
    if params.refit:
        drawing = refit(_back(drawing, rgba), rgba, labels)
    svg = minify(drawing, params.steps_per_pixel, tolerance=1 / params.steps_per_pixel)
    if svg.count("<") == 2:  # <svg ...></svg>
        raise TraceError("empty", "no shape of the SVG is larger than a step of its grid")
    return Picture(svg, traced_bytes, len(drawing.shapes), count_nodes(drawing))


def _back(drawing: Drawing, rgba: Pixels) -> Drawing:
    """A rectangle below everything where VTracer left pixels of an opaque image without a shape."""
    if rgba[..., 3].min() < 255:
        return drawing
    uncovered = labels(drawing) < 0
    if np.count_nonzero(uncovered) <= UNCOVERED:
        return drawing
    red, green, blue = np.median(rgba[uncovered, :3], axis=0).astype(int).tolist()
    size = (float(drawing.width), float(drawing.height))
    ground = Shape(Rectangle((0.0, 0.0), size), Flat((red, green, blue)))
    return replace(drawing, shapes=(ground, *drawing.shapes))
