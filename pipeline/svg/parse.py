"""VTracer's SVG dialect to shapes.

VTracer writes an XML header, a comment, one `<svg>` and, line by line, paths of absolute M, L, C and Z, each with a
`fill` of six digits and a `transform="translate(x,y)"`. Anything else is refused: this is no SVG reader.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import TracewrightError
from pipeline.svg.shapes import CUBIC, LINE, Drawing, Flat, Loop, Shape

_HEADER = re.compile(
    r"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--[^>]*-->\s*)?<svg\b(?P<attributes>[^>]*)>\s*",
)
_SIZE = re.compile(r'\swidth="(\d+)" height="(\d+)"(?: viewBox="0 0 (\d+) (\d+)")?')
_PATH = re.compile(
    r'<path d="([^"]*)" fill="#([0-9A-Fa-f]{6})" transform="translate\((-?\d+\.?\d*),(-?\d+\.?\d*)\)"/>\s*'
)
_END = re.compile(r"</svg>\s*")

_NUMERALS = b"0123456789.-"
_COMMANDS = re.compile(rb"(?:M[ ,] (?:C {6}|L[ ,] )*Z )*")
"""Path data without its numerals."""
_TO_SPACES = bytes.maketrans(b"MLCZ,", b"     ")
_POINTS = np.zeros(256, dtype=np.intp)
_POINTS[list(b"MLC")] = 1, LINE, CUBIC
"""The points that follow a command."""


class UnparsedSvg(TracewrightError):
    """The text is not what VTracer writes."""


def parse(svg: str, width: int, height: int, rows: int | None = None) -> Drawing:
    """The shapes of VTracer's SVG on a canvas of width x height pixels, whatever the size that was traced.

    rows: of the traced image that make up the canvas. Where it has one more, that is the first and lies outside.
    Reads the output of every mode, hierarchy and precision. Raises UnparsedSvg.
    """
    traced_width, traced_height, position = _header(svg)
    texts: list[str] = []
    fills: list[str] = []
    moves: list[tuple[str, str]] = []
    while path := _PATH.match(svg, position):
        text, fill, x, y = path.groups()
        position = path.end()
        if text:  # VTracer writes the outline of nothing as well.
            texts.append(text)
            fills.append(fill)
            moves.append((x, y))
    if not _END.fullmatch(svg, position):
        raise UnparsedSvg(f"not a path of VTracer's at character {position}: {svg[position : position + 60]!r}")
    if not texts:
        return Drawing(width, height, ())
    loops = [text.count("M") for text in texts]
    if 0 in loops:
        raise UnparsedSvg("a path without a move")
    translation = np.repeat(np.array(moves, dtype=np.float64), loops, axis=0)
    if rows == traced_height - 1:
        translation[:, 1] -= 1
        traced_height = rows
    scale = np.array([width / traced_width, height / traced_height])
    every = _loops("".join(texts), translation, scale)
    shapes = []
    start = 0
    for count, fill in zip(loops, fills, strict=True):
        color = (int(fill[:2], 16), int(fill[2:4], 16), int(fill[4:], 16))
        shapes.append(Shape(tuple(every[start : start + count]), Flat(color)))
        start += count
    return Drawing(width, height, tuple(shapes))


def _header(svg: str) -> tuple[int, int, int]:
    """The width and height of the traced image, and where the paths begin."""
    header = _HEADER.match(svg)
    size = _SIZE.search(header["attributes"]) if header else None
    if header is None or size is None:
        raise UnparsedSvg(f"no <svg> with width and height: {svg[:60]!r}")
    width, height = int(size[3] or size[1]), int(size[4] or size[2])
    if not (width and height):
        raise UnparsedSvg(f"an empty canvas: {size[0].strip()}")
    return width, height, header.end()


def _loops(data: str, translation: NDArray[np.float64], scale: NDArray[np.float64]) -> list[Loop]:
    """All loops of path data. translation: float64 (loops, 2), before scaling."""
    octets = data.encode("ascii", "replace")
    if not octets.endswith(b" "):
        octets += b" "
    if not _COMMANDS.fullmatch(octets.translate(None, _NUMERALS)):
        raise UnparsedSvg("path data other than absolute M, L, C and Z with one pair of coordinates or three each")
    commands = np.frombuffer(octets.translate(None, _NUMERALS + b" ,Z"), dtype=np.uint8)
    counts = _POINTS[commands]
    numerals = octets.translate(_TO_SPACES).split()
    if len(numerals) != 2 * counts.sum():
        raise UnparsedSvg("path data with a coordinate missing")
    try:
        points = np.fromiter(map(float, numerals), np.float64, len(numerals)).reshape(-1, 2)
    except ValueError as error:
        raise UnparsedSvg(f"path data: {error}") from None
    first = np.flatnonzero(commands == ord("M"))
    starts = (np.cumsum(counts) - counts)[first]
    points += np.repeat(translation, np.diff(starts, append=len(points)), axis=0)
    points *= scale
    degrees = counts.astype(np.uint8)
    point_ends = [*starts[1:].tolist(), len(points)]
    command_ends = [*first[1:].tolist(), len(commands)]
    return [
        Loop(points[point:point_end], degrees[command + 1 : command_end])
        for point, point_end, command, command_end in zip(
            starts.tolist(), point_ends, first.tolist(), command_ends, strict=True
        )
    ]
