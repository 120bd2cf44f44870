"""`make up` for real, with small services in place of ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from pathlib import Path

import psutil
import pytest

from monitoring.services import Service
from monitoring.up import answers, configuration, taken, watch
from tests.support.ports import free_port
from tests.support.source import ROOT

SERVER = """
import http.server, os, signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # a worker of its own
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

RUN = """
import sys
from pathlib import Path
from monitoring.services import Service
from monitoring.up import run
services = [
    Service(name, "a test", int(port), "/", (sys.executable, "server.py", port))
    for name, port in zip(("one", "two"), sys.argv[1:])
]
sys.exit(run(services, Path.cwd(), lambda line: print(line, flush=True)))
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """EpisodeSampler two services; whatever the test leaves of them is a failure."""
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, "-c", textwrap.dedent(RUN), str(free_port()), str(free_port())]
    started = []

    def start() -> subprocess.Popen[str]:
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        started.append(
            subprocess.Popen(
                command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True, preexec_fn=_hear_signals
            )
        )
        return started[-1]

    yield start
    for front in started:
        front.kill()
        front.communicate()
    try:
        wait_until(lambda: not left(tmp_path), "processes were left behind")
    finally:
        for process in left(tmp_path):
            process.kill()


def _hear_signals() -> None:
    """As in a terminal: under nohup, or behind a shell's &, what is started inherits that they are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def left(folder: Path) -> list[psutil.Process]:
    """The processes that were started in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def lines_until(process: subprocess.Popen[str], *starts: str) -> list[str]:
    """What is printed until a line has begun with each of these."""
    assert process.stdout is not None
    lines: list[str] = []
    while not all(any(line.startswith(start) for line in lines) for start in starts):
        line = process.stdout.readline()
        assert line, lines
        lines.append(line.rstrip())
    return lines


Start = Callable[[], subprocess.Popen[str]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_in_order_and_nothing_is_left(up: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = up()
    lines = lines_until(process, "one", "two")
    assert "http://127.0.0.1:" in lines[0]
    assert len(left(tmp_path)) >= 5, "two servers, their workers and the supervisor"
    process.send_signal(number)
    out, _ = process.communicate(timeout=120)
    assert out.splitlines() == ["stopping all services", "all services are stopped"]
    assert process.returncode == 0
    assert left(tmp_path) == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["up", "ui"])
def test_make_hands_a_sigterm_on_where_there_is_no_terminal(tmp_path: Path, target: str) -> None:
    """As systemd-run, nohup or a script's kill sends it: to make alone."""
    python, ready = tmp_path / "python", tmp_path / ".ready"
    python.write_text("#!/bin/sh\necho begun\nexec sleep 600\n")
    python.chmod(0o755)
    ready.touch()
    os.utime(ready, (2**32, 2**32))
    process = subprocess.Popen(
        ["make", "--no-print-directory", target, f"BIN={tmp_path}", f"READY={ready}", f"CURDIR={tmp_path}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    lines_until(process, "begun")
    below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=60)
    try:
        assert psutil.wait_procs(below, timeout=120)[1] == []
    finally:
        assert process.stdout is not None
        process.stdout.close()
        for left_over in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                left_over.kill()


def test_a_killed_front_leaves_nothing(up: Start, tmp_path: Path) -> None:
    process = up()
    lines_until(process, "one", "two")
    process.kill()
    process.communicate(timeout=120)
    wait_until(lambda: not left(tmp_path), "the services outlived it")


def test_a_service_that_dies_is_started_again_on_its_port_and_the_other_goes_on(up: Start, tmp_path: Path) -> None:
    process = up()
    lines_until(process, "one", "two")
    dying, other = servers(tmp_path)
    workers = dying.children()
    dying.kill()
    wait_until(lambda: dying.pid not in pids(tmp_path) and len(servers(tmp_path)) == 2, "it was not started again")
    assert other in servers(tmp_path)
    wait_until(lambda: not any(worker.is_running() for worker in workers), "what it left would be there for ever")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)


def servers(folder: Path) -> list[psutil.Process]:
    return [process for process in left(folder) if process.cmdline()[1:2] == ["server.py"]]


def pids(folder: Path) -> set[int]:
    return {process.pid for process in servers(folder)}


def test_a_port_that_is_taken_is_told_with_its_holder_and_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        port = taker.getsockname()[1]
        environ = os.environ | {"PYTHONPATH": str(ROOT), "EXPORTER_PORT": str(port)}
        (tmp_path / "params.yaml").touch()
        done = subprocess.run(
            [sys.executable, "-m", "monitoring.up", "exporter"],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 69
    assert f"port {port} of exporter is taken by process {os.getpid()}" in done.stderr
    assert f"EXPORTER_PORT={port + 1} make up" in done.stderr
    assert not (tmp_path / ".tracewright/services/supervisord.conf").exists(), "something was begun"


def test_every_taken_port_is_told_at_once() -> None:
    services = [
        Service(name, "", port, "/", ()) for name, port in (("mlflow", 5000), ("grafana", 3000), ("prometheus", 9090))
    ]
    told = taken(services, lambda port: port == 9090, lambda port: f"process of {port}")
    assert len(told) == 2
    assert "MLFLOW_PORT=5001" in told[0]
    assert "process of 3000" in told[1]


@pytest.mark.parametrize(
    ("names", "file", "code", "says"),
    [
        ((), "other.yaml", 64, "params.yaml"),
        (("exporter", "grafanna"), "params.yaml", 64, "there is no service 'grafanna'; there are mlflow, exporter,"),
        (("dashboard",), "params.yaml", 69, "nothing is left to start"),
    ],
)
def test_what_cannot_be_started_is_told(
    tmp_path: Path, names: tuple[str, ...], file: str, code: int, says: str
) -> None:
    (tmp_path / file).touch()
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "monitoring.up", *names]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("up: ")) == (code, True), done.stderr
    assert says in done.stderr


def test_what_supervisor_would_expand_or_split_stays_as_it_is(tmp_path: Path) -> None:
    command = ("/opt/100% sure/python", "-c", 'print("a; b")')
    service = Service("mlflow", "", 5000, "/", command, {"PASSWORD": "a%b"})
    parser = RawConfigParser()
    parser.read_string(configuration([service], tmp_path, ["setpriv"]))
    section = dict(parser["program:mlflow"])
    assert section["environment"] == 'PASSWORD="a%%b"'
    assert section["command"].startswith("setpriv '/opt/100%% sure/python' -c ")
    assert section["autorestart"] == "true"
    assert section["stopasgroup"] == section["killasgroup"] == "true"


def test_a_service_that_begins_or_ceases_to_answer_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [False, True, True, False, True, False, False, False, True]
    answered = iter(looks)
    monkeypatch.setattr("monitoring.up.answers", lambda service: next(answered))
    log = tmp_path / "exporter.log"
    log.write_text("well\nport 9108 \x1b[31mis taken\n\n")
    said: list[str] = []
    pauses: list[float] = []
    turns = iter([True] * len(looks) + [False])
    service = Service("exporter", "what Prometheus reads", 9108, "/health", ())
    watch([service], lambda: next(turns), said.append, log_of=lambda _: log, turn=pauses.append)
    assert [line.split()[1] for line in said] == ["http://127.0.0.1:9108", "does", "http://127.0.0.1:9108"]
    assert said[1].endswith(f"Its log {log} ends with: port 9108 [31mis taken")
    assert pauses == [1, 5, 5, 5, 5, 5, 1, 1, 5]


def test_a_service_that_never_answers_is_told_after_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.up.answers", lambda service: False)
    said: list[str] = []
    looks = iter(range(100))
    service = Service("mlflow", "", 5000, "/health", ())

    def alive() -> bool:
        return next(looks) < 90

    watch([service], alive, said.append, log_of=lambda _: tmp_path / "x", turn=lambda _: None)
    assert len(said) == 1
    assert said[0].endswith("ends with: nothing")


def test_nobody_there_is_no_answer() -> None:
    assert not answers(Service("exporter", "", free_port(), "/health", ()))
