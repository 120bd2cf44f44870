"""One theme: the colours of the app's settings are those of the report, and can be told from their paper."""

from __future__ import annotations

import tomllib

import pytest

from dashboard.viewer.viewer import Pane, address
from pipeline.core.facts.comparison import OURS
from pipeline.reports.colours import DARK, LIGHT, Palette
from tests.support.fakes import ROOT

CONFIG = tomllib.loads((ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("palette", "theme"), [(LIGHT, "light"), (DARK, "dark")])
def test_the_app_and_the_report_have_the_same_colours(palette: Palette, theme: str) -> None:
    said = CONFIG["theme"][theme]
    assert said["backgroundColor"] == palette.paper
    assert said["textColor"] == palette.ink
    assert said["primaryColor"] == said["linkColor"] == palette.strong == palette.methods[OURS]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_text_and_lines_can_be_seen(palette: Palette) -> None:
    for text in (palette.ink, palette.muted, palette.strong, palette.good, palette.attention):
        assert contrast(text, palette.paper) >= 4.5, text
    for line in palette.methods.values():
        assert contrast(line, palette.paper) >= 3.0, line


def test_both_themes_name_the_same() -> None:
    assert LIGHT.methods.keys() == DARK.methods.keys()
    assert LIGHT.categories.keys() == DARK.categories.keys()


def test_the_app_listens_here_only_and_tells_nobody() -> None:
    assert CONFIG["server"]["address"] == "127.0.0.1"
    assert CONFIG["browser"]["gatherUsageStats"] is False
    assert CONFIG["server"]["maxUploadSize"] == 20


def test_a_picture_is_data_of_a_known_kind_and_nothing_else() -> None:
    assert address(b"\x89PNG").startswith("data:image/png;base64,")
    hostile = address('"><script>alert(1)</script>\ud800')
    assert hostile.startswith("data:image/svg+xml;base64,")
    assert not set(hostile) & set("<>\"' \n")
    assert Pane(label="<b>", says="&", picture=None).to_json()["src"] == ""
