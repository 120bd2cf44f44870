"""Catalogue, split and `dvc status` of 100,000 generated images: seconds, and memory of all processes together.

Each step is the command that `make repro` runs, in a project of its own. TRACEWRIGHT_SCALE_IMAGES: how many images.
Making them is timed apart. Memory is the sum of the processes' resident sets, so pages that they share count twice.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.generated_logos import make_logos, path_of, write_logo
from benchmarks.logos import PROJECT
from pipeline.settings.overrides import with_overrides
from pipeline.settings.params import load_settings

IMAGES = 100_000
CHANGED = 100
LOOK_EVERY_SECONDS = 0.1
TARGETS = {"catalogue": 900, "catalogue again": 60, "peak_bytes": 10**9}

CATALOGUE = [sys.executable, "-m", "pipeline.stages.catalogue"]
SPLIT = [sys.executable, "-m", "pipeline.stages.split"]
DVC = [sys.executable, "-m", "dvc"]
STATUS = [*DVC, "status", "catalogue", "split"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one command and all it started. cpu_seconds: on all cores. peak_bytes: the most at one time."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(images: int | None = None) -> dict[str, Any]:
    images = images or int(os.environ.get("TRACEWRIGHT_SCALE_IMAGES", str(IMAGES)))
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="tracewright-scale-") as folder:
        root = Path(folder)
        _project(root)
        started = time.perf_counter()
        make_logos(root / "logos", images, cores)
        making = time.perf_counter() - started
        costs = {"catalogue": _run(root, CATALOGUE), "catalogue again": _run(root, CATALOGUE)}
        changed = range(50, images, max(100, images // CHANGED // 100 * 100))[:CHANGED]
        for number in changed:
            write_logo(root / "logos", number, drawn_as=images + number)
        costs[f"catalogue, {len(changed)} changed"] = _run(root, CATALOGUE)
        costs |= {"split": _run(root, SPLIT), "split again": _run(root, SPLIT)}
        costs["dvc repro split, first"] = _run(root, [*DVC, "repro", "split"])
        costs |= {"dvc status": _run(root, STATUS), "dvc repro split, again": _run(root, [*DVC, "repro", "split"])}
        os.utime(path_of(root / "logos", 50))
        costs["dvc status, one touched"] = _run(root, STATUS)
        sizes = {name: _bytes_below(root / name) for name in ("logos", ".tracewright", "data")}
    return {
        "images": images,
        "cores": cores,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "making_seconds": round(making, 1),
        "rows": {name: _row(cost) for name, cost in costs.items()},
        "images_per_second": round(images / costs["catalogue"].seconds, 1),
        "peak_bytes": max(cost.peak_bytes for cost in costs.values()),
        "bytes_on_disk": sizes,
        "targets": TARGETS,
    }


def _project(root: Path) -> None:
    for name in ("pipeline", "monitoring"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(PROJECT / name, root)
    settings = with_overrides(load_settings(PROJECT / "params.yaml"), {"data.root": "logos"}, "the benchmark")
    (root / "params.yaml").write_text(yaml.safe_dump(settings.to_json(), sort_keys=False), encoding="utf-8")
    _run(root, [*DVC, "init", "--no-scm", "--quiet"])


def _run(root: Path, command: list[str]) -> Cost:
    """Ends the benchmark where the command fails."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root), "DVC_NO_ANALYTICS": "1"}
    started, used = time.perf_counter(), _cpu_seconds()
    with (root / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=log, stderr=log)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _tree_bytes(process.pid))
            time.sleep(LOOK_EVERY_SECONDS)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} gave {process.returncode}:\n{(root / 'log.txt').read_text()[-2000:]}")
    return Cost(seconds, _cpu_seconds() - used, peak)


def _cpu_seconds() -> float:
    """Of all processes that were started here, or by those, and ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree_bytes(pid: int) -> int:
    total = 0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass  # it ended while we looked: the next look counts it no more
    return total


def _row(cost: Cost) -> dict[str, float]:
    seconds, cpu_seconds = round(cost.seconds, 1), round(cost.cpu_seconds, 1)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_megabytes": round(cost.peak_bytes / 1e6)}


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
