"""The dashboards as Grafana reads them, and every query in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.source import ROOT

FOLDER = ROOT / "monitoring/grafana/dashboards"
PAGES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One query. where: page and panel, or page and the name of the marks."""

    where: str
    expr: str
    instant: bool


def panels(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All that show something; rows only head them."""
    return (panel for panel in page["panels"] if panel["type"] != "row")


def queries() -> list[Asked]:
    found = []
    for name, page in PAGES.items():
        for panel in panels(page):
            found += [
                Asked(f"{name}: {panel['title']}", target["expr"], bool(target.get("instant")))
                for target in panel["targets"]
            ]
        found += [Asked(f"{name}: {marks['name']}", marks["expr"], False) for marks in page["annotations"]["list"]]
    return found


def filled(expr: str, rate_interval: str) -> str:
    """The query as Grafana sends it with All chosen everywhere."""
    sent = expr.replace("$__rate_interval", rate_interval).replace("$instance", ".*").replace("$run", ".*")
    assert "$" not in sent, f"{sent}: Grafana would not know this variable"
    return sent


def names(expr: str) -> set[str]:
    """Metrics that a query reads, of ours and of Prometheus' own."""
    return set(re.findall(r"(?<![\w:])(?:\w+:)?(?:tracewright_\w+|up|ALERTS|scrape_\w+)(?::\w+)?(?=[{)\s]|$)", expr))
