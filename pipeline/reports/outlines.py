"""An SVG's shapes as lines and nodes: what an editor would show. Made from numbers alone, so nothing else survives."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_NODES = 20_000  # drawn as marks; more would be a grey cloud

_ROOT = re.compile(r"<svg\b([^>]*)>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)(g|path|circle|ellipse|rect)\b([^>]*?)(/?)>", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = re.compile(r"""([a-zA-Z]+)\s*=\s*("[^"]*"|'[^']*')""")
_DATA = re.compile(r"[MmLlHhVvCcSsQqTtAaZz0-9eE.,+\-\s]*")
_MOVES = re.compile(r"\s*(?:(?:translate|scale)\(\s*-?[0-9.]+(?:[\s,]+-?[0-9.]+)?\s*\)\s*)*")
_BOX = re.compile(r"\s*-?[0-9.]+(?:[\s,]+-?[0-9.]+){3}\s*")
_LENGTH = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_SEGMENT = re.compile(r"([MLCZHVSQTA])([^MLCZHVSQTA]*)", re.IGNORECASE)
_GEOMETRY = ("cx", "cy", "r", "rx", "ry", "x", "y", "width", "height")
_NUMBERS_OF = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Outlines:
    """svg: the lines alone. width, height: in pixels. paths, nodes: how many, subpaths' starting points included.

    A circle, an ellipse or a rectangle counts as a path of four nodes.
    """

    svg: str
    width: int
    height: int
    paths: int
    nodes: int


def outlines(svg: str, colour: str, node_colour: str) -> Outlines | None:
    """The lines of an SVG in `colour` and its nodes as dots; None where it has no size.

    Only geometry, translations and scales of shapes and groups are looked at: neither VTracer nor the minifier writes
    any other.
    """
    root = _ROOT.search(svg)
    size = _size(_attributes(root[1])) if root else None
    if root is None or size is None:
        return None
    width, height, box = size
    parts, paths, nodes, depth = [], 0, 0, 0
    for closing, kind, inside, empty in _TAG.findall(svg, root.end()):
        attributes = _attributes(inside)
        if kind.lower() == "g":
            if closing and depth:
                depth -= 1
                parts.append("</g>")
            elif not closing and not empty:
                depth += 1
                parts.append(f"<g{_moved(attributes)}>")
        elif kind.lower() != "path":
            paths, nodes = paths + 1, nodes + 4
            numbers = {name: text for name in _GEOMETRY if _NUMBER.fullmatch(text := attributes.get(name, ""))}
            given = "".join(f' {name}="{text}"' for name, text in numbers.items())
            parts.append(f"<g{_moved(attributes)}><{kind.lower()}{given}/></g>")
        elif _DATA.fullmatch(data := attributes.get("d", "")):
            ends = _ends(data)
            paths, nodes = paths + 1, nodes + len(ends)
            dots = "".join(f"M{x:g} {y:g}h0" for x, y in ends) if nodes <= MOST_NODES else ""
            parts.append(f'<g{_moved(attributes)}><path d="{data}"/><path class="n" d="{dots}"/></g>')
    style = (
        f"path,circle,ellipse,rect{{fill:none;stroke:{colour};stroke-width:1px;vector-effect:non-scaling-stroke}}"
        f".n{{stroke:{node_colour};stroke-width:4px;stroke-linecap:round}}"
    )
    view = " ".join(f"{edge:g}" for edge in box)
    body = "".join(parts) + "</g>" * depth
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" viewBox="{view}"'
    text = f"{head}><style>{style}</style>{body}</svg>"
    return Outlines(text, round(width), round(height), paths, nodes)


def _attributes(inside: str) -> dict[str, str]:
    return {name: value[1:-1] for name, value in _ATTRIBUTE.findall(inside)}


def _size(attributes: dict[str, str]) -> tuple[float, float, tuple[float, ...]] | None:
    width, height = (_LENGTH.match(attributes.get(name, "")) for name in ("width", "height"))
    if not (width and height) or "0" in (width[0], height[0]):
        return None
    box = attributes.get("viewBox", "")
    view = (
        [float(n) for n in _NUMBER.findall(box)] if _BOX.fullmatch(box) else [0, 0, float(width[0]), float(height[0])]
    )
    return float(width[0]), float(height[0]), tuple(view)


def _moved(attributes: dict[str, str]) -> str:
    moves = attributes.get("transform", "")
    return f' transform="{moves}"' if moves and _MOVES.fullmatch(moves) else ""


def _ends(data: str) -> list[tuple[float, float]]:
    """Where each segment ends; arcs, which nobody here writes, are left out."""
    ends: list[tuple[float, float]] = []
    x = y = 0.0
    start = x, y
    for command, rest in _SEGMENT.findall(data):
        kind = command.upper()
        if kind == "Z":
            x, y = start
        if kind not in _NUMBERS_OF:
            continue
        step, numbers = _NUMBERS_OF[kind], [float(n) for n in _NUMBER.findall(rest)]
        for k in range(0, len(numbers) - step + 1, step):
            before_x, before_y = (x, y) if command.islower() else (0.0, 0.0)
            last = numbers[k : k + step]
            if kind != "V":
                x = before_x + last[0 if kind == "H" else -2]
            if kind != "H":
                y = before_y + last[-1]
            if kind == "M" and k == 0:
                start = x, y
            ends.append((x, y))
    return ends
