"""Recording and alerting rules: Prometheus's own checks, and what they cannot know."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.metrics import BY_NAME
from tests.support.source import ROOT

PROMETHEUS = ROOT / "monitoring/prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def rules() -> list[dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in RULES]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDS = {rule["record"] for rule in rules() if "record" in rule}


def run(program: str, *arguments: str | Path) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_alert_fires_when_it_should_and_not_when_it_should_not(path: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", path)


def test_prometheus_takes_its_configuration() -> None:
    out = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert f"{len(RULES)} rule files found" in out


def test_alertmanager_takes_its_configuration() -> None:
    out = run("amtool", "check-config", PROMETHEUS / "alertmanager.yml")
    assert "3 receivers" in out


def test_nobody_is_called_until_somebody_says_whom() -> None:
    route = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())["route"]
    assert {route["receiver"], *(inner["receiver"] for inner in route["routes"])} == {"page"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 60


def test_every_alert_is_in_a_test() -> None:
    text = "".join(path.read_text() for path in TESTS)
    assert {rule["alert"] for rule in ALERTS} == set(re.findall(r'alertname(?:=|: )"?(\w+)', text))


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert", rule.get("record")))
def test_a_rule_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\b(?:\w+:)?tracewright_\w+(?::\w+)?", rule["expr"]))
    assert asked or "up{" in rule["expr"]
    assert asked <= set(BY_NAME) | RECORDS


THRESHOLDS = {
    "CpuBusy": (0.80, 0.95),
    "MemoryFilling": (0.80, 0.95),
    "DiskFilling": (0.85, 0.95),
    "GpuBusy": (0.90, 0.98),
    "GpuMemoryFilling": (0.85, 0.95),
    "GpuHot": (80.0, 90.0),
}
"""Warning and critical, as the document that the project was asked to follow sets them."""


def test_the_thresholds_are_the_ones_asked_for() -> None:
    found: dict[str, dict[str, float]] = {}
    for rule in ALERTS:
        if rule["alert"] in THRESHOLDS:
            [first] = re.findall(r"> ([\d.]+)", rule["expr"])[:1]
            found.setdefault(rule["alert"], {})[rule["labels"]["severity"]] = float(first)
    assert {name: (levels["warning"], levels["critical"]) for name, levels in found.items()} == THRESHOLDS


def test_the_documentation_names_every_alert() -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z]\w+)`", text, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


def test_the_documentation_names_every_recorded_series() -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+:tracewright_\w+:\w+)`", text, re.MULTILINE)) == RECORDS
