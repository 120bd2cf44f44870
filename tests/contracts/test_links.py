from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.source import ROOT, tracked_files

PAGES = sorted(path for path in tracked_files() if path.suffix == ".md")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be reached by, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, fragment = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {link}"
        assert path.is_relative_to(ROOT), f"{page.name} links out of the repository: {link}"
        assert not fragment or fragment in anchors(path), f"{page.name} links to {link}"


def test_every_decision_is_numbered_once() -> None:
    names = [p.name for p in PAGES if p.parent.name == "adr" and p.name[0].isdigit()]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for page in (p for p in PAGES if p.name in names):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert [p for p in ("Context", "Decision", "Consequences") if f"**{p}.**" not in text] == [], page.name
