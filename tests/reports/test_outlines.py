from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.outlines import outlines

TRACED = """<?xml version="1.0" encoding="UTF-8"?>
<!-- Generator: visioncortex VTracer 0.6.12 -->
<svg version="1.1" xmlns="http://www.w3.org/2000/svg" width="256" height="327" viewBox="0 0 256 327">
<g transform="scale(0.5)">
<path d="M0 0 C1 2 3 4 5 6 L7 8 Z M1.5 -2e1 L3 4" fill="#0B57A4" transform="translate(2.5,-3)"/>
</g><path d="M9 9 L1 1 Z" fill="red" transform="translate(0,0)"/>
</svg>"""


def test_paths_and_nodes_are_counted_and_kept_where_they_were() -> None:
    found = outlines(TRACED, "#111111", "#222222")
    assert found
    assert (found.paths, found.nodes, found.width, found.height) == (2, 7, 256, 327)
    assert 'viewBox="0 0 256 327"' in found.svg
    assert '<g transform="scale(0.5)"><g transform="translate(2.5,-3)">' in found.svg
    assert "M5 6h0M7 8h0M1.5 -20h0" in found.svg
    assert "fill:none;stroke:#111111" in found.svg
    ET.fromstring(found.svg)


def test_the_nodes_of_a_minified_svg_are_where_they_are_drawn() -> None:
    """Relative commands, shapes and attributes as the minifier writes them."""
    square, disc = "M10 10h20v20h-20z", '<circle fill="#fff" cx="5" cy="6" r="4"/>'
    svg = (
        f'<svg xmlns="s" width="40" height="40" viewBox="0 0 40 40"><path fill="red" d="{square}m5 5l1-2"/>{disc}</svg>'
    )
    found = outlines(svg, "#111111", "#222222")
    assert found
    assert (found.paths, found.nodes) == (2, 10)
    assert "M10 10h0M30 10h0M30 30h0M10 30h0M15 15h0M16 13h0" in found.svg
    assert '<circle cx="5" cy="6" r="4"/>' in found.svg


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>", '<image href="http://e/x"/>', '<path d="M0 0" onclick="alert(1)"/>',
        '<path d="M0 0&quot; onload=&quot;x"/>', '<path d="M0 0" transform="rotate(1) url(javascript:1)"/>',
        "<g onload='x'><path d='url(#a)'/></g>", '<path d="M0 0"/><style>*{}</style>', "</g></g><g><g>",
        '<circle r="url(http://e)" onload="x"/>', '<rect r="1" fill="url(#x)"/>',
        '<path d="M0 0" style="fill:url(http://e)"/>', "<foreignObject><b/></foreignObject>",
    ],
)  # fmt: skip
def test_nothing_but_lines_survives(inside: str) -> None:
    found = outlines(f'<svg width="9" height="9" onload="x">{inside}</svg>', "#111111", "#222222")
    assert found
    for element in ET.fromstring(found.svg).iter():
        assert element.tag.rpartition("}")[2] in ("svg", "g", "path", "circle", "ellipse", "rect", "style")
        assert set(element.attrib) <= {"width", "height", "viewBox", "d", "transform", "class", "r"}
        assert not re.search(r"url|script|http", " ".join(element.attrib.values()))


@given(st.text(alphabet="<>/\"'= gpathsvdMLZ0123456789.,-()translte&;\n", max_size=200))
def test_whatever_comes_in_xml_goes_out(text: str) -> None:
    found = outlines(f'<svg width="9" height="9">{text}</svg>', "#111111", "#222222")
    assert found
    for element in ET.fromstring(found.svg).iter():
        assert element.tag.rpartition("}")[2] in ("svg", "g", "path", "circle", "ellipse", "rect", "style")


@pytest.mark.parametrize("svg", ["", "no svg", "<svg>", '<svg width="0" height="9">', '<svg width="x" height="9"/>'])
def test_without_a_size_there_are_none(svg: str) -> None:
    assert outlines(svg, "#111111", "#222222") is None
