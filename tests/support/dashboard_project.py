"""Projects as the app finds them: reports written by the report's own code, runs in every state."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from pipeline.core.json_records import write_record
from pipeline.core.records import CATEGORIES, Pixels
from pipeline.machine.samples import ResourceSample, to_line
from pipeline.reports import archive
from pipeline.reports.report import write_report
from pipeline.settings.params import load_settings
from tests.support.report_project import Project, Tools, make_project

RUN = "6f1c2a90b7de4c0e8d5a3b1f0e9c7a24"
"""The run that make_project's results are of."""

STARTED_SECONDS = 1_736_241_164.0

CALLS = "window.hostile=(window.hostile||0)+1"
HOSTILE_SVG = f"""<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="48"
  height="40" onload="{CALLS}"><script>{CALLS};parent.{CALLS};top.document.title='hostile'</script>
<image href="http://127.0.0.1:9/leak.png" width="9" height="9"/><image xlink:href="file:///etc/passwd"/>
<foreignObject width="48" height="40"><body xmlns="http://www.w3.org/1999/xhtml"><img src="x" onerror="{CALLS}"/>
<iframe src="javascript:{CALLS}"></iframe></body></foreignObject>
<a href="javascript:{CALLS}">
<path d="M0 0 L48 0 L48 40 Z" fill="#0b57a4" onclick="{CALLS}" transform="translate(1,2)"/></a>
<path d="M0 0 L9 9" transform="rotate(9) url(javascript:{CALLS})"/></svg>"""

HOSTILE_NAMES = (
    f"simple/<img src=x onerror={CALLS}>.png",
    f"simple/<script>{CALLS}<`script>.png",
    f"simple/[x](javascript:{CALLS}).png",
    "simple/![x](http:`127.0.0.1:9`leak.png).png",
    "simple/:red[a] :material`home: $x$ **b** |.png",
    "simple/two\nlines.png",
    "simple/" + "n" * 251 + ".png",
    "simple/\u202egnp.evil.png",
)


def read(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGBA"))


def reported(root: Path, *, names: tuple[str, ...] = (), svg: str | None = None, seed: int = 3) -> Project:
    """A project with one finished run, its report, its catalogue. svg: in the place of every SVG of ours."""
    project = make_project(root, seed, names)
    (root / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    _draw(project)
    project.edit("data/quality.json", lambda quality: quality.update(root="data/samples"))
    for number in range(len(project.paths)):
        for version, text in (("svg", svg or triangle(number)), ("default", triangle(number, 12))):
            (root / "results/evaluate" / version / f"{number:064x}.svg").write_text(text, encoding="utf-8")
    _true_digests(project)
    _catalogue(project)
    folder = root / archive.RUNS / RUN
    journal(folder)
    status(folder, state="finished", timesteps=20480)
    checkpoints(folder)
    resources(folder)
    write_report(root, load_settings(root / "params.yaml"), read, Tools.draw, commit="ab" * 20)
    return project


def triangle(number: int, more: int = 0) -> str:
    corners = "".join(f"L{(number * 7 + 11 * k) % 48} {(number * 5 + 13 * k) % 40} " for k in range(3 + more))
    return (
        '<svg version="1.1" xmlns="http://www.w3.org/2000/svg" width="48" height="40">\n'
        f'<path d="M0 0 {corners}Z" fill="#0B57A4" transform="translate(1,2)"/>\n</svg>'
    )


def _draw(project: Project) -> None:
    for number, path in enumerate(project.paths):
        image = Image.new("RGBA", (48, 40), (255, 255, 255, 255))
        ImageDraw.Draw(image).polygon([(1, 2), (40, 3 + number % 30), (10 + number, 38)], fill=(11, 87, 164, 255))
        image.save(project.root / "data/samples" / path, "PNG")


def _true_digests(project: Project) -> None:
    """The images' own, in the table and in the names of the SVGs."""
    from pipeline.core.records import pixel_digest

    root = project.root
    new = {f"{i:064x}": pixel_digest(read(root / "data/samples" / p)) for i, p in enumerate(project.paths)}
    table = pd.read_parquet(root / "results/evaluate/images.parquet")
    table["digest"] = table["digest"].map(new)
    table.to_parquet(root / "results/evaluate/images.parquet")
    for folder in ("svg", "default"):
        for old, digest in new.items():
            (root / "results/evaluate" / folder / f"{old}.svg").rename(
                root / "results/evaluate" / folder / f"{digest}.svg"
            )


def _catalogue(project: Project) -> None:
    root, rng = project.root, np.random.default_rng(2)
    rows = [
        {
            "path": path, "digest": f"{n % 38:064x}", "category": CATEGORIES[n % 4], "category_source": "folder",
            "confidence": None if n % 3 else 0.4 + n / 100, "width": 48, "height": 40, "file_bytes": 900 + n,
            "mode": "RGBA", "quality": float(rng.uniform(0.5, 1)), "sharpness": 0.9, "contrast": 0.4, "noise": 0.1,
            "complexity": float(rng.uniform(0, 1)),
        }
        for n, path in enumerate(project.paths)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(root / "data/catalogue.parquet")
    placed = [
        {"path": row["path"], "digest": row["digest"], "category": row["category"],
         "group": project.paths[n % 38], "split": ("train", "val", "test")[n % 3]}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    pd.DataFrame(placed).to_parquet(root / "data/splits.parquet")


def journal(folder: Path, *, rollouts: int = 40, ends: bool = True, failure: str | None = None) -> None:
    """As the training writes it. ends: whether it has a last record."""
    folder.mkdir(parents=True, exist_ok=True)
    at = int(STARTED_SECONDS * 1000)
    lines: list[dict[str, Any]] = [
        {"kind": "start", "time": at, "experiment": "tracewright", "name": "seed 1", "tags": {"stage": "train"},
         "params": {"train.seed": "1", "data.background": "#ffffff", "data.root": "data/samples",
                    "train.ppo.gamma": "1.0"}, "datasets": []}
    ]  # fmt: skip
    for k in range(rollouts):
        step = 512 * (k + 1)
        values = {"train/return_mean": 0.4 + 0.004 * k, "train/success_rate": 0.5 + 0.01 * k}
        lines.append({"kind": "metrics", "step": step, "time": at + 1000 * k, "values": values})
        if k % 8 == 7:
            values = {"val/value": 0.5 + 0.003 * k, "val/bytes_ratio": 0.6}
            lines.append({"kind": "metrics", "step": step, "time": at + 1000 * k, "values": values})
    if ends:
        lines.append({"kind": "end", "status": "FAILED" if failure else "FINISHED", "failure": failure, "refused": {}})
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def status(folder: Path, **changes: Any) -> None:
    """status.json of a training that is at work now, unless changed."""
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "schema_version": 1, "run": folder.name, "pid": 2**22 + 1, "process_started_seconds": STARTED_SECONDS,
        "state": "training", "seed": 1, "phase": "training", "timesteps": 8192, "total_timesteps": 20480, "stages": 4,
        "steps_per_second": 41.3, "return_mean": 0.55, "success_rate": 0.71, "stage": "gradient", "stage_number": 3,
        "memory_bytes": 1_240_000_000, "failures": {"panic": 3, "timeout": 1}, "updated_seconds": time.time(),
        "evaluations_asked": 9000, "evaluations_found": 400, "nonfinite_metrics": 0,
        "validation": {"timesteps": 8192, "value": 0.53, "bytes_ratio": 0.59, "damage": 0.6, "damaged_ratio": 0.04,
                       "by_category": {"simple": {"bytes_ratio": 0.5, "damaged_ratio": 0.02}}},
        "checkpoint": {"timesteps": 8192, "saved_seconds": time.time() - 30, "save_seconds": 0.008, "bytes": 474877},
    }  # fmt: skip
    (folder / "status.json").write_text(json.dumps(values | changes), encoding="utf-8")


def checkpoints(folder: Path) -> None:
    entries = [
        {"name": f"{n:06d}-{t}.ckpt", "number": n, "seed": 1, "timesteps": t, "phase": "training",
         "reason": "validation", "saved_seconds": STARTED_SECONDS + t, "bytes": 450_000 + n, "metrics": {"value": 0.5}}
        for n, t in enumerate(range(2048, 20481, 6144), 1)
    ]  # fmt: skip
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "checkpoints/index.json").write_text(json.dumps({"sha256": "", "entries": entries}), encoding="utf-8")


def sample(number: int) -> ResourceSample:
    return ResourceSample(
        time_seconds=STARTED_SECONDS + 5 * number, interval_seconds=5.0, cpu_cores=2, cpu_ratio=0.93,
        cpu_iowait_ratio=0.01, load1=2.1, memory_used_bytes=4_000_000_000 + 1_000_000 * number,
        memory_size_bytes=25_000_000_000, swap_used_bytes=0, disk_used_bytes=60_000_000_000,
        disk_available_bytes=40_000_000_000, disk_size_bytes=100_000_000_000, disk_read_bytes_per_second=1e5,
        disk_written_bytes_per_second=1e5, network_received_bytes=0, network_transmitted_bytes=0,
        network_received_bytes_per_second=0.0, network_transmitted_bytes_per_second=0.0, pressure_cpu_ratio=0.3,
        pressure_memory_ratio=0.0, pressure_io_ratio=0.01, training_cpu_cores=1.7, training_memory_bytes=1_000_000_000,
        training_processes=3, training_threads=20, training_open_files=40,
    )  # fmt: skip


def resources(folder: Path, samples: int = 120) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{to_line(sample(number))}\n" for number in range(samples))
    (folder / "resources.jsonl").write_text(lines, encoding="utf-8")


def running(root: Path, run_id: str = "20250301-120000-aaaaaa") -> Path:
    """A training that is at work now."""
    folder = root / archive.RUNS / run_id
    journal(folder, rollouts=16, ends=False)
    status(folder, process_started_seconds=time.time() - 200)
    resources(folder)
    return folder


def copied(root: Path, run_id: str, *, hours_later: float = 1.0, learning_rate: str = "0.001") -> Path:
    """Another finished run, with the first one's results and other settings."""
    source, folder = root / archive.RUNS / RUN, root / archive.RUNS / run_id
    shutil.copytree(source, folder)
    report = archive.read_report(folder / archive.FOLDER)
    started = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(STARTED_SECONDS + 3600 * hours_later))
    training = replace(report.training, run_id=run_id, started=started)
    changed = replace(report, run_id=run_id, training=training)
    write_record(folder / archive.FOLDER / archive.REPORT, changed)
    lines = (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    start = json.loads(lines[0])
    start["params"]["train.ppo.learning_rate"] = learning_rate
    (folder / "journal.jsonl").write_text("\n".join([json.dumps(start), *lines[1:]]) + "\n", encoding="utf-8")
    return folder


def many_images(root: Path, count: int) -> None:
    """Let the reported run have been tested on so many images, most of whose originals are not there."""
    kept = root / archive.RUNS / RUN / archive.FOLDER
    table = pd.read_parquet(kept / archive.IMAGES)
    rows = table.sample(count, replace=True, random_state=5, ignore_index=True)
    first = len(table)
    rows.iloc[:first] = table
    rows.loc[first:, "path"] = [f"{c}/made-{n:05}.png" for n, c in enumerate(rows["category"].iloc[first:])]
    rows.loc[first:, "digest"] = [f"{n:064x}" for n in range(count - first)]
    rows.to_parquet(kept / archive.IMAGES)
