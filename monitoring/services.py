"""What `make up` starts on one machine: every service, its command, its port, and how it says that it is well."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import SettingsError

HOST = "127.0.0.1"
FOLDER = Path(".tracewright/services")
PROMETHEUS = Path(__file__).parent / "prometheus"
GRAFANA = Path(__file__).parent / "grafana"


@dataclass(frozen=True, slots=True)
class Service:
    """One program that listens on 127.0.0.1.

    health: a path that answers 200 when it is well. files: what it reads, written into FOLDER before it starts.
    """

    name: str
    shows: str
    port: int
    health: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def port_variable(self) -> str:
        return f"{self.name.upper()}_PORT"


PORTS = {"mlflow": 5000, "exporter": 9108, "dashboard": 8501, "alertmanager": 9093, "prometheus": 9090, "grafana": 3000}
"""The names of the services, in the order in which they are started, with the ports that they are known by."""


def ports(environ: Mapping[str, str]) -> dict[str, int]:
    """The port of each service: PORTS, or what NAME_PORT says. Raises SettingsError."""
    found = {}
    for name, port in PORTS.items():
        text = environ.get(f"{name.upper()}_PORT", "").strip() or str(port)
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
            raise SettingsError(f"{name.upper()}_PORT is {text!r}; a port is a number from 1 to 65535")
        found[name] = int(text)
    for name, port in found.items():
        others = [other for other in found if other != name and found[other] == port]
        if others:
            variables = " and ".join(f"{each.upper()}_PORT" for each in (name, *others))
            raise SettingsError(f"{variables} are all {port}; give each its own")
    return found


def plan(
    root: Path, environ: Mapping[str, str], which: Callable[[str], str | None]
) -> tuple[list[Service], dict[str, str]]:
    """The services that can be started from the project's folder, and why the others cannot.

    which: finds a program's path, as shutil.which does. Raises SettingsError.
    """
    at = ports(environ)
    services, left_out = [_exporter(at)], {}
    if environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        left_out["mlflow"] = "runs are kept by the server that MLFLOW_TRACKING_URI names; it has pages of its own"
    else:
        services.append(_mlflow(at))
    if (root / "dashboard/app.py").is_file():
        services.append(_dashboard(at))
    else:
        left_out["dashboard"] = "dashboard/app.py is not there"
    for name, (programs, build) in _PROGRAMS.items():
        program = next(filter(None, map(which, programs)), None)
        if program:
            services.append(build(root, program, at))
        else:
            left_out[name] = f"the program {programs[0]} is not installed; docs/operations.md tells where to get it"
    return sorted(services, key=lambda service: list(PORTS).index(service.name)), left_out


def _exporter(at: Mapping[str, int]) -> Service:
    command = (sys.executable, "-m", "monitoring", "--port", str(at["exporter"]))
    return Service("exporter", "what Prometheus reads", at["exporter"], "/health", command)


def _mlflow(at: Mapping[str, int]) -> Service:
    port = at["mlflow"]
    environment = {"MLFLOW_PORT": str(port), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = (sys.executable, "-m", "pipeline.tracking.ui")
    return Service("mlflow", "runs, models, the registry", port, "/health", command, environment)


def _dashboard(at: Mapping[str, int]) -> Service:
    port = at["dashboard"]
    command = (sys.executable, "-m", "dashboard", "--port", str(port))
    return Service("dashboard", "results, pictures, the training as it goes", port, "/_stcore/health", command)


def _alertmanager(root: Path, program: str, at: Mapping[str, int]) -> Service:
    command = (
        program,
        f"--config.file={PROMETHEUS / 'alertmanager.yml'}",
        f"--storage.path={FOLDER / 'alertmanager'}",
        f"--web.listen-address={HOST}:{at['alertmanager']}",
        "--cluster.listen-address=",
    )
    return Service("alertmanager", "notifications of alerts", at["alertmanager"], "/-/ready", command)


def _prometheus(root: Path, program: str, at: Mapping[str, int]) -> Service:
    command = (
        program,
        f"--config.file={FOLDER / 'prometheus.yml'}",
        f"--storage.tsdb.path={FOLDER / 'prometheus'}",
        "--storage.tsdb.retention.time=30d",
        "--storage.tsdb.retention.size=2GB",
        f"--web.listen-address={HOST}:{at['prometheus']}",
    )
    files = {"prometheus.yml": prometheus_config(PROMETHEUS / "prometheus.yml", at)}
    return Service("prometheus", "history and alarms", at["prometheus"], "/-/ready", command, files=files)


def prometheus_config(source: Path, at: Mapping[str, int]) -> str:
    """The project's Prometheus settings with the ports of this start and rule files by their whole paths."""
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config["rule_files"] = [str(source.parent.resolve() / name) for name in config.get("rule_files", [])]
    moved = {f"{HOST}:{PORTS[name]}": f"{HOST}:{port}" for name, port in at.items()}
    return yaml.safe_dump(_replaced(config, moved), sort_keys=False)


def _replaced(value: Any, moved: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(inner, moved) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, moved) for inner in value]
    return moved.get(value, value) if isinstance(value, str) else value


def _grafana(root: Path, program: str, at: Mapping[str, int]) -> Service:
    """Anyone on this machine may look, as with Prometheus; who wants to change something logs in as admin."""
    port = at["grafana"]
    environment = {
        "GF_SERVER_HTTP_ADDR": HOST,
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_PATHS_DATA": str(root / FOLDER / "grafana"),
        "GF_PATHS_LOGS": str(root / FOLDER / "grafana/log"),
        "GF_PATHS_PROVISIONING": str(GRAFANA / "provisioning"),
        "GF_SECURITY_ADMIN_PASSWORD": secret(root / FOLDER / "grafana-password"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(GRAFANA / "dashboards/service.json"),
        "TRACEWRIGHT_DASHBOARDS": str(GRAFANA / "dashboards"),
        "PROMETHEUS_URL": f"http://{HOST}:{at['prometheus']}",
    }
    command = (program, *([] if program.endswith("-server") else ["server"]), "--homepath", "/usr/share/grafana")
    return Service("grafana", "the dashboards", port, "/api/health", command, environment)


def secret(path: Path) -> str:
    """The password in a file of its owner's alone, made at the first call."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


_PROGRAMS: dict[str, tuple[tuple[str, ...], Callable[[Path, str, Mapping[str, int]], Service]]] = {
    "alertmanager": (("alertmanager", "prometheus-alertmanager"), _alertmanager),
    "prometheus": (("prometheus",), _prometheus),
    "grafana": (("grafana", "grafana-server"), _grafana),
}
"""What Debian and the makers call each program, and how it is started."""
