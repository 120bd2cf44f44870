"""A project's folder as the stages leave it: figures drawn once from a seed, all files agreeing with each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.json_records import write_record
from pipeline.core.records import CATEGORIES, DEFAULT_PARAMS, Pixels
from tests.support.facts import (
    DIFFICULTY,
    METHODS,
    STAGES,
    TEST_IMAGES,
    TRACES,
    comparison,
    decision,
    quality,
    train_report,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Project:
    """root: the folder. paths: of the test images, relative to data/samples."""

    root: Path
    paths: tuple[str, ...]

    def edit(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change one JSON file in place."""
        path = self.root / name
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(json.dumps(value), encoding="utf-8")


def make_project(root: Path, seed: int = 3, names: tuple[str, ...] = ()) -> Project:
    """Write params.yaml, results/, data/ and the test images under `root`; `names` replace the first file names."""
    rng = np.random.default_rng(seed)
    categories: list[str] = [c for c in CATEGORIES for _ in range(TEST_IMAGES[c])]
    paths = [f"{c}/logo-{i:02}.png" for i, c in enumerate(categories)]
    paths[: len(names)] = names
    (root / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    values = _values(rng, categories)
    write_record(root / "results/train/train.json", train_report(seed))
    write_record(root / "results/evaluate/evaluate.json", comparison(values, categories))
    write_record(root / "results/register.json", decision())
    write_record(root / "data/quality.json", quality())
    _write_progress(root, rng)
    _write_images(root, paths, categories, values, rng)
    return Project(root, tuple(paths))


def _values(rng: np.random.Generator, categories: list[str]) -> dict[str, NDArray[np.float64]]:
    """method -> values of shape (images, traces), never below 0; images differ more than methods do."""
    scale = np.array([DIFFICULTY[c] for c in categories]) * rng.lognormal(-0.1, 0.45, len(categories))
    scale[rng.random(len(categories)) < 0.08] = 0.0
    found = {}
    for name, (_, _, means) in METHODS.items():
        noise = 0.0 if name == "default" else rng.normal(0, 0.05, (len(categories), 1))
        table = scale[:, None] * (np.array(means)[None, :] + noise)
        if name == "tpe":  # ahead on text logos with many traces
            table[np.array(categories) == "text", 3] *= 1.3
        table[scale == 0] = 0.0
        found[name] = np.maximum.accumulate(np.maximum(table, 0), axis=1)
    return found


def _write_progress(root: Path, rng: np.random.Generator) -> None:
    rows, start = [], 0
    for name, _, _, _, success, length in STAGES:
        for t in range(start + 512, start + length + 1, 512):
            mean = 0.62 - 0.09 * ["simple", "text", "gradient", "complex"].index(name) + 0.05 * (t - start) / length
            rows.append((t, mean + float(rng.normal(0, 0.02)), 0.6, success, name, t / 40.0, 41.0))
        start += length
    columns = ["timesteps", "return_mean", "bytes_ratio", "success_rate", "stage", "seconds", "steps_per_second"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "results/train/progress.csv", index=False)


def _write_images(
    root: Path, paths: list[str], categories: list[str], values: dict[str, NDArray[np.float64]],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    rows = []
    default_bytes = rng.lognormal(8.3, 0.6, len(paths)).astype(int)
    for method, table in values.items():
        for (i, k), value in np.ndenumerate(table):
            size, ratio = int(default_bytes[i]), float(np.exp(-value))
            rows.append(
                {
                    "path": paths[i], "category": categories[i], "digest": f"{i:064x}", "method": method,
                    "traces": TRACES[k], "value": float(value), "ratio": ratio, "bytes": round(size * ratio),
                    "default_bytes": size, "traced_bytes": round(1.8 * size * ratio),
                    "default_traced_bytes": round(1.8 * size), "gzip_bytes": round(0.6 * size * ratio),
                    "default_gzip_bytes": round(0.6 * size),
                    "damage": 0.4 if value > 0 else 3.0, "default_damage": 3.0, "delta": 0.7 if value > 0 else 0.9,
                    "default_delta": 0.9, "ssim": 0.970 + 0.0004 * (value > 0), "default_ssim": 0.970,
                    "zoom_ssim": 0.9604 - 0.0004 * (value > 0), "default_zoom_ssim": 0.9604, "skill": 0.87,
                    "default_skill": 0.86, "params": json.dumps(DEFAULT_PARAMS.to_json()), "improved": bool(value > 0),
                    "failures": 0,
                }
            )  # fmt: skip
    pd.DataFrame(rows).to_parquet(root / "results/evaluate/images.parquet")
    for i, path in enumerate(paths):
        original = root / "data/samples" / path
        original.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (48, 40), (10, 120, 200, 255)).save(original, "PNG")
        for folder in ("svg", "default"):
            svg = root / "results/evaluate" / folder / f"{i:064x}.svg"
            svg.parent.mkdir(parents=True, exist_ok=True)
            svg.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="48" height="40"/>', encoding="utf-8")


@dataclass(frozen=True)
class PlainDrawing:
    """A canvas in one grey."""

    grey: int

    def pixels(self, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
        return self.rgba(width, height)[..., :3]

    def rgba(self, width: int, height: int) -> Pixels:
        return np.dstack([np.full((height, width, 3), self.grey, np.uint8), np.full((height, width), 255, np.uint8)])


@dataclass(frozen=True)
class Tools:
    """Stand-ins for the reader of images and the rasteriser."""

    @staticmethod
    def read(path: Path) -> Pixels:
        return np.asarray(Image.open(path).convert("RGBA"))

    @staticmethod
    def draw(svg: str) -> PlainDrawing:
        return PlainDrawing(len(svg) % 256)
