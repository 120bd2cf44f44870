"""A few drawn logos in folders by category, and settings so small that a training on them takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

FOLDERS = ("simple_geometric", "text_based", "gradients", "complex")


def drawn_logo(kind: str, seed: int) -> Image.Image:
    rng = np.random.default_rng([seed, FOLDERS.index(kind)])
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    if kind == "gradients":
        start, end = rng.integers(0, 255, (2, 3))
        shades = np.linspace(start, end, 40).astype(np.uint8)
        image.paste(Image.fromarray(np.tile(shades[:, None], (1, 40, 1))), (12, 12))
    elif kind == "text_based":
        draw.text(
            (4, 20),
            "".join(chr(65 + c) for c in rng.integers(0, 26, 5)),
            fill=tuple(rng.integers(0, 180, 3)),
            font_size=16,
        )
    for _ in range(6 if kind == "complex" else 1):
        x, y = (int(v) for v in rng.integers(2, 40, 2))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        side = int(rng.integers(8, 22))
        shape((x, y, x + side, y + side), fill=tuple(int(c) for c in rng.integers(0, 220, 3)))
    return image


def tiny_params(values: dict[str, Any], data: str) -> dict[str, Any]:
    values["data"] |= {"root": data, "sample_images": 20}
    values["split"] |= {"train_ratio": 0.5, "val_ratio": 0.25, "test_ratio": 0.25}
    values["tracing"]["prescale"] = {"choices": [1.0, 1.5]}  # a trace of an image three times as large takes 0.1 s
    values["train"] |= {
        "total_timesteps": 256,
        "n_envs": 4,
        "max_steps": 3,
        "table_traces": 8,
        "simulated_timesteps": 0,
        "surrogate_steps": 20,
        "shortlist": 6,
        "portfolio_images": 4,
        "portfolio_candidates": 4,
        "other_portfolio_candidates": 0,
        "eval_every_timesteps": 128,
    }
    values["train"]["ppo"] |= {"n_steps": 8, "batch_size": 16, "n_epochs": 2, "hidden_units": [16]}
    for stage in values["curriculum"]["stages"]:
        stage["retries"] = 0
    values["validation"] |= {"images_per_category": 1, "stochastic_runs": 1}
    values["evaluate"] |= {"traces": [1, 3], "bootstrap_samples": 200}
    return values


def write_logos(folder: Path) -> None:
    """Six of each kind, small: VTracer's time is most of that of a training."""
    for kind in FOLDERS:
        (folder / kind).mkdir(parents=True)
        for seed in range(6):
            drawn_logo(kind, seed).reduce(2).save(folder / kind / f"{kind}{chr(97 + seed)}.png")
