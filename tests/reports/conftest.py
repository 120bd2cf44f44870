"""A project's folder as the stages leave it: figures drawn once from a seed, all files agreeing with each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.intervals import Bootstrap
from pipeline.core.records import CATEGORIES, DEFAULT_PARAMS, Pixels
from pipeline.reports.report import read_results
from pipeline.reports.results import Results
from pipeline.settings.params import load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
TRACES = (1, 4, 8, 16)
TEST_IMAGES = {"simple": 13, "text": 11, "gradient": 9, "complex": 7}
DIFFICULTY = {"simple": 1.15, "text": 0.9, "gradient": 0.75, "complex": 1.1}

# method: label, kind, mean gain in log units at 1, 4, 8 and 16 traces
METHODS: dict[str, tuple[str, str, tuple[float, float, float, float]]] = {
    "agent": ("tracewright", "ours", (0.44, 0.55, 0.60, 0.635)),
    "untrained": ("untrained policy", "reference", (0.43, 0.52, 0.545, 0.565)),
    "default": ("VTracer's default", "reference", (0.0, 0.0, 0.0, 0.0)),
    "preset_bw": ("preset bw", "reference", (0.01, 0.01, 0.01, 0.01)),
    "preset_poster": ("preset poster", "reference", (0.03, 0.03, 0.03, 0.03)),
    "preset_photo": ("preset photo", "reference", (0.012, 0.012, 0.012, 0.012)),
    "fixed": ("best fixed per category", "rival", (0.43, 0.43, 0.43, 0.43)),
    "portfolio": ("portfolio per category", "rival", (0.43, 0.50, 0.53, 0.55)),
    "random": ("random search", "rival", (0.08, 0.27, 0.38, 0.48)),
    "tpe": ("Optuna TPE", "rival", (0.08, 0.29, 0.44, 0.56)),
}


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
    write(root, "results/train/train.json", training(rng))
    write(root, "results/evaluate/evaluate.json", comparison(values, categories))
    write(root, "results/register.json", decision())
    write(root, "data/quality.json", quality())
    _write_progress(root, rng)
    _write_images(root, paths, categories, values, rng)
    return Project(root, tuple(paths))


def write(root: Path, name: str, value: Any) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(value), encoding="utf-8")


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


BOOTSTRAP = Bootstrap(200, 0.95)


def measured(values: Any) -> dict[str, float]:
    return BOOTSTRAP.mean(np.asarray(values, dtype=float)).to_json()


def point(values: Any, traces: int) -> dict[str, Any]:
    interval = BOOTSTRAP.mean(np.asarray(values, dtype=float))
    return {"traces": traces, "value": interval.to_json(), "ratio": interval.as_ratio().to_json()}


def comparison(values: dict[str, NDArray[np.float64]], categories: list[str]) -> dict[str, Any]:
    members = {c: [i for i, k in enumerate(categories) if k == c] for c in CATEGORIES}
    methods = [
        {
            "name": name,
            "label": label,
            "kind": kind,
            "curve": [point(values[name][:, k], t) for k, t in enumerate(TRACES)],
            "by_category": {
                c: [point(values[name][m, k], t) for k, t in enumerate(TRACES)] for c, m in members.items()
            },
        }
        for name, (label, kind, _) in METHODS.items()
    ]
    duels = [
        duel(name, t, values["agent"][:, k] - values[name][:, k])
        for name in METHODS
        if name != "agent"
        for k, t in enumerate(TRACES)
    ]
    return {
        "run_id": "6f1c2a90b7de4c0e8d5a3b1f0e9c7a24", "objective": {"name": "smaller", "tolerance": 0.001},
        "images": len(categories), "test_digest": "ab" * 32, "traces": list(TRACES), "confidence": 0.95,
        "seconds": 431.5, "failures": {"panic": 3, "timeout": 1}, "methods": methods, "duels": duels,
        "evaluations": {"asked": 900, "found": 210, "bit_comparable": True},
        "second_renderer": {
            "renderer": "resvg-py 0.3.3", "images": len(categories), "upheld": len(categories), "not_upheld": [],
            "ssim_difference": {"mean": 0.0004, "max": 0.004}, "zoom_ssim_difference": {"mean": 0.0011, "max": 0.009},
        },
    }  # fmt: skip


def duel(against: str, traces: int, gains: NDArray[np.float64]) -> dict[str, Any]:
    gain = BOOTSTRAP.mean(gains)
    better = True if gain.low > 0 else False if gain.high < 0 else None
    wins, losses = int((gains > 1e-9).sum()), int((gains < -1e-9).sum())
    return {
        "against": against, "traces": traces, "gain": gain.to_json(), "better": better,
        "wins": wins, "losses": losses, "ties": len(gains) - wins - losses,
    }  # fmt: skip


# name, categories, difficulty, asked for, reached, timesteps; one row per attempt
STAGES = [
    ("simple", ["simple"], 0.1, 0.80, 0.91, 2048),
    ("text", ["simple", "text"], 0.3, 0.75, 0.69, 1536),
    ("text", ["simple", "text"], 0.3, 0.75, 0.83, 1536),
    ("gradient", ["simple", "text", "gradient"], 0.6, 0.70, 0.61, 4096),
    ("gradient", ["simple", "text", "gradient"], 0.6, 0.70, 0.64, 4096),
    ("complex", ["simple", "text", "gradient", "complex"], 1.0, 0.65, 0.78, 7168),
]


def training(rng: np.random.Generator) -> dict[str, Any]:
    timesteps = list(range(0, 20481, 2048))
    stages = [
        {
            "name": n, "categories": c, "difficulty": d, "goal": 0.05, "pass_rate": p, "success_rate": s,
            "passed": s >= p, "attempts": [r[0] for r in STAGES[: k + 1]].count(n), "timesteps": t, "seconds": t / 41.0,
            "mean_return": 0.3 + 0.2 * s,
        }
        for k, (n, c, d, p, s, t) in enumerate(STAGES)
    ]  # fmt: skip
    by_category = {c: {"train": 7 * n, "val": 2 * n, "test": n} for c, n in TEST_IMAGES.items()}
    validations = [validation(t, rng) for t in timesteps]
    best = max(validations, key=lambda v: v["value"]["mean"])
    totals = {s: sum(n[s] for n in by_category.values()) for s in ("train", "val", "test")}
    return {
        "run_id": "6f1c2a90b7de4c0e8d5a3b1f0e9c7a24", "experiment": "tracewright", "seed": 1,
        "tracking_uri": "sqlite:///.tracewright/mlflow.db", "started": "2025-01-07T09:12:44+00:00", "seconds": 612.0,
        "total_timesteps": 20480, "steps_per_second": 41.3, "peak_memory_bytes": 1_240_000_000, "stopped": None,
        "best": {"timesteps": best["timesteps"], "value": best["value"]["mean"]}, "model_id": "m-2b1c",
        "time_shares": {
            "tracing": 0.61, "ppo": 0.17, "tracking": 0.01, "validation": 0.09,
            "portfolios": 0.02, "table": 0.08, "surrogate": 0.02,
        },
        "dataset": {**{s: {"images": n, "digest": s * 8} for s, n in totals.items()}, "by_category": by_category},
        "failures": {"panic": 9, "timeout": 2, "empty": 14}, "stages": stages,
        "seeds": [{"seed": 1, "run_id": "6f1c", "best_value": 0.58}], "seed_spread": None,
        "validations": validations,
    }  # fmt: skip


def around(mean: float, half: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def validation(timesteps: int, rng: np.random.Generator) -> dict[str, Any]:
    value = 0.50 + 0.08 * (1 - np.exp(-timesteps / 7000)) + float(rng.normal(0, 0.009))
    return {
        "timesteps": timesteps, "images": 24, "failures": 0, "value": around(value, 0.07),
        "bytes_ratio": around(float(np.exp(-value)), 0.04), "ssim": around(0.9712, 0.006),
        "zoom_ssim": around(0.9633, 0.008), "skill": around(0.874, 0.02), "mse": around(48.0, 9.0),
        "psnr": around(32.1, 0.8), "seconds_per_image": 0.21, "target_reached_ratio": 0.79, "stability": 0.021,
        "consistency": 0.013,
        "by_category": {
            c: {"images": 6, "value": around(value * d, 0.1), "bytes_ratio": around(float(np.exp(-value * d)), 0.06),
                "skill": around(0.87, 0.03), "target_reached_ratio": 0.8}
            for c, d in DIFFICULTY.items()
        },
        "trend": {"direction": "improving", "slope": 0.0031, "low": 0.0008, "high": 0.0049},
    }  # fmt: skip


def decision() -> dict[str, Any]:
    return {
        "decision": "promoted", "name": "tracewright", "version": 3, "alias": "champion", "run_id": "6f1c",
        "model_uri": "models:/tracewright/3", "against": {"version": 2, "run_id": "77aa"},
        "gain": around(0.031, 0.018), "images": 40, "test_digest": "ab" * 32,
        "reason": "promoted: better beyond chance; gain over version 2 +0.0310 [+0.0130, +0.0490] (95% confidence)",
    }  # fmt: skip


def quality() -> dict[str, Any]:
    rejected = [("a/small.png", "too-small"), ("a/b|c`d.png", "undecodable"), ("e.png", "too-small")]
    return {
        "images": 400, "quality_mean": 0.87, "recommendations": ["3 files were rejected; each is listed."],
        "rejected": [{"path": p, "reason": r, "detail": "as it was drawn"} for p, r in rejected],
    }  # fmt: skip


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
                    "default_bytes": size, "ssim": 0.970 + 0.0004 * (value > 0), "default_ssim": 0.970,
                    "zoom_ssim": 0.9604 - 0.0004 * (value > 0), "default_zoom_ssim": 0.9604, "skill": 0.87,
                    "default_skill": 0.86, "params": json.dumps(DEFAULT_PARAMS.to_json()), "failures": 0,
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
class Tools:
    """Stand-ins for the reader of images and the rasteriser."""

    @staticmethod
    def read(path: Path) -> Pixels:
        return np.asarray(Image.open(path).convert("RGBA"))

    @staticmethod
    def render(svg: str, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
        return np.full((height, width, 3), len(svg) % 256, dtype=np.uint8)


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


@pytest.fixture(scope="session", name="make_project")
def project_maker() -> Callable[..., Project]:
    return make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = make_project(tmp_path_factory.mktemp("project")).root
    return read_results(root, load_settings(root / "params.yaml"), commit="0123abcd" * 5)
