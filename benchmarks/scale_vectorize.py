"""What vectorising many files costs, against VTracer alone; JSON on standard output.

Files of 256 x 256 are made from real logos: colours swapped, turned, mirrored and darkened by a level or more, so that
no two are alike. *VTracer alone* is as many processes as there are shard processes, which read the PNG file, trace it
with the command line's default and write the SVG file. Both are up and warm before the clock starts, and do block
after block in an order drawn anew. `cpu_milliseconds` is processor time per file, which other programs disturb less
than the clock.

`python -m benchmarks.scale_vectorize [--files 10000] [--agent models/agent]` for that, and with `--whole` the command
itself once over all files, without a rival: what it takes from start to end, and its memory on the way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import vtracer

from benchmarks.interleaved import Block, Timings, interleave
from benchmarks.logos import PROJECT, SIDE, square_logos
from benchmarks.vtracer_alone import vtracer_arguments
from pipeline.agent.agent import TRAINED
from pipeline.core.records import DEFAULT_PARAMS, Pixels
from pipeline.tracing.tracer_pool import worker_count
from pipeline.vectorizing.inputs import Folders
from pipeline.vectorizing.plan import PARTS, Plan, make_folders, write_plan
from pipeline.vectorizing.request import Assignment, Request
from pipeline.vectorizing.shard_pool import ShardPool

FILES = int(os.environ.get("TRACEWRIGHT_SCALE_FILES", "10000"))
AGENT = Path(os.environ.get("TRACEWRIGHT_SCALE_AGENT", PROJECT / TRAINED))
TARGET = 0.85
SOURCES = 96
FOLDER_FILES = 1000
BLOCKS = 11  # the first is not timed
MANY_TRACES = 8
MANY_TRACES_SHARE = 20  # one in so many files is done with that many traces too
SWAPS = ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2))
SAMPLE_SECONDS = 5.0


def write_images(folder: Path, count: int, side: int = SIDE) -> list[Path]:
    """`count` different PNG files of side x side pixels, FOLDER_FILES to a folder."""
    logos = square_logos(SOURCES, side)
    paths = [folder / f"{n // FOLDER_FILES:04d}" / f"{n:07d}.png" for n in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        rgba = varied(logos[number % len(logos)].rgba, number // len(logos))
        path.write_bytes(cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))[1].tobytes())
    return paths


def varied(rgba: Pixels, number: int) -> Pixels:
    """One of 48 swaps and turns, darkened by a level for every 48; no pixel is resampled."""
    swapped = rgba[..., [*SWAPS[number % 6], 3]]
    turned = np.rot90(swapped, number // 6 % 4)
    mirrored = turned[:, ::-1] if number // 24 % 2 else turned
    darker = mirrored.copy()
    darker[..., :3] -= np.minimum(darker[..., :3], number // 48)
    return np.ascontiguousarray(darker)


@dataclass(slots=True)
class Usage:
    """Processor time and memory of processes, by kind: the driving ones, and the tracers below them."""

    pids: Callable[[], Sequence[int]]
    resident: list[dict[str, int]] = field(default_factory=list)

    def note(self) -> None:
        """Add what is resident now: of this process, and of the largest of each kind."""
        of = {"parent": [psutil.Process()], **self._processes()}
        self.resident.append({kind: max((p.memory_info().rss for p in ps), default=0) for kind, ps in of.items()})

    def cpu_seconds(self) -> dict[str, float]:
        return {kind: sum(sum(p.cpu_times()[:2]) for p in processes) for kind, processes in self._processes().items()}

    def _processes(self) -> dict[str, list[psutil.Process]]:
        shards = [psutil.Process(pid) for pid in self.pids()]
        return {"shard_process": shards, "tracer": [child for shard in shards for child in shard.children()]}


def measure(files: int = FILES, agent: Path = AGENT) -> dict[str, Any]:
    """The report described above."""
    workers = worker_count(0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        paths = write_images(root / "in", files)
        plan, request = _plan(root, root / "out", agent, max(1, files // BLOCKS // (2 * workers)), traces=1)
        with (
            ShardPool(plan, Assignment.of(request, plan.digest), workers) as pool,
            multiprocessing.get_context("spawn").Pool(workers) as alone,
        ):
            usage = Usage(lambda: pool.pids)
            blocks = _blocks(plan, pool, alone, root / "alone", workers, usage)
            timings: Timings[dict[str, float]] = interleave(blocks)
        many = _many_traces(root, agent, workers, max(workers, files // MANY_TRACES_SHARE))
    return {
        "files": len(paths),
        "workers": workers,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "rows": timings.rows_json(),
        "cpu_milliseconds": _cpu_milliseconds(timings),
        "ratios": timings.ratios_json([("vectorize", "VTracer alone", TARGET)]),
        "resident_bytes": {"at_10_percent": usage.resident[1], "at_100_percent": usage.resident[-1]},
        f"{MANY_TRACES}_traces": many,
    }


def _blocks(
    plan: Plan, pool: ShardPool, alone: Any, output: Path, workers: int, usage: Usage
) -> list[Block[dict[str, float]]]:
    per_block = max(workers, plan.shards // BLOCKS)
    shards = list(range(plan.shards))
    blocks = []
    for start in range(0, per_block * BLOCKS, per_block):
        mine = shards[start : start + per_block]
        files = [entry.file for shard in mine for entry in plan.entries(shard)]
        rows = {
            "vectorize": partial(_sharded, pool, mine, usage),
            "VTracer alone": partial(_alone, alone, files, output),
        }
        if mine:
            blocks.append(Block(len(files), rows))
    return blocks


def _plan(root: Path, output: Path, agent: Path, shard_files: int, traces: int) -> tuple[Plan, Request]:
    request = Request(
        output=output, agent=agent, objective=None, max_damage=None, traces=traces, seed=0, shard_files=shard_files
    )
    make_folders(output)
    return write_plan(output, Folders([root / "in"]), request.conditions(), shard_files), request


def _sharded(pool: ShardPool, shards: Sequence[int], usage: Usage) -> dict[str, float]:
    before = usage.cpu_seconds()
    for _ in pool.run(shards):
        pass
    usage.note()
    return {kind: seconds - before.get(kind, 0.0) for kind, seconds in usage.cpu_seconds().items()}


def _alone(pool: Any, files: Sequence[str], output: Path) -> dict[str, float]:
    output.mkdir(exist_ok=True)
    seconds = pool.starmap(trace_file, [(file, str(output / f"{Path(file).name}.svg")) for file in files], chunksize=8)
    return {"process": sum(seconds)}


def trace_file(source: str, target: str) -> float:
    """Read, trace, write; the processor time it took. Nothing is written where VTracer panics."""
    started = time.process_time()
    try:
        svg = vtracer.convert_raw_image_to_svg(
            Path(source).read_bytes(), img_format="png", **vtracer_arguments(DEFAULT_PARAMS)
        )
        Path(target).write_text(svg, encoding="utf-8")
    except BaseException as error:  # pyo3's PanicException is no Exception
        if type(error).__name__ != "PanicException":
            raise
    return time.process_time() - started


def _cpu_milliseconds(timings: Timings[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Per file; the first timed block, in which tracers start, is among them."""
    files = sum(timings.evaluations)
    return {
        row: {kind: round(1000 * sum(r.get(kind, 0.0) for r in results) / files, 2) for kind in results[-1]}
        for row, results in timings.results.items()
    }


def _many_traces(root: Path, agent: Path, workers: int, files: int) -> dict[str, Any]:
    """As many of the files as are wanted, with more traces; the first shard of each process is not timed."""
    shard_files = max(1, files // (4 * workers))
    plan, request = _plan(root, root / "many", agent, shard_files, MANY_TRACES)
    warm, timed = list(range(workers)), list(range(workers, workers + 4 * workers))
    timed = [shard for shard in timed if shard < plan.shards]
    with ShardPool(plan, Assignment.of(request, plan.digest), workers) as pool:
        usage = Usage(lambda: pool.pids)
        _sharded(pool, warm, usage)
        started = time.perf_counter()
        cpu = _sharded(pool, timed, usage)
        seconds = time.perf_counter() - started
    count = sum(plan.count(shard) for shard in timed)
    each = {kind: round(1000 * spent / count, 1) for kind, spent in cpu.items()} if count else {}
    return {"files": count, "per_second": round(count / seconds, 1), "cpu_milliseconds": each}


def measure_whole(files: int, agent: Path, traces: int = 1, side: int = SIDE) -> dict[str, Any]:
    """`tracewright vectorize --sharded` from its start to its end, with its memory on the way."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_images(root / "in", files, side)
        command = [sys.executable, "-m", "pipeline.cli.main", "vectorize", str(root / "in"), "-o", str(root / "out")]
        command += ["--sharded", "--traces", str(traces), "--model", str(agent.resolve())]
        started = time.perf_counter()
        with (root / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)
            moments = _watched(process, root / "out" / PARTS, files)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"the command ended with {process.returncode}: {(root / 'log').read_text()[-500:]}")
        summary = json.loads((root / "out" / PARTS / "summary.json").read_text())
    moments = [m for m in moments if m["parts"]]
    return {
        "files": files,
        "side_pixels": side,
        "traces": traces,
        "seconds": round(seconds, 1),
        "files_per_second": round(files / seconds, 1),
        "milliseconds_each": round(1000 * seconds / files, 2),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "resident_bytes": {"at_10_percent": moments[len(moments) // 10], "at_100_percent": moments[-1]}
        if moments
        else {},
        "counts": {name: summary[name] for name in ("improved", "default", "failed")},
        "bytes_ratio": summary["bytes_ratio"],
    }


def _watched(process: subprocess.Popen[bytes], results: Path, files: int) -> list[dict[str, int]]:
    """What is resident, every few seconds, of the command and of the largest shard process and tracer."""
    moments = []
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            shards = parent.children()
            tracers = [child for shard in shards for child in shard.children()]
            of = {"parent": [parent], "shard_process": shards, "tracer": tracers}
            moment = {kind: max((p.memory_info().rss for p in ps), default=0) for kind, ps in of.items()}
            moments.append(moment | {"parts": len(list(results.glob("part-*")))})
        except psutil.NoSuchProcess:
            pass  # One ended while it was asked.
        time.sleep(SAMPLE_SECONDS if files > FOLDER_FILES else 0.2)
    return moments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--agent", type=Path, default=AGENT, help="folder of a trained agent")
    parser.add_argument("--whole", action="store_true", help="the command once over all files, without a rival")
    parser.add_argument("--traces", type=int, default=1, help="with --whole")
    parser.add_argument("--side", type=int, default=SIDE, help="with --whole: pixels")
    given = parser.parse_args()
    whole = partial(measure_whole, traces=given.traces, side=given.side)
    report = (whole if given.whole else measure)(given.files, given.agent)
    print(json.dumps({"benchmark": "scale_vectorize"} | report, indent=2))


if __name__ == "__main__":
    main()
