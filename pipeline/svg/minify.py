"""A drawing in the fewest bytes that paint the same.

All coordinates lie on one integer grid: they are rounded once and differences are taken afterwards, so relative
commands do not drift. The grid is written in decimals, or in whole steps below one `transform="scale()"`, which saves
the point of every number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from pipeline.svg.paints import fill, gradient, gradient_name, paint_key
from pipeline.svg.path_data import Notation, path_data
from pipeline.svg.segments import Integers, Segments, quantise, simplify
from pipeline.svg.shapes import (
    CUBIC,
    Drawing,
    Ellipse,
    Flat,
    LinearGradient,
    Loop,
    Paint,
    RadialGradient,
    Rectangle,
    Shape,
)

_SCALE_LENGTH = 30
"""Characters of a group with a scale."""
_NEAR = 1.02
"""Where one notation is estimated to take so many times the other's characters, it is not tried."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A shape on the grid. number: of the shape in the drawing. box: left, top, right, bottom, in steps.

    element: of an ellipse or a rounded rectangle, its name and its attributes in steps; loops: else, their numbers.
    """

    number: int
    key: tuple[object, ...]
    paint: Paint
    box: tuple[int, int, int, int]
    loops: tuple[int, ...]
    element: tuple[str, dict[str, int]] | None = None


def minify(drawing: Drawing, steps_per_pixel: int, tolerance: float = 0.0) -> str:
    """The SVG, on a grid of so many steps per pixel, 1 to 1000.

    tolerance: how far a control point may move for a shorter segment, in pixels. Without one the SVG
    paints what the drawing paints once its points are rounded to the grid.
    """
    if not 1 <= steps_per_pixel <= 1000:
        raise ValueError(f"steps_per_pixel is {steps_per_pixel}, not 1 to 1000")
    segments, items = _on_grid(drawing, steps_per_pixel, tolerance * steps_per_pixel)
    if not items:
        return f"{_head(drawing)}</svg>"
    segments, items, steps = _coarsest(segments, items, steps_per_pixel)
    groups = _grouped(items, steps)
    texts = [_document(drawing, segments, groups, notation) for notation in _notations(segments, steps)]
    return min(texts, key=len)


def count_nodes(drawing: Drawing) -> int:
    """The end points of all segments, each once; 4 for an ellipse or a rectangle, 8 for one with round corners."""
    count = 0
    for shape in drawing.shapes:
        if isinstance(shape.outline, Ellipse):
            count += 4
        elif isinstance(shape.outline, Rectangle):
            count += 8 if shape.outline.radius else 4
        else:
            for loop in shape.outline:
                is_open = len(loop.degrees) > 0 and bool((loop.points[0] != loop.points[-1]).any())
                count += len(loop.degrees) + is_open
    return count


def _head(drawing: Drawing) -> str:
    width, height = drawing.width, drawing.height
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'


def _on_grid(drawing: Drawing, steps: int, tolerance: float) -> tuple[Segments, list[_Item]]:
    """The drawing's loops, numbered through, and its shapes that have an area."""
    loops: list[Loop] = []
    owners: list[int] = []
    outlines = [_plain(shape.outline) for shape in drawing.shapes]
    for number, outline in enumerate(outlines):
        if isinstance(outline, tuple):
            kept = [loop for loop in outline if len(loop.degrees)]
            loops += kept
            owners += [number] * len(kept)
    segments = simplify(quantise(loops, steps), tolerance) if loops else _EMPTY
    numbers, boxes = segments.boxes() if len(segments) else (np.empty(0, dtype=np.int64), np.empty((0, 4)))
    by_shape: dict[int, tuple[list[int], list[list[int]]]] = {}
    for loop, box in zip(numbers.tolist(), boxes.tolist(), strict=True):
        of_shape = by_shape.setdefault(owners[loop], ([], []))
        of_shape[0].append(loop)
        of_shape[1].append(box)
    items = []
    for number, (outline, shape) in enumerate(zip(outlines, drawing.shapes, strict=True)):
        if isinstance(outline, tuple):
            if number in by_shape:
                members, corners = by_shape[number]
                items.append(_Item(number, paint_key(shape.paint), shape.paint, _around(corners), tuple(members)))
        else:
            item = _element_item(number, shape, outline, steps)
            items += [item] if item else []
    return segments, items


_EMPTY = Segments(
    np.empty((0, 2, 2), dtype=np.int64),
    np.empty((0, 2), dtype=np.int64),
    np.empty(0, dtype=np.int64),
    np.empty(0, dtype=np.int64),
)


def _plain(outline: Any) -> tuple[Loop, ...] | Ellipse | Rectangle:
    """A rectangle with sharp corners as a loop, which is always shorter."""
    if isinstance(outline, Rectangle) and not outline.radius:
        (x, y), (width, height) = outline.corner, outline.size
        corners = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], dtype=np.float64)
        return (Loop(corners, np.ones(3, dtype=np.uint8)),)
    return outline  # type: ignore[no-any-return]


def _around(boxes: Sequence[Sequence[int]]) -> tuple[int, int, int, int]:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _element_item(number: int, shape: Shape, outline: Ellipse | Rectangle, steps: int) -> _Item | None:
    """An element of its own, which is always shorter than arcs in path data; None when it has no area."""
    if isinstance(outline, Ellipse):
        x, y, rx, ry = (round(value * steps) for value in (*outline.center, *outline.radii))
        name, sizes = ("circle", {"r": rx}) if rx == ry else ("ellipse", {"rx": rx, "ry": ry})
        attributes = {"cx": x, "cy": y, **sizes}
        box, has_area = (x - rx, y - ry, x + rx, y + ry), rx > 0 and ry > 0
    else:
        near, size = outline.corner, outline.size
        far = (near[0] + size[0], near[1] + size[1])
        left, top, right, bottom = (round(value * steps) for value in (*near, *far))
        name, box = "rect", (left, top, right, bottom)
        radius = round(outline.radius * steps)
        attributes = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rx": radius}
        has_area = right > left and bottom > top
    attributes = {key: value for key, value in attributes.items() if value}
    item = _Item(number, paint_key(shape.paint), shape.paint, box, (), (name, attributes))
    return item if has_area else None


def _coarsest(segments: Segments, items: list[_Item], steps: int) -> tuple[Segments, list[_Item], int]:
    """The same on the coarsest grid that has all its points, as polygons of whole pixels need no more."""
    divisor = steps
    for numbers in _coordinates(segments, items):
        divisor = math.gcd(divisor, int(np.gcd.reduce(numbers[:16], axis=None, initial=0)))
        if divisor == 1:
            return segments, items, steps
    for numbers in _coordinates(segments, items):
        divisor = math.gcd(divisor, int(np.gcd.reduce(numbers, axis=None, initial=0)))
        if divisor == 1:
            return segments, items, steps
    coarser = replace(segments, controls=segments.controls // divisor, ends=segments.ends // divisor)
    scaled = []
    for item in items:
        left, top, right, bottom = (value // divisor for value in item.box)
        element = item.element and (item.element[0], {key: n // divisor for key, n in item.element[1].items()})
        scaled.append(replace(item, box=(left, top, right, bottom), element=element))
    return coarser, scaled, steps // divisor


def _coordinates(segments: Segments, items: list[_Item]) -> list[Integers]:
    elements = [n for item in items if item.element for n in item.element[1].values()]
    return [segments.ends, segments.controls[segments.degrees > 1].reshape(-1, 2), np.array(elements, dtype=np.int64)]


@dataclass(slots=True)
class _Group:
    """Shapes of one paint that are painted one after the other. paths: their loops, path by path."""

    paint: Paint
    items: list[_Item]

    def paths(self, gap: int) -> list[list[_Item]]:
        """Shapes that may share a path: no two of them come nearer than a pixel, so that no winding cancels another
        and no pixel has a part in two of them."""
        paths: list[list[_Item]] = []
        for item in self.items:
            if item.element:
                continue
            for path in paths:
                if not any(_touch(item.box, other.box, gap) for other in path):
                    path.append(item)
                    break
            else:
                paths.append([item])
        return paths


def _touch(a: tuple[int, int, int, int], b: tuple[int, int, int, int], gap: int) -> bool:
    """Whether two boxes overlap or come nearer than the gap."""
    return a[0] - gap < b[2] and b[0] - gap < a[2] and a[1] - gap < b[3] and b[1] - gap < a[3]


def _grouped(items: list[_Item], steps: int) -> list[_Group]:
    """Shapes of one paint together where nothing that is painted between comes nearer to them than a pixel."""
    boxes = np.array([item.box for item in items], dtype=np.int64)
    low, high = boxes[:, :2] - steps, boxes[:, 2:]
    groups: dict[int, _Group] = {}
    latest: dict[tuple[object, ...], int] = {}
    positions = np.empty(len(items), dtype=np.int64)
    members: dict[int, list[int]] = {}
    for number, item in enumerate(items):
        position = latest.get(item.key)
        if position is not None and position != number - 1:
            later = np.flatnonzero(positions[:number] > position)
            if _any_touch(low, high, later, [number]):
                if _any_touch(low, high, later, members[position]):
                    position = None
                else:
                    # The whole group moves up to here.
                    groups[number], members[number] = groups.pop(position), members.pop(position)
                    positions[members[number]] = position = number
        if position is None:
            position = number
            groups[number], members[number] = _Group(item.paint, []), []
        groups[position].items.append(item)
        members[position].append(number)
        positions[number] = position
        latest[item.key] = position
    return [groups[position] for position in sorted(groups)]


def _any_touch(low: Integers, high: Integers, several: Integers, few: list[int]) -> bool:
    return any(bool(((low[several] < high[one]) & (low[one] < high[several])).all(axis=1).any()) for one in few)


def _notations(segments: Segments, steps: int) -> list[Notation]:
    """Those that may be the shortest."""
    whole, decimals = Notation(steps), Notation.of_decimals(steps)
    if steps == 1 or decimals is None:
        return [whole]
    starts = segments.starts()
    controls = (segments.controls - starts[:, None])[segments.degrees == CUBIC].reshape(-1, 2)
    numbers = np.concatenate([segments.ends - starts, controls])
    length = int(whole.lengths(numbers).sum()) + _SCALE_LENGTH
    length_in_decimals = int(decimals.lengths(numbers).sum())
    if length > length_in_decimals * _NEAR:
        return [decimals]
    return [whole] if length_in_decimals > length * _NEAR else [whole, decimals]


def _document(drawing: Drawing, segments: Segments, groups: list[_Group], notation: Notation) -> str:
    paths = [path for group in groups for path in group.paths(notation.steps)]
    data = iter(_data(segments, paths, notation))
    gradients: dict[LinearGradient | RadialGradient, str] = {}
    scale = notation.steps if notation.decimals is None else 1
    elements: list[tuple[str, list[str]]] = []
    for group in groups:
        own = [_element(*item.element, notation) for item in group.items if item.element]
        own += [f'<path d="{next(data)}"/>' for _ in group.paths(notation.steps)]
        if isinstance(group.paint, Flat):
            attributes = fill(group.paint)
        else:
            name = gradients.setdefault(group.paint, gradient_name(len(gradients)))
            attributes = f' fill="url(#{name})"'
        elements.append((attributes, own))
    definitions = "".join(gradient(paint, name, scale) for paint, name in gradients.items())
    return f"{_head(drawing)}{definitions}{_body(elements, _transform(drawing, scale))}</svg>"


def _data(segments: Segments, paths: list[list[_Item]], notation: Notation) -> list[str]:
    if not len(segments):
        return []
    path_of_loop = np.zeros(int(segments.loop[-1]) + 1, dtype=np.int64)
    for number, path in enumerate(paths):
        path_of_loop[list(chain.from_iterable(item.loops for item in path))] = number
    path_of_segment = path_of_loop[segments.loop]
    order = np.argsort(path_of_segment, kind="stable")
    return path_data(segments.take(order), path_of_segment[order], notation)


def _element(name: str, attributes: dict[str, int], notation: Notation) -> str:
    return f"<{name}{''.join(f' {key}=' + _quoted(notation.number(n)) for key, n in attributes.items())}/>"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _transform(drawing: Drawing, scale: int) -> str:
    """With as many digits as keep the far corner within a ten-thousandth of a pixel."""
    if scale == 1:
        return ""
    side = max(drawing.width, drawing.height)
    places = next(n for n in range(1, 17) if abs(round(1 / scale, n) * scale - 1) * side < 1e-4)
    return f' transform="scale({round(1 / scale, places):.{places}f})"'.replace("(0.", "(.")


def _body(elements: list[tuple[str, list[str]]], transform: str) -> str:
    """The elements of each group with its attributes, in a group where that is shorter, below the transform."""
    if len(elements) == 1 and len(elements[0][1]) == 1:
        return _with(elements[0][1][0], elements[0][0] + transform)
    common = _common(elements) if transform else ""
    text = "".join(
        _group_text("" if attributes == common else _BLACK * (common != "" and _is_black(attributes)) + attributes, own)
        for attributes, own in elements
    )
    return f"<g{common}{transform}>{text}</g>" if transform else text


_BLACK = ' fill="#000"'


def _is_black(attributes: str) -> bool:
    """Whether they leave the fill to SVG's default, which an outer group with a fill would replace."""
    return " fill=" not in attributes


def _common(elements: list[tuple[str, list[str]]]) -> str:
    """The attributes that save most where the outer group has them."""
    uses = Counter(attributes for attributes, _ in elements)
    black = sum(count for text, count in uses.items() if _is_black(text))
    opaque = {text: count for text, count in uses.items() if not _is_black(text) and "opacity" not in text}
    best = max(opaque, key=lambda text: (opaque[text] - 1) * len(text), default="")
    saved = (opaque.get(best, 0) - 1) * len(best) - black * len(_BLACK)
    return best if saved > 0 else ""


def _group_text(attributes: str, own: list[str]) -> str:
    if (len(own) - 1) * len(attributes) > len("<g></g>"):
        return f"<g{attributes}>{''.join(own)}</g>"
    return "".join(_with(element, attributes) for element in own)


def _with(element: str, attributes: str) -> str:
    """The attributes put after the element's name."""
    space = element.index(" ")
    return element[:space] + attributes + element[space:]
