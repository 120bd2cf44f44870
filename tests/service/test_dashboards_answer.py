"""Every query of every dashboard, asked of a real Prometheus that scrapes the real exporter beside a training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from monitoring.metrics import METRICS
from tests.support.dashboard_pages import Asked, filled, queries
from tests.support.ports import free_port
from tests.support.run_status import write_status_values
from tests.support.source import ROOT

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="the program prometheus is not installed"),
]

SCRAPES = 4
TOTAL_TIMESTEPS = 10_000_000
LABELS = {"clock": "sm", "reason": "thermal", "owner": "training", "resource": "cpu"}


def other_machine(started: float, measured_here: set[str]) -> str:
    """What this machine may lack: a GPU, pressure files, and a disk that fills, by the same list of metrics."""
    lines = []
    for metric in METRICS:
        if metric.source not in ("gpu", "pressure") or metric.name in measured_here:
            continue
        labels = ",".join(f'{name}="{LABELS.get(name, "0")}"' for name in metric.labels)
        lines.append(f"{metric.name}{{{labels}}} {time.time() - started}")
    lines.append(f'tracewright_disk_available_bytes{{path="/full"}} {1e9 - 1e6 * (time.time() - started)}')
    lines.append('tracewright_disk_used_bytes{path="/full"} 9e9')
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def other(exporter: int) -> Iterator[int]:
    started = time.time()
    here = {line.split("{")[0].split(" ")[0] for line in read(f"http://127.0.0.1:{exporter}/metrics").splitlines()}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(other_machine(started, here).encode())

        def log_message(self, *arguments: Any) -> None:
            """Nothing: the test's output is enough."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project where this very process trains, and another run has just finished."""
    root = tmp_path_factory.mktemp("project")
    write_status_values(root, "over", pid=1 << 22, updated_seconds=time.time(), state="finished")
    done = threading.Event()
    thread = threading.Thread(target=train, args=(root, done))
    thread.start()
    yield root
    done.set()
    thread.join()


def train(root: Path, done: threading.Event) -> None:
    """A thousand timesteps a second, of which ten fail."""
    started, me = time.time(), psutil.Process()
    while True:
        now = time.time()
        steps = round(1000 * (now - started))
        write_status_values(
            root,
            "lives",
            pid=me.pid,
            process_started_seconds=me.create_time(),
            updated_seconds=now,
            timesteps=steps,
            total_timesteps=TOTAL_TIMESTEPS,
            evaluations_asked=steps,
            evaluations_found=steps // 4,
            failures={"panic": steps // 100},
            checkpoint={"timesteps": steps, "saved_seconds": now - 30, "save_seconds": 0.02, "bytes": 300_000},
        )
        if done.wait(0.2):
            return


@pytest.fixture(scope="module")
def exporter(project: Path) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "monitoring", "--port", str(port), "--root", str(project)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield port
        process.terminate()


@pytest.fixture(scope="module")
def prometheus(exporter: int, other: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped both several times, with one alarm that always fires."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "always.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "a", "interval": "1s", "rules": [{"alert": "Always", "expr": "up == 1"}]}]})
    )
    targets = [{"targets": [f"127.0.0.1:{exporter}", f"127.0.0.1:{other}"]}]
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["always.yml", str(ROOT / "monitoring/prometheus/rules/recording.yml")],
        "scrape_configs": [{"job_name": "tracewright", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        str(PROMETHEUS),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_for(f"{address}/-/ready")
        wait_until(lambda: scrapes(address) >= SCRAPES)
        yield address
        process.terminate()


def scrapes(address: str) -> float:
    """How often the target that was scraped least was."""
    found = ask(address, "min(count_over_time(up[1m]))", instant=True)
    return float(found[0]["value"][1]) if found else 0


def ask(address: str, expr: str, *, instant: bool) -> list[Any]:
    """The series of a query, as of now or over the last minute, as Grafana asks for them."""
    now = time.time()
    if instant:
        path, values = "query", {"query": expr, "time": now}
    else:
        path, values = "query_range", {"query": expr, "start": now - 60, "end": now, "step": 1}
    answer = json.loads(read(f"{address}/api/v1/{path}?{urllib.parse.urlencode(values)}"))
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


def read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return str(error.read().decode())


def wait_for(url: str) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    wait_until(answers)


def wait_until(is_so: Callable[[], bool], otherwise: str = "it took too long", seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


@pytest.mark.parametrize("asked", queries(), ids=lambda asked: asked.where)
def test_every_query_has_an_answer(prometheus: str, asked: Asked) -> None:
    series: list[Any] = []

    def is_answered() -> bool:
        series[:] = ask(prometheus, filled(asked.expr, "5s"), instant=asked.instant)
        return bool(series)

    wait_until(is_answered, f"{asked.where}: nothing answers to {asked.expr}")
    values = [value for one in series for value in ([one["value"]] if asked.instant else one["values"])]
    assert all(float(value) == float(value) for _, value in values), f"{asked.where}: not a number"


def test_what_the_top_of_the_training_page_says_is_what_the_training_said(prometheus: str) -> None:
    found = {asked.where: asked.expr for asked in queries() if asked.instant and asked.where.startswith("training:")}
    told = {where: ask(prometheus, filled(expr, "5s"), instant=True) for where, expr in found.items()}
    figure = {where.removeprefix("training: "): float(series[0]["value"][1]) for where, series in told.items()}
    assert figure["Under way"] == 1
    assert figure["Ended badly"] == 0
    assert 0 < figure["Done"] < 0.1
    assert figure["Time left"] == pytest.approx((1 - figure["Done"]) * TOTAL_TIMESTEPS / 1000, rel=0.2)
    assert figure["Bytes of the default's"] == pytest.approx(0.4)
    assert figure["Traces that fail"] == pytest.approx(0.01, rel=0.2)
    assert 30 <= figure["Last checkpoint"] < 90
    assert figure["NaN or infinite"] == 0
    runs = {(one["metric"]["run"], one["metric"]["state"]) for one in told["training: Runs shown"]}
    assert runs == {("lives", "training"), ("over", "finished")}
