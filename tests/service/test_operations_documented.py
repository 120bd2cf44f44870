"""docs/operations.md says where things listen and how they are started; the code says the same."""

from __future__ import annotations

import re

from monitoring.services import PORTS
from tests.support.compose import SERVICES
from tests.support.source import ROOT

TEXT = (ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_the_addresses_are_those_of_make_up_and_of_compose() -> None:
    documented = {
        name.lower(): int(port)
        for name, port in re.findall(r"^\| (\w+) \| http://127\.0\.0\.1:(\d+)", TEXT, flags=re.MULTILINE)
    }
    assert documented == PORTS
    for name, port in PORTS.items():
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_volumes_and_services_that_commands_name_are_there() -> None:
    for name in re.findall(r"docker compose (?:exec|run --rm)(?: -T)? (\w+)", TEXT):
        assert name in SERVICES, name
    for name in re.findall(r"tracewright_(\w+):", TEXT):
        assert name in {volume.split(":")[0] for volume in SERVICES["artifacts"]["volumes"]}, name


def test_the_versions_that_were_not_tried_are_those_of_the_file() -> None:
    for service, name in (
        ("database", "PostgreSQL"),
        ("prometheus", "Prometheus"),
        ("alertmanager", "Alertmanager"),
        ("grafana", "Grafana"),
    ):
        version = SERVICES[service]["image"].split(":")[-1].lstrip("v")
        told = re.search(rf"versitygw, .*{name} ([\d.]+)", TEXT)
        assert told, name
        assert version.startswith(told[1]), f"{name} {version}"
