"""The app with 50 runs and 10,000 test images on disk, in a real Chromium; JSON on standard output.

How long until the first page can be used, how long a change of a filter takes, how much memory the app has, and what a
live page costs a training: a stand-in for it is at work on one core, and blocks with and without the page take turns
(0 blocks leave that out).
`python -m benchmarks.bench_dashboard [RUNS [IMAGES [BLOCKS]]]`
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from benchmarks.interleaved import speed_ratio
from dashboard.queries import PROJECT
from tests.support import dashboard_project

TARGETS = {"first_page_seconds": 2.0, "filter_seconds": 0.3, "app_bytes": 400_000_000, "slower_ratio": 0.01}
FIRST_PAGES, FILTERS = 7, 12
BLOCK_SECONDS = 12.0
CHUNK = 20_000  # of additions, between two looks at the clock


def main() -> None:
    runs, images, blocks = (int(given) for given in (*sys.argv[1:4], *("50", "10000", "6")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory(prefix="tracewright-") as folder:
        root = project(Path(folder), runs, images)
        with app(root) as served, chromium() as browser:
            first = [first_page(browser, served) for _ in tqdm(range(FIRST_PAGES), desc="first page")]
            filters = filter_changes(browser, served, images)
            memory = memory_bytes(served.process)
            live = live_page(browser, served, root, blocks) if blocks else None
    report = {
        "benchmark": "dashboard",
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[2], 1),
        "runs": runs,
        "images": images,
        "first_page_seconds": summary(first[1:]) | {"after_start": round(first[0], 3)},
        "filter_seconds": summary(filters),
        "app_bytes": memory,
        "live_page": live,
        "targets": TARGETS,
    }
    print(json.dumps(report, indent=2))


def summary(seconds: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds), 3), "most": round(max(seconds), 3), "count": len(seconds)}


def project(root: Path, runs: int, images: int) -> Path:
    """A project in which so many runs were tested on so many images, one of them still at work."""
    dashboard_project.reported(root)
    dashboard_project.many_images(root, images)
    for number in tqdm(range(runs - 2), desc="runs"):
        dashboard_project.copied(root, f"20250109-{number:06}", hours_later=-1 - number)
    dashboard_project.running(root)
    return root


@dataclass(frozen=True, slots=True)
class Served:
    address: str
    process: psutil.Process


@contextmanager
def app(root: Path) -> Iterator[Served]:
    """The app on a project, answering."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dashboard", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | {PROJECT: str(root)})
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                    break
            except OSError:
                time.sleep(0.1)
        yield Served(f"http://127.0.0.1:{port}", psutil.Process(server.pid))
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("bench_dashboard: needs Chromium: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def first_page(browser: Any, served: Served) -> float:
    """Seconds from the address to the newest result, the findings and the table of runs, in a browser without cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    started = time.perf_counter()
    page.goto(f"{served.address}/", wait_until="commit")
    page.get_by_text("What needs attention").wait_for(timeout=60_000)
    page.locator("[data-testid=stDataFrame] canvas").first.wait_for(timeout=60_000)
    seconds = time.perf_counter() - started
    context.close()
    return seconds


def filter_changes(browser: Any, served: Served, images: int) -> list[float]:
    """Seconds from a changed filter to the answer on the screen, on the page with the most rows."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.goto(f"{served.address}/images?run={dashboard_project.RUN}")
    field = page.get_by_label("Name contains")
    field.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)
    seconds = []
    for number in range(FILTERS):
        field.fill(f"made-{number:05}"[: 7 + number % 3])
        before = page.get_by_text(" images. Click a row").or_(page.get_by_text("listed. Click a row")).inner_text()
        started = time.perf_counter()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "before => ![...document.querySelectorAll('[data-testid=stCaptionContainer]')].some("
            "e => e.innerText === before)",
            arg=before,
            timeout=30_000,
        )
        seconds.append(time.perf_counter() - started)
        page.wait_for_timeout(300)
    context.close()
    return seconds


def memory_bytes(process: psutil.Process) -> int:
    """Resident memory of the app and of all that it started."""
    return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))


def work(stop: Any, counted: Any) -> None:
    """A stand-in for a training: one core, always busy. counted: additions so far."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    total = 0
    while not stop.is_set():
        for number in range(CHUNK):
            total += number
        counted.value += CHUNK


def live_page(browser: Any, served: Served, root: Path, blocks: int) -> dict[str, Any]:
    """How much slower the stand-in is while somebody watches, and what the app takes of a core for it."""
    spawn = multiprocessing.get_context("spawn")
    stop, counted = spawn.Event(), spawn.Value("q", 0, lock=False)
    training = spawn.Process(target=work, args=(stop, counted), daemon=True)
    training.start()
    folder = root / ".tracewright/runs/20250301-120000-aaaaaa"
    seconds: dict[bool, list[float]] = {True: [], False: []}
    used: list[float] = []
    for block in tqdm(range(2 * blocks), desc="live page"):
        watched = block % 4 in (1, 2)  # without, with, with, without: a drift of the machine cancels out
        context = browser.new_context() if watched else None
        if context:
            page = context.new_page()
            page.goto(f"{served.address}/training?run={folder.name}")
            page.get_by_text("Return and validation").wait_for(timeout=60_000)
            page.wait_for_timeout(1500)
        before, cpu = counted.value, sum(served.process.cpu_times()[:2])
        started = time.perf_counter()
        while time.perf_counter() - started < BLOCK_SECONDS:
            dashboard_project.status(folder, timesteps=int(8192 + time.perf_counter() - started))
            time.sleep(1)
        elapsed = time.perf_counter() - started
        seconds[watched].append(elapsed / max(1, counted.value - before) * 1e9)
        if context:
            used.append((sum(served.process.cpu_times()[:2]) - cpu) / elapsed)
            context.close()
    stop.set()
    training.join(10)
    ratio = speed_ratio(seconds[True], seconds[False])
    return {
        "slower_ratio": round(1 - ratio.mean, 4),
        "slower_ratio_interval": [round(1 - ratio.high, 4), round(1 - ratio.low, 4)],
        "app_core_share": round(statistics.mean(used), 4),
        "blocks": blocks,
        "block_seconds": BLOCK_SECONDS,
    }


if __name__ == "__main__":
    main()
