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

    under: what shows faintly below the picture.
    """

    label: str
    says: str
    picture: str | bytes | None
    ours: bool = False
    under: str | bytes | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "says": self.says,
            "alt": f"{self.label}: {self.says}",
            "src": address(self.picture) if self.picture is not None else "",
            "under": address(self.under) if self.under is not None else "",
            "ours": self.ours,
        }


def address(picture: str | bytes) -> str:
    """A data address for an <img>, in which an SVG's scripts do not run and nothing else is fetched."""
    kind = "svg+xml" if isinstance(picture, str) else "png"
    content = picture.encode("utf-8", "replace") if isinstance(picture, str) else picture
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def show(panes: Sequence[Pane], *, mode: Mode, width: int, height: int, zoom: float, background: str, key: str) -> None:
    """width, height: of the image in pixels. zoom: how many times as large as it fits. background: `#rrggbb`.

    "between" takes two panes, and shows them beside each other where one has no picture.
    """
    data = {
        "panes": [pane.to_json() for pane in panes],
        "mode": mode,
        "width": width,
        "height": height,
        "zoom": zoom,
        "background": background,
    }
    _component()(data=data, key=key)


@cache
def _component() -> Any:
    return st.components.v2.component(
        "tracewright_viewer",
        html='<div class="viewer"></div>',
        css=(HERE / "viewer.css").read_text(encoding="utf-8"),
        js=(HERE / "viewer.js").read_text(encoding="utf-8"),
    )
