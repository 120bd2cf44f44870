"""A real `mlflow models serve` on a port of this machine, and a client of it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.fakes import ROOT
from tests.support.ports import free_port

START_SECONDS = 600


class Server:
    """Serves `source` with MLflow's registry in `project`, in which it also runs; what it says is in `log`."""

    def __init__(self, project: Path, source: str, **settings: object) -> None:
        self.port = free_port()
        self.log = project / f"serve-{self.port}.log"
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", source, "--env-manager", "local"]
        variables = {f"TRACEWRIGHT_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        environment = (
            os.environ
            | variables
            | {
                "MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlruns/mlflow.db",
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
            }
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], cwd=project, env=environment, stdout=log, stderr=log
            )

    def wait(self) -> None:
        """Until it answers. Raises RuntimeError with what it said when it does not."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/ping", timeout=5)[0] == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError(self.log.read_text())

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str | None = None, timeout: float = 60
    ) -> tuple[int, bytes]:
        """Status and body of an answer, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def invoke(self, body: bytes, kind: str | None = "application/json") -> tuple[int, bytes]:
        return self.ask("POST", "/invocations", body, kind)

    @property
    def family(self) -> list[psutil.Process]:
        """The command, MLflow's server below it, and the tracing processes below that."""
        command = psutil.Process(self.process.pid)
        return [command, *command.children(recursive=True)]

    @property
    def tracers(self) -> list[psutil.Process]:
        return [p for p in self.family if "pipeline.tracing.worker" in _command(p)]

    def stop(self, kind: int = signal.SIGTERM) -> list[psutil.Process]:
        """Send a signal to the command; returns who is still there two minutes later."""
        family = self.family if self.process.poll() is None else []
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, kind)
        self.process.wait(120)
        left: list[psutil.Process] = psutil.wait_procs(family, timeout=120)[1]
        return left


def _command(process: psutil.Process) -> list[Any]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
