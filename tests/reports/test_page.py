from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipeline.reports.page import POLICY, as_html
from pipeline.reports.report import write_report
from pipeline.settings.params import load_settings

NAMES = (
    "simple/<img src=x onerror=alert(1)>.png",
    "simple/<script>alert(1)<`script>.png",
    "simple/[x](javascript:a).png",
)


class Tags(HTMLParser):
    """All elements with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page(make_project: Any, tmp_path_factory: pytest.TempPathFactory, tools: Any) -> str:
    """Of a run over images with hostile names."""
    root = make_project(tmp_path_factory.mktemp("page"), names=NAMES).root
    write_report(root, load_settings(root / "params.yaml"), tools.read, tools.draw)
    return Path(root / "reports/report.html").read_text(encoding="utf-8")


def test_it_needs_nothing_else_and_nothing_in_it_can_run(page: str) -> None:
    tags = Tags(page)
    assert not {"script", "iframe", "object", "embed", "link", "a", "form", "svg"} & {tag for tag, _ in tags.found}
    for _, attributes in tags.found:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset")]
    assert tags.of("meta")[1] == {"http-equiv": "Content-Security-Policy", "content": POLICY}
    assert not re.search(r"https?://", re.sub(r'src="data:[^"]*"', "", page))


def test_its_pictures_are_in_it_with_their_descriptions(page: str) -> None:
    pictures = Tags(page).of("img")
    assert len(pictures) == 8
    for picture in pictures:
        assert (picture["src"] or "").startswith("data:image/png;base64,")
        assert picture["alt"]


def test_it_says_what_the_markdown_says(page: str) -> None:
    for said in ("Against its rivals", "Curriculum", "Most improved", "Size against damage", "How to reproduce"):
        assert said in page
    assert "&lt;script&gt;alert(1)" in page
    assert Tags(page).of("html") == [{"lang": "en"}]
    assert page.count("<table>") == page.count("</table></div>") > 8


def test_what_is_not_handed_in_is_not_linked() -> None:
    page = as_html("![a](a.png) ![b](http://e/b.png) ![c](data:image/svg+xml;base64,AA)", "<t>", {"a.png": b"\x89PNG"})
    assert [i["src"] for i in Tags(page).of("img")] == ["data:image/png;base64,iVBORw=="]
    assert "<title>&lt;t&gt;</title>" in page


@pytest.mark.parametrize(
    "text", ["<script>1</script>", "<b onclick=1>", "<!-- x -->", "<svg/onload=1>", "<style>*{}</style>"]
)
def test_raw_html_is_text(text: str) -> None:
    body = as_html(text, "t", {}).partition("<main>")[2]
    assert {tag for tag, _ in Tags(body).found} <= {"p"}
