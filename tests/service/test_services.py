from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from monitoring.services import PORTS, Service, plan, ports, prometheus_config, secret
from pipeline.core.errors import SettingsError
from tests.support.source import ROOT

PROGRAMS = {name: f"/usr/bin/{name}" for name in ("prometheus", "prometheus-alertmanager", "grafana-server")}


def planned(environ: Mapping[str, str] | None = None, programs: Mapping[str, str] = PROGRAMS) -> dict[str, Service]:
    return {service.name: service for service in plan(ROOT, environ or {}, lambda name: programs.get(name))[0]}


def test_everything_is_started_in_order_where_every_program_is() -> None:
    assert list(planned()) == list(PORTS)


def test_what_is_not_installed_is_left_out_with_the_reason(tmp_path: Path) -> None:
    services, left_out = plan(tmp_path, {}, lambda name: None)
    assert [service.name for service in services] == ["mlflow", "exporter"]
    assert "dashboard/app.py" in left_out["dashboard"]
    assert "not installed" in left_out["prometheus"]
    assert set(left_out) == {"dashboard", "alertmanager", "prometheus", "grafana"}


def test_a_tracking_server_of_ones_own_has_pages_of_its_own() -> None:
    address = "https://ann:secret@tracking.example"
    services, left_out = plan(ROOT, {"MLFLOW_TRACKING_URI": address}, lambda name: None)
    assert "mlflow" not in {service.name for service in services}
    assert "secret" not in left_out["mlflow"]


def test_every_service_listens_on_this_machine_alone() -> None:
    for service in planned().values():
        told = " ".join([*service.command, *service.environment.values()])
        assert "0.0.0.0" not in told
        assert service.address.startswith("http://127.0.0.1:")
        # Ours choose 127.0.0.1 themselves.
        assert "127.0.0.1" in told or service.name in ("exporter", "mlflow", "dashboard")
        assert str(service.port) in told


def test_another_port_is_told_to_the_service_and_to_those_who_read_it() -> None:
    services = planned({"EXPORTER_PORT": "19108", "PROMETHEUS_PORT": "19090", "ALERTMANAGER_PORT": "19093"})
    assert services["exporter"].command[-1] == "19108"
    assert services["grafana"].environment["PROMETHEUS_URL"] == "http://127.0.0.1:19090"
    config = yaml.safe_load(services["prometheus"].files["prometheus.yml"])
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets == {"tracewright": ["127.0.0.1:19108"], "prometheus": ["127.0.0.1:19090"]}
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:19093"]


def test_rules_are_found_from_another_folder() -> None:
    config = yaml.safe_load(prometheus_config(ROOT / "monitoring/prometheus/prometheus.yml", PORTS))
    for pattern in config["rule_files"]:
        assert Path(pattern).is_absolute()
        assert list(Path("/").glob(pattern.lstrip("/"))), pattern


@pytest.mark.parametrize("text", ["0", "65536", "-1", "80a", "１２"])
def test_a_port_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"MLFLOW_PORT is .*; a port is a number from 1 to 65535") as refused:
        ports({"MLFLOW_PORT": text})
    assert refused.value.exit_code == 64


def test_one_port_for_two_services_is_refused() -> None:
    with pytest.raises(SettingsError, match="MLFLOW_PORT and EXPORTER_PORT are all 9108") as refused:
        ports({"MLFLOW_PORT": "9108"})
    assert refused.value.exit_code == 64


def test_grafana_has_no_default_password(tmp_path: Path) -> None:
    first = secret(tmp_path / "folder/password")
    assert len(first) >= 24
    assert first == secret(tmp_path / "folder/password")
    assert first != secret(tmp_path / "other")
    assert stat.S_IMODE((tmp_path / "folder/password").stat().st_mode) == 0o600
