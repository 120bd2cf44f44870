"""A real MLflow server that can be killed, and a proxy before it that misbehaves as asked."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.error import URLError

from tests.support.ports import free_port

Behaviour = Literal["pass", "refuse", "500", "stall", "half"]


class MlflowServer:
    """On a SQLite database in `folder`, which survives it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + 600
        while time.monotonic() < until:
            with suppress(URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).close()
                return
            time.sleep(0.1)
        raise TimeoutError((self._folder / "server.log").read_text())

    def kill(self) -> None:
        """It and its workers, without a chance to put anything in order."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Proxy(socketserver.ThreadingTCPServer):
    """Hands connections on to `port`, each for one request, and does to them what `behaviour` says.

    stall: holds an answer back for `stall_seconds`. half: lets MLflow do what was asked, and cuts its answer off.
    troubles: how many connections it has spoilt.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = port
        self.behaviour: Behaviour = "pass"
        self.stall_seconds = 30.0
        self.troubles = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A side that went away is what this is for."""


class _Connection(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        behaviour = self.server.behaviour
        if behaviour == "refuse":
            self.server.troubles += 1
            return
        request = _message(self.request)
        if behaviour == "500":
            self.server.troubles += 1
            self.request.sendall(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\nConnection: close\r\n\r\nOops")
            return
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as upstream:
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            upstream.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            answer = bytearray()
            while part := upstream.recv(1 << 16):
                answer += part
        if behaviour == "stall":
            self.server.troubles += 1
            time.sleep(self.server.stall_seconds)
        if behaviour == "half":
            self.server.troubles += 1
            answer = answer[: len(answer) // 2]
        self.request.sendall(answer)


def _message(connection: socket.socket) -> bytes:
    """One request, by its Content-Length; MLflow's client sends no other."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        more = _some(connection)
        received, body = received + more, body + more
    return received


def _some(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 16)
    if not part:
        raise ConnectionError("the client went away")
    return part
