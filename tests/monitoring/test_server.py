from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from monitoring.server import MOST_CONNECTIONS, CannotListen, another, holder, listen
from tests.support.source import ROOT

SLOW_CLIENTS = 500


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
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def test_it_serves_this_machine_and_nobody_elsewhere(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    assert "tracewright_cpu_cores" in get(port)
    addresses = {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3])
def test_500_slow_clients_hold_nobody_up(running: tuple[subprocess.Popen[str], int], sent: bytes) -> None:
    """They say nothing, half of a request, or ask and never read the answer."""
    process, port = running
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            stack.enter_context(connected(port)).sendall(sent)
        began = time.monotonic()
        for _ in range(5):
            assert "tracewright_cpu_cores" in get(port)
        assert time.monotonic() - began < 5
        assert psutil.Process(process.pid).num_threads() < 5
    assert "tracewright_cpu_cores" in get(port)


@pytest.mark.parametrize(
    "sent", [b"\0\xff\xfe garbage\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000 + b"\r\n\r\n"]
)
def test_garbage_is_answered_and_the_next_is_served(running: tuple[subprocess.Popen[str], int], sent: bytes) -> None:
    _, port = running
    with connected(port) as client:
        client.sendall(sent)
        assert client.recv(1000).startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
    assert "tracewright_cpu_cores" in get(port)


def test_who_is_silent_longest_makes_room_for_others(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    with ExitStack() as stack:
        kept = stack.enter_context(connected(port))
        for _ in range(MOST_CONNECTIONS + 20):
            stack.enter_context(connected(port))
        assert "tracewright_cpu_cores" in get(port)
        assert psutil.Process(process.pid).num_fds() < MOST_CONNECTIONS + 30
        assert kept.recv(1) == b"", "it was hung up on"


def test_questions_on_one_connection_are_answered_in_turn(running: tuple[subprocess.Popen[str], int]) -> None:
    _, port = running
    asked = b"GET /health HTTP/1.1\r\n\r\nHEAD /health HTTP/1.1\r\n\r\nGET /no HTTP/1.1\r\nConnection: close\r\n\r\n"
    with connected(port) as client:
        client.sendall(asked[:30])
        client.sendall(asked[30:])
        answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    assert re.findall(r"HTTP/1\.1 (\d+)", answer) == ["200", "200", "404"]
    assert answer.count("tracewright's exporter") == 1


def test_a_taken_port_is_69_and_names_who_has_it(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    command = [sys.executable, "-m", "monitoring", "--port", str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
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
    with pytest.raises(CannotListen, match="name an address of this machine"):
        listen("192.0.2.1", 0)


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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 64
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    with exporter("--root", str(tmp_path)) as (process, port):
        get(port)
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_it_is_light() -> None:
    code = "import monitoring.__main__, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "mlflow", "pipeline", "numpy", "pandas", "pydantic", "matplotlib", "pynvml"}
