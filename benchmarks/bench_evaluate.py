"""Evaluations per second: the pool, against VTracer alone and a plain loop over files; JSON on standard output.

Real logos of about 256 x 256, random settings of params.yaml's space without prescaling, the same for every row.
`python -m benchmarks.bench_evaluate [EVALUATIONS]`
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
import vtracer
from PIL import Image
from skimage.metrics import structural_similarity

from pipeline.pixels import on_background
from pipeline.records import EVERYTHING, Gate, Job, Logo, TracerParams
from pipeline.settings import load_settings
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.tracer import encode
from pipeline.tracing.workers import TracerPool

PIXELS = 256 * 256
LOGOS = 16
BATCH = 16
CLOSED = Gate(max_bytes=0)
WHITE = (255, 255, 255)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    logos = some_logos(LOGOS)
    jobs = random_jobs(logos, count)
    few = jobs[: max(1, count // 4)]
    own = [os.getpid()]
    rows = {
        "vtracer_alone": timed(few, vtracer_alone, own),
        "plain_loop": timed(few, plain_loop, own),
        **{
            f"pool_{workers}_{name}": in_pool(workers, jobs, gate)
            for workers in (1, 2)
            for name, gate in (("every_score", EVERYTHING), ("gate_closed", CLOSED))
        },
    }
    print(json.dumps({"benchmark": "evaluate", "pixels": PIXELS, "jobs": count, "rows": rows}, indent=2))


def some_logos(count: int) -> list[Logo]:
    """Of about 256 x 256, as they are, from the folder TRACEWRIGHT_LOGOS, ../shared/logos or the package `diagrams`."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "logos"
    folder = Path(os.environ.get("TRACEWRIGHT_LOGOS", beside))
    packaged = () if folder.is_dir() else files("diagrams") or ()
    found = sorted(folder.rglob("*.png")) or [Path(str(f.locate())) for f in packaged if f.suffix == ".png"]
    near = [path for path in found if 0.75 < pixels_of(path) / PIXELS < 1.25]
    chosen = [near[i * len(near) // count] for i in range(count)]
    return [Logo.of(path.name, np.asarray(Image.open(path).convert("RGBA")), "simple") for path in chosen]


def pixels_of(path: Path) -> int:
    with Image.open(path) as image:
        return image.width * image.height


def random_jobs(logos: Sequence[Logo], count: int) -> list[Job]:
    space = ParameterSpace.from_settings(load_settings(Path("params.yaml")).tracing)
    generator = np.random.default_rng(0)
    return [
        Job(logos[i % len(logos)], replace(space.decode(generator.random(space.size)), prescale=1.0, palette=0))
        for i in range(count)
    ]


def timed(jobs: Sequence[Job], run: Callable[[Sequence[Job]], object], pids: Sequence[int]) -> dict[str, float]:
    """Of what `run` makes these processes do; processor time is what to compare on a machine that is busy."""
    start, before = time.perf_counter(), cpu_seconds(pids)
    run(jobs)
    elapsed, used = time.perf_counter() - start, cpu_seconds(pids) - before
    return {"per_second": round(len(jobs) / elapsed, 1), "cpu_milliseconds_each": round(1000 * used / len(jobs), 2)}


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time so far, from fields 14 and 15 of /proc/PID/stat."""
    texts = [Path(f"/proc/{pid}/stat").read_text(encoding="utf-8") for pid in pids]
    ticks = [int(field) for text in texts for field in text.rsplit(")", 1)[1].split()[11:13]]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def in_pool(workers: int, jobs: Sequence[Job], gate: Gate) -> dict[str, float]:
    """Batches as training hands them in; images and references are there before the clock starts."""
    gated = [replace(job, gate=gate) for job in jobs]
    with TracerPool(workers, timeout_seconds=20, worker_memory_bytes=2_000_000_000) as pool:
        pool.evaluate([*jobs[:LOGOS], *jobs[:LOGOS]])
        batches = [gated[i : i + BATCH] for i in range(0, len(gated), BATCH)]
        return timed(gated, lambda _: [pool.evaluate(batch) for batch in batches], pool.pids)


def of_vtracer(params: TracerParams) -> dict[str, Any]:
    return {name: value for name, value in params.to_json().items() if name not in ("prescale", "palette")}


def vtracer_alone(jobs: Sequence[Job]) -> None:
    encoded = {job.logo.digest: encode(job.logo.rgba) for job in jobs}
    for job in jobs:
        vtracer.convert_raw_image_to_svg(encoded[job.logo.digest], img_format="png", **of_vtracer(job.params))


def plain_loop(jobs: Sequence[Job]) -> None:
    """What a script would do: files in, files out, resvg, scikit-image; SSIM and MSE only, no zoom."""
    with tempfile.TemporaryDirectory() as folder:
        png, svg = Path(folder, "in.png"), Path(folder, "out.svg")
        for job in jobs:
            Image.fromarray(job.logo.rgba).save(png)
            vtracer.convert_image_to_svg_py(str(png), str(svg), **of_vtracer(job.params))
            drawn = resvg_py.svg_to_bytes(svg_string=svg.read_text(encoding="utf-8"), background="#ffffff")
            pixels = np.asarray(Image.open(io.BytesIO(bytes(drawn))).convert("RGB"))
            reference = on_background(job.logo.rgba, WHITE)
            structural_similarity(reference, pixels, channel_axis=2)  # type: ignore[no-untyped-call]
            ((reference.astype(float) - pixels) ** 2).mean()


if __name__ == "__main__":
    main()
