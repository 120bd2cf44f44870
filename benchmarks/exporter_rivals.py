"""Our exporter and its rivals as processes, and what they cost."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil

from benchmarks.exporter_clients import scrape
from benchmarks.logos import PROJECT
from pipeline.runs.status import STATUS, CategoryScores, CheckpointStatus, RunStatus, ValidationStatus, write_status

STARTING_SECONDS = 60.0
OURS, NODE, NVITOP = "tracewright", "node_exporter", "nvitop_exporter"


@dataclass(frozen=True, slots=True)
class Exporter:
    """One that runs. marker: what each of its answers holds."""

    name: str
    port: int
    marker: bytes
    process: psutil.Process

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        return int(self.process.memory_info().rss)


@contextmanager
def exporters(project: Path) -> Iterator[dict[str, Exporter]]:
    """Ours, and those rivals that are installed, each watching this machine; ours a training too."""
    commands = {OURS: ([sys.executable, "-m", "monitoring", "--root", str(project), "--port"], b"training_timesteps")}
    if shutil.which("prometheus-node-exporter"):
        commands[NODE] = (["prometheus-node-exporter", "--log.level=error"], b"node_cpu_seconds_total")
    if find_spec("nvitop_exporter"):
        commands[NVITOP] = ([sys.executable, "-m", "benchmarks.exporter_nvitop"], b"host_cpu_percent")
    with ExitStack() as stack:
        started = {}
        for name, (command, marker) in commands.items():
            port = free_port()
            listen = [f"--web.listen-address=127.0.0.1:{port}"] if name == NODE else [str(port)]
            child = stack.enter_context(_running([*command, *listen]))
            started[name] = Exporter(name, port, marker, psutil.Process(child.pid))
        for exporter in started.values():
            _wait_for(exporter)
        yield started


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many processes that only count."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(_running([sys.executable, "-c", "while True: pass"]))
        yield


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            yield child
        finally:
            child.kill()


def _wait_for(exporter: Exporter) -> None:
    """Raises SystemExit when it does not answer."""
    end = time.monotonic() + STARTING_SECONDS
    while scrape(exporter.port, 1, 1, exporter.marker).errors:
        if time.monotonic() > end:
            raise SystemExit(f"{exporter.name} does not answer on port {exporter.port}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_training(project: Path) -> None:
    """The status of a training in its second stage, whose process is this one."""
    scores = {
        name: CategoryScores(bytes_ratio=0.4, damaged_ratio=0.1) for name in ("simple", "text", "gradient", "complex")
    }
    now = time.time()
    status = RunStatus(
        run="benchmark",
        pid=os.getpid(),
        process_started_seconds=psutil.Process().create_time(),
        updated_seconds=now,
        state="training",
        phase="training",
        seed=1,
        timesteps=512,
        total_timesteps=12288,
        stages=4,
        stage_number=2,
        stage="text",
        steps_per_second=30.0,
        return_mean=0.4,
        success_rate=0.8,
        failures={"panic": 1, "timeout": 2},
        evaluations_asked=4000,
        evaluations_found=100,
        validation=ValidationStatus(
            timesteps=256, value=0.9, bytes_ratio=0.4, damage=2.0, damaged_ratio=0.1, by_category=scores
        ),
        checkpoint=CheckpointStatus(timesteps=384, saved_seconds=now, save_seconds=0.02, bytes=300_000),
    )
    folder = project / ".tracewright/runs/benchmark"
    folder.mkdir(parents=True)
    write_status(folder / STATUS, status)
