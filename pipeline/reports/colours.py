"""The one table of colours: for the pictures of the report and for every chart of the app, in light and dark.

Hues differ in lightness too (after Okabe and Ito 2008), and ours is the only strong one among methods. Each colour of
a line or text has a contrast of 3 to 1 or more against its paper (WCAG 2.2, 1.4.11), text 4.5 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS, PORTFOLIO, RANDOM, TPE, UNTRAINED


@dataclass(frozen=True, slots=True)
class Palette:
    """paper: what is drawn on. ink, muted: text. faint: grid lines. strong: ours. attention: what asks for a look."""

    paper: str
    ink: str
    muted: str
    faint: str
    strong: str
    good: str
    attention: str
    methods: Mapping[str, str]
    categories: Mapping[str, str]

    def method(self, name: str) -> str:
        return self.methods.get(name, self.muted)

    def category(self, name: str) -> str:
        return self.categories.get(name, self.muted)


LIGHT = Palette(
    paper="#ffffff", ink="#12161f", muted="#6b7280", faint="#e3e6eb", strong="#0b57a4", good="#1a7f4b",
    attention="#b45309",
    methods={
        OURS: "#0b57a4", UNTRAINED: "#5f97cc", TPE: "#4b5563", RANDOM: "#8b929e", PORTFOLIO: "#a8823f",
        FIXED: "#8a6a35", DEFAULT: "#6b7280",
    },
    categories={"simple": "#56b4e9", "text": "#e69f00", "gradient": "#009e73", "complex": "#b5609a"},
)  # fmt: skip

DARK = Palette(
    paper="#14171d", ink="#e8eaee", muted="#a2a9b5", faint="#2d323c", strong="#6cb2f5", good="#5fc48f",
    attention="#f0a050",
    methods={
        OURS: "#6cb2f5", UNTRAINED: "#47769f", TPE: "#c3c8d1", RANDOM: "#848b97", PORTFOLIO: "#c9a468",
        FIXED: "#a58250", DEFAULT: "#a2a9b5",
    },
    categories={"simple": "#56b4e9", "text": "#e69f00", "gradient": "#2fbf93", "complex": "#d389bb"},
)  # fmt: skip
