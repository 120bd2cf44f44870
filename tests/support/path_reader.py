"""A reader of SVG path data, by the grammar of SVG 1.1, to check what is written against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

_TOKEN = re.compile(r"([MLHVCSQTZ])|(-?(?:\d+\.?\d*|\.\d+))|[ ,]", re.IGNORECASE)
_PER_COMMAND = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2}
_SAMPLES = np.linspace(0, 1, 17)[1:]


def flatten(svg: str) -> str:
    """The SVG with every curve as 16 lines, so that a rasteriser's own flattening makes no difference."""
    return re.sub(r' d="([^"]*)"', lambda match: f' d="{_lines(match[1])}"', svg)


def _lines(data: str) -> str:
    text = ""
    for command, points in segments(data):
        if command == "Z":
            text += "Z"
        elif len(points) <= 2:
            text += f"{command}{points[-1].real!r} {points[-1].imag!r}"
        else:
            text += "".join(f"L{point.real!r} {point.imag!r}" for point in _bezier(points))
    return text


def _bezier(points: list[complex]) -> list[complex]:
    """By de Casteljau's algorithm."""
    layers = [np.full_like(_SAMPLES, 1) * point for point in points]
    while len(layers) > 1:
        layers = [(1 - _SAMPLES) * a + _SAMPLES * b for a, b in pairwise(layers)]
    return [complex(point) for point in layers[0]]


def segments(data: str) -> Iterator[tuple[str, list[complex]]]:
    """M, L or Z and its points from the current one on; an L has two points or, of a curve, more."""
    here = start = 0j
    before, last_control = "", 0j
    for command, numbers in _commands(data):
        upper = command.upper()
        if upper == "Z":
            here = start
            yield "Z", []
            before = "Z"
            continue
        origin = 0j if command.isupper() else here
        if upper == "H":
            points = [complex(origin.real + numbers[0], here.imag)]
        elif upper == "V":
            points = [complex(here.real, origin.imag + numbers[0])]
        else:
            points = [origin + complex(*numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
        if upper in "ST":
            mirrors = before in ("CS" if upper == "S" else "QT")
            points.insert(0, 2 * here - last_control if mirrors else here)
        if upper == "M":
            start = points[0]
        yield ("M" if upper == "M" else "L"), [here, *points]
        here, before = points[-1], upper
        last_control = points[-2] if len(points) > 1 else here


def _commands(data: str) -> Iterator[tuple[str, list[float]]]:
    tokens: list[str] = []
    position = 0
    while position < len(data):
        match = _TOKEN.match(data, position)
        assert match, f"{data[position : position + 20]!r} is no path data"
        tokens += [match[0]] if match[0] not in " ," else []
        position = match.end()
    command, index = "", 0
    while index < len(tokens):
        if tokens[index].isalpha():
            command = tokens[index]
            index += 1
            if command in "zZ":
                yield command, []
                continue
        count = _PER_COMMAND[command.upper()]
        numbers = [float(token) for token in tokens[index : index + count]]
        assert len(numbers) == count, data
        yield command, numbers
        index += count
        command = {"M": "L", "m": "l"}.get(command, command)
