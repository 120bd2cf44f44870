"""docker-compose.yml and the Dockerfile, read: there is no Docker engine on the machines that test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from monitoring.passwords import VALUES
from tests.support.compose import COMPOSE, DOCKERFILE, SERVICES, TEXT
from tests.support.source import ROOT

AWAITED = {
    name
    for service in SERVICES.values()
    for name, how in service.get("depends_on", {}).items()
    if how["condition"] == "service_completed_successfully"
}
"""Those that do something once and end."""

LASTING = {name: service for name, service in SERVICES.items() if name not in AWAITED and "profiles" not in service}

every_service = pytest.mark.parametrize("name", SERVICES)
every_lasting_service = pytest.mark.parametrize("name", LASTING)


def test_the_file_is_of_the_compose_specification() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_is_whole() -> None:
    asked_for = {"mlflow", "exporter", "prometheus", "alertmanager", "grafana", "dashboard", "database", "artifacts"}
    assert set(LASTING) == asked_for
    assert SERVICES["trainer"]["profiles"] == ["trainer"]
    assert {"bucket"} == AWAITED


@every_service
def test_every_port_is_this_machines_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port
    assert SERVICES[name].get("network_mode") in (None, "none")


@every_service
def test_every_image_is_pinned_to_a_whole_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"(docker\.io/|ghcr\.io/|tracewright-)[\w./-]+:v?\d+(\.\d+)+(-bookworm)?", image), image
    assert ("build" in SERVICES[name]) == image.startswith("tracewright-")


@every_service
def test_what_it_may_do_is_cut_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in service["tmpfs"]
    assert not service.get("privileged")
    assert set(service.get("cap_add", [])) <= ({"CHOWN"} if name in AWAITED else set())
    assert service["logging"]["options"]["max-size"]


@every_lasting_service
def test_every_service_has_a_health_check_a_user_and_starts_again(name: str) -> None:
    service = LASTING[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["healthcheck"]["timeout"]
    assert service["restart"] == "unless-stopped"
    user = service["user"].split(":")[0]
    assert user.startswith("${TRACEWRIGHT_UID") or int(user) > 0, "it would run as root"


@every_service
def test_what_it_waits_for_can_tell_that_it_is_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] in ("service_healthy", "service_completed_successfully")


@every_service
def test_volumes_and_networks_are_declared_and_files_are_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target, *_ = volume.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).is_dir(), source
        else:
            assert source in COMPOSE["volumes"], source
    assert set(SERVICES[name].get("networks", [])) <= set(COMPOSE["networks"])


def test_every_declared_volume_and_network_is_used() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used
    assert set(COMPOSE["networks"]) == {n for service in SERVICES.values() for n in service.get("networks", [])}


def test_database_and_artifacts_are_reached_by_mlflow_alone() -> None:
    assert COMPOSE["networks"]["storage"]["internal"] is True
    assert {n for n, service in SERVICES.items() if "storage" in service.get("networks", [])} == {
        "database",
        "artifacts",
        "mlflow",
    }
    assert "ports" not in SERVICES["database"]
    assert "ports" not in SERVICES["artifacts"]


def test_every_password_comes_from_env_and_its_absence_is_a_sentence() -> None:
    asked = set(re.findall(r"\$\{(\w+)", TEXT))
    assert asked == set(VALUES)
    for name in asked:
        assert f"${{{name}:?is not in .env; run `make env` first}}" in TEXT
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY", variable):
                assert value.startswith("${"), variable


def test_prometheus_in_containers_is_the_one_of_make_up_with_other_addresses() -> None:
    folder = ROOT / "monitoring/prometheus"
    here, there = ((folder / name).read_text(encoding="utf-8") for name in ("prometheus.yml", "compose.yml"))
    ports = {"9108": "exporter", "9090": "prometheus", "9093": "alertmanager"}
    moved = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"{ports[found[1]]}:{found[1]}", here)
    assert yaml.safe_load(moved) == yaml.safe_load(there)
    for name, port in re.findall(r'"(\w+):(\d+)"', there):
        assert f"127.0.0.1:{port}:{port}" in SERVICES[name]["ports"]


def test_mlflow_answers_to_its_names_alone() -> None:
    """Behind compose it is called mlflow; without the option MLflow 3 refuses that name."""
    command = SERVICES["mlflow"]["command"]
    hosts = command[command.index("--allowed-hosts") + 1].split(",")
    assert hosts == ["127.0.0.1:*", "localhost:*", "mlflow:*"]


def test_each_of_our_images_is_a_target_that_needs_no_root() -> None:
    targets = re.findall(r"^FROM .* AS (\w[\w-]*)$", DOCKERFILE, flags=re.MULTILINE)
    ours = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert ours == {"exporter", "dashboard", "mlflow", "trainer"} < set(targets)
    for target in ours:
        stage = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
        assert "\nUSER 10001:10001\n" in stage, target
    assert re.search(r"^ARG BASE=\S+:3\.11\.\d+-\w+", DOCKERFILE, flags=re.MULTILINE)
    assert "latest" not in DOCKERFILE


def test_the_build_sees_only_what_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert let_in == copied
