"""From VTracer's text to the file that is written: fewer nodes, fills from the pixels, and the fewest bytes."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.core.records import Pixels, TracerParams
from pipeline.svg.fills import refit
from pipeline.svg.minify import count_nodes, minify
from pipeline.svg.outlines import simplify
from pipeline.svg.parse import UnparsedSvg, parse
from pipeline.tracing.quality import paths_and_nodes
from pipeline.tracing.raster import labels
from pipeline.tracing.tracer import on_canvas


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG as it is written. traced_bytes: of VTracer's own text. parsed: False where that text is kept as it was."""

    svg: str
    traced_bytes: int
    paths: int
    nodes: int
    parsed: bool = True


def improve(traced: str, rgba: Pixels, params: TracerParams) -> Picture:
    """traced: VTracer's text for the image after its preparation. rgba: the image itself, uint8 (H, W, 4).

    A text outside VTracer's dialect is kept, on the image's canvas. Raises TraceError when it has no size.
    """
    height, width = rgba.shape[:2]
    traced_bytes = len(traced.encode("utf-8"))
    try:
        drawing = parse(traced, width, height)
    except UnparsedSvg:
        svg = on_canvas(traced, width, height)
        return Picture(svg, traced_bytes, *paths_and_nodes(svg), parsed=False)
    if params.simplify:
        drawing = simplify(drawing, params.simplify)
    if params.refit:
        drawing = refit(drawing, rgba, labels)
    svg = minify(drawing, params.steps_per_pixel, tolerance=1 / params.steps_per_pixel)
    return Picture(svg, traced_bytes, len(drawing.shapes), count_nodes(drawing))
