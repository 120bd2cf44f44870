"""Pictures of one image to be compared: beside each other, or one over the other with a handle between them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import streamlit as st

HERE = Path(__file__).parent

Mode = Literal["beside", "between"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """picture: an SVG's text, a PNG's bytes, or None where there is none. says: what stands below the label.

    under: what shows faintly below the picture. boxes: x, y, width and height in pixels of the image.
    """

    label: str
    says: str
    picture: str | bytes | None
    ours: bool = False
    under: str | bytes | None = None
    boxes: tuple[tuple[int, int, int, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "says": self.says,
            "alt": f"{self.label}: {self.says}",
            "src": address(self.picture) if self.picture is not None else "",
            "under": address(self.under) if self.under is not None else "",
            "ours": self.ours,
            "boxes": self.boxes,
        }


def address(picture: str | bytes) -> str:
    """A data address for an <img>, in which an SVG's scripts do not run and nothing else is fetched."""
    kind = "svg+xml" if isinstance(picture, str) else "png"
    content = picture.encode("utf-8", "replace") if isinstance(picture, str) else picture
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def show(
    panes: Sequence[Pane],
    *,
    mode: Mode = "beside",
    width: int,
    height: int,
    zoom: float = 1.0,
    tallest: int = 440,
    key: str,
) -> None:
    """width, height: of the image in pixels. zoom: how many times as large as it fits, at most `tallest` pixels high.

    "between" takes two panes, and shows them beside each other where one has no picture. What is transparent shows
    a checkerboard.
    """
    data = {
        "panes": [pane.to_json() for pane in panes],
        "mode": mode,
        "width": width,
        "height": height,
        "zoom": zoom,
        "tallest": tallest,
    }
    _component("viewer")(data=data, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One small picture to choose by. chosen_by: what is returned for it."""

    label: str
    chosen_by: str
    picture: bytes | None

    def to_json(self) -> dict[str, str]:
        return {
            "label": self.label,
            "id": self.chosen_by,
            "src": address(self.picture) if self.picture is not None else "",
        }


def choose(tiles: Sequence[Tile], chosen: str, *, key: str) -> str | None:
    """A grid of tiles; the arrow keys move in it. Returns what was chosen just now, None in every other run."""
    data = {"tiles": [tile.to_json() for tile in tiles], "chosen": chosen}
    picked = _component("grid")(data=data, key=key, on_picked_change=lambda: None).picked
    return str(picked) if picked is not None else None


@cache
def _component(name: str) -> Any:
    return st.components.v2.component(
        f"tracewright_{name}",
        html=f'<div class="{name}"></div>',
        css=(HERE / f"{name}.css").read_text(encoding="utf-8"),
        js=(HERE / f"{name}.js").read_text(encoding="utf-8"),
    )
