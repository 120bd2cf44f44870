from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitoring import server
from monitoring.server import ScrapeRequest, Server
from pipeline.machine.ports import another, holder
from tests.support.source import ROOT

SLOW_CLIENTS = 500
PATIENCE_SECONDS = 120
"""Less than the slow clients would take one after the other, each until the exporter hangs up on it."""


@contextmanager
def exporter(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`python -m monitoring` on a free port: its process and the port."""
    command = [sys.executable, "-m", "monitoring", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            found = re.fullmatch(r"monitoring: http://127\.0\.0\.1:(\d+)/metrics\n", line)
            assert found, line + process.stderr.read()
            yield process, int(found[1])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with exporter("--root", str(tmp_path_factory.mktemp("project"))) as started:
        yield started


def get(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def test_it_serves_this_machine_and_nobody_elsewhere(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    assert "tracewright_cpu_cores" in get(port)
    addresses = {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3])
def test_500_slow_clients_hold_nobody_up(running: tuple[subprocess.Popen[str], int], sent: bytes) -> None:
    """They say nothing, half of a request, or ask and never read the answer."""
    _, port = running
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            stack.enter_context(connected(port)).sendall(sent)
        for _ in range(5):
            assert "tracewright_cpu_cores" in get(port)
    assert "tracewright_cpu_cores" in get(port)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\0\xff\xfe garbage\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n", b" 431 "),
        (b"GET /health HTTP/1.1\r\n\r\n", b" 200 "),
        (b"GET /secret HTTP/1.1\r\n\r\n", b" 404 "),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b" 405 "),
    ],
)
def test_whatever_is_asked_is_answered(running: tuple[subprocess.Popen[str], int], sent: bytes, answer: bytes) -> None:
    _, port = running
    with connected(port) as client:
        client.sendall(sent)
        assert answer in client.recv(1000)
    assert "tracewright_cpu_cores" in get(port)


@pytest.fixture
def local() -> Iterator[tuple[Server, list[int]]]:
    """A server in this process with an empty registry, and how often it was read."""
    reads: list[int] = []

    class Counting(Collector):
        def collect(self) -> list[Metric]:
            reads.append(1)
            return []

        def describe(self) -> list[Metric]:
            return []

    registry = CollectorRegistry()
    registry.register(Counting())
    with Server(registry, "127.0.0.1", 0) as made:
        thread = threading.Thread(target=made.serve_forever, args=[0.05])
        thread.start()
        yield made, reads
        made.shutdown()
        thread.join()


def test_health_reads_nothing(local: tuple[Server, list[int]]) -> None:
    made, reads = local
    assert get(made.server_port, "/health") == get(made.server_port, "/")
    assert reads == []
    get(made.server_port)
    assert reads == [1]


def test_a_connection_too_many_is_closed(local: tuple[Server, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    threads = iter([server.MAX_THREADS - 1, server.MAX_THREADS])
    monkeypatch.setattr(server, "threading", SimpleNamespace(active_count=lambda: next(threads)))
    with connected(local[0].server_port) as silent, connected(local[0].server_port) as refused:
        silent.sendall(b"GET /metr")
        refused.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert refused.recv(1000) == b""


def test_who_says_nothing_is_hung_up_on(local: tuple[Server, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScrapeRequest, "timeout", 0.1)
    with connected(local[0].server_port) as client:
        client.sendall(b"GET /metr")
        assert client.recv(1000) == b""


def test_a_taken_port_is_69_and_names_who_has_it(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    command = [sys.executable, "-m", "monitoring", "--port", str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 69
    assert done.stderr.startswith(f"monitoring: port {port} is taken by process {process.pid} (")
    assert f"--port {port + 1}" in done.stderr


def test_a_holder_that_may_not_be_seen_has_a_remedy() -> None:
    with socket.socket() as silent:  # bound, and not listening: nobody is named
        silent.bind(("127.0.0.1", 0))
        assert "ss -ltnp" in holder(silent.getsockname()[1])


def test_another_port_is_a_port() -> None:
    assert (another(9108), another(65535)) == (9109, 65534)


def test_an_address_of_another_machine_is_refused() -> None:
    command = [sys.executable, "-m", "monitoring", "--port", "0", "--host", "192.0.2.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 69
    assert "name an address of this machine" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "no port"),
        (["--port", "x"], "--port"),
        (["--rot", "."], "--rot"),
        (["--root", "/no/such/folder"], "no such folder"),
    ],
)
def test_bad_use_is_64(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "monitoring", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 64
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    with exporter("--root", str(tmp_path)) as (process, port):
        get(port)
        process.send_signal(number)
        assert process.wait(timeout=120) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_it_is_light() -> None:
    code = "import monitoring.__main__, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "mlflow", "numpy", "pandas", "pydantic", "matplotlib", "pynvml"}
