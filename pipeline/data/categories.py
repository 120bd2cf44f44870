"""Which category an image belongs to: by its folder, or from its measures.

The weights beside this file are fitted by `python -m benchmarks.bench_categories --fit`.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import CATEGORIES, Category
from pipeline.data.probe import Measures

CLIP = 2.0
"""Standard deviations beyond which a measure says no more: what is rarer was not among the logos it was fitted on."""


def category_of_folder(path: PurePath, folders: dict[str, Category]) -> Category | None:
    """The category that the nearest folder above a relative path stands for, if any does."""
    for name in reversed(path.parts[:-1]):
        if name in folders:
            return folders[name]
    return None


def categorise(measures: Measures) -> tuple[Category, float]:
    """The likeliest category and its probability, 0.25 to 1."""
    probabilities = category_probabilities(measures)
    best = int(probabilities.argmax())
    return CATEGORIES[best], float(probabilities[best])


def category_probabilities(measures: Measures) -> NDArray[np.float64]:
    """One probability per category, in the order of CATEGORIES."""
    names, mean, scale, weights, bias = _model()
    values = np.array([getattr(measures, name) for name in names])
    logits = weights @ np.clip((values - mean) / scale, -CLIP, CLIP) + bias
    shares = np.exp(logits - logits.max())
    probabilities: NDArray[np.float64] = shares / shares.sum()
    return probabilities


Array = NDArray[np.float64]


@cache
def _model() -> tuple[list[str], Array, Array, Array, Array]:
    """Multinomial logistic regression: names of measures, their mean and scale, weights (4, n), bias (4,)."""
    content = json.loads(files("pipeline.data").joinpath("categories.json").read_text(encoding="utf-8"))
    mean, scale, bias = (np.array(content[key]) for key in ("mean", "scale", "bias"))
    weights = np.array([content["weights"][category] for category in CATEGORIES])
    return content["measures"], mean, scale, weights, bias
