"""Bytes and milliseconds of minified VTracer traces, against SVGO; JSON on standard output.

Every PNG below a folder is traced with VTracer's command-line defaults. Ratios are geometric means over files with
bootstrap intervals; all sizes are of files that any SVG reader takes.

`python -m benchmarks.svg FOLDER [--svgo PATH] [--sizes JSON] [--count N]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import vtracer
from PIL import Image
from tqdm import tqdm

from benchmarks.interleaved import rounded
from pipeline.core.intervals import Bootstrap
from pipeline.svg.minify import minify
from pipeline.svg.parse import parse

GRIDS = {"precision_2": 100, "precision_1": 10, "quarters": 4}
"""Steps per pixel."""
SVGO_PRECISIONS = {"precision_2": 2, "precision_1": 1}
BOOTSTRAP = Bootstrap(samples=4000, confidence=0.95)
REPEATS = 3
REFERENCE_BYTES = 10_000
NEAR_REFERENCE = (8_000, 13_000)
"""Traces of so many bytes say how long one of 10 kB takes; smaller ones pay the fixed costs of NumPy's calls."""


@dataclass(frozen=True, slots=True)
class Trace:
    name: str
    width: int
    height: int
    svg: str


@dataclass(frozen=True, slots=True)
class Minified:
    """sizes: by row, bytes. seconds: by grid, of parsing and printing."""

    sizes: dict[str, int]
    seconds: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.svg", description=__doc__)
    parser.add_argument("folder", type=Path, help="PNG files, in folders or not")
    parser.add_argument("--svgo", type=Path, help="SVGO 4's program, node_modules/.bin/svgo")
    parser.add_argument("--sizes", type=Path, help='bytes of SVGO that are known already: {"NAME": {"bytes": N}}')
    parser.add_argument("--count", type=int, help="so many files, evenly spaced, instead of all")
    arguments = parser.parse_args()
    traces = traced(arguments.folder, arguments.count)
    if not traces:
        raise SystemExit(f"{arguments.folder}: no PNG that VTracer can trace")
    rows = [minified(trace) for trace in tqdm(traces, disable=None)]
    sizes = {name: [row.sizes[name] for row in rows] for name in rows[0].sizes}
    sizes["raw"] = [len(trace.svg) for trace in traces]
    if arguments.svgo:
        for name, precision in SVGO_PRECISIONS.items():
            sizes[f"svgo_{name}"] = svgo_sizes(traces, arguments.svgo, precision)
    if arguments.sizes:
        known = json.loads(arguments.sizes.read_text())
        sizes["svgo_known"] = [known[trace.name]["bytes"] for trace in traces]
    json.dump(report(traces, rows, sizes), sys.stdout, indent=2)
    print()


def traced(folder: Path, count: int | None) -> list[Trace]:
    """VTracer's default traces, those it cannot make left out."""
    files = sorted(path for path in folder.rglob("*.png") if path.is_file())
    if count:
        files = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).astype(int)]
    traces = []
    for file in files:
        with Image.open(file) as image:
            width, height = image.size
        try:
            svg = vtracer.convert_raw_image_to_svg(file.read_bytes(), img_format="png", path_precision=2)
        except BaseException as error:  # pyo3's PanicException is no Exception
            if type(error).__name__ != "PanicException":
                raise
            continue
        traces.append(Trace(file.stem, width, height, svg))
    return traces


def minified(trace: Trace) -> Minified:
    """On every grid, exactly and with a tolerance of one step; the fastest of some repetitions, in processor time."""
    sizes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for name, steps in GRIDS.items():
        drawing = parse(trace.svg, trace.width, trace.height)
        sizes[f"{name}_exact"] = len(minify(drawing, steps))
        sizes[name] = len(minify(drawing, steps, 1 / steps))
        times = []
        for _ in range(REPEATS):
            begin = time.process_time()
            minify(parse(trace.svg, trace.width, trace.height), steps, 1 / steps)
            times.append(time.process_time() - begin)
        seconds[name] = min(times)
    return Minified(sizes, seconds)


def svgo_sizes(traces: Sequence[Trace], program: Path, precision: int) -> list[int]:
    """In one run over a folder, as SVGO takes longer to start than to minify. Raises SystemExit."""
    with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as after:
        for number, trace in enumerate(traces):
            (Path(before) / f"{number}.svg").write_text(trace.svg)
        command = [str(program), "--multipass", "-p", str(precision), "-q", "-f", before, "-o", after]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"{program}: {getattr(error, 'stderr', None) or error}") from error
        return [(Path(after) / f"{number}.svg").stat().st_size for number in range(len(traces))]


def report(traces: Sequence[Trace], rows: Sequence[Minified], sizes: dict[str, list[int]]) -> dict[str, Any]:
    near = [NEAR_REFERENCE[0] <= len(trace.svg) <= NEAR_REFERENCE[1] for trace in traces]
    rivals = {"raw": list(sizes)}
    for name in SVGO_PRECISIONS:
        rivals[f"svgo_{name}"] = [name, f"{name}_exact"]
    rivals["svgo_known"] = [*GRIDS, *(f"{name}_exact" for name in GRIDS)]
    return {
        "files": len(traces),
        "mean_bytes": {name: round(float(np.mean(values))) for name, values in sizes.items()},
        "bytes_ratio": {
            rival: {name: ratio(sizes[name], sizes[rival]) for name in names if name != rival and name in sizes}
            for rival, names in rivals.items()
            if rival in sizes
        },
        "svgo": "compared" if "svgo_precision_2" in sizes else "not compared: give its program with --svgo",
        "milliseconds_per_10_kb": {name: milliseconds(traces, rows, near, name) for name in GRIDS},
    }


def ratio(ours: Sequence[int], theirs: Sequence[int]) -> dict[str, float]:
    """Geometric mean over files; below 1 is smaller. worst: the largest ratio of any file."""
    logs = np.log(np.asarray(ours) / np.asarray(theirs))
    return {**rounded(BOOTSTRAP.mean(-logs).as_ratio()), "worst": round(float(np.exp(logs.max())), 3)}


def milliseconds(traces: Sequence[Trace], rows: Sequence[Minified], near: Sequence[bool], name: str) -> dict[str, Any]:
    """Medians: of the traces of about 10 kB, and of all."""
    per_reference = np.array(
        [row.seconds[name] * 1e3 * REFERENCE_BYTES / len(trace.svg) for trace, row in zip(traces, rows, strict=True)]
    )
    chosen = per_reference[np.asarray(near)]
    return {
        "traces_of_8_to_13_kb": int(chosen.size),
        "median": round(float(np.median(chosen)), 2) if chosen.size else None,
        "median_of_all_sizes": round(float(np.median(per_reference)), 2),
    }


if __name__ == "__main__":
    main()
