"""How well images are categorised from their pixels, by cross-validation on sorted folders; prints JSON.

    python -m benchmarks.bench_categories          accuracy, confusion, calibration
    python -m benchmarks.bench_categories --fit    also refits pipeline/data/categories.json on all of it

The images are those below TRACEWRIGHT_LOGOS, or ../shared/logos, in the folders that params.yaml names. All images
of one brand are in one fold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.logos import logos_folder
from pipeline.core.files import write_text
from pipeline.core.records import CATEGORIES
from pipeline.data.catalogue import CatalogueEntry, build_catalogue
from pipeline.data.categories import CLIP
from pipeline.settings.params import load_settings

MEASURES = (
    "log_content_aspect",
    "entropy",
    "log_outline",
    "edge_density",
    "stroke",
    "noise",
    "gradient_strength",
    "log_main_colours",
    "top_colours_ratio",
)
RIDGE = 0.5
FOLDS = 5
REPEATS = 4

Array = NDArray[np.float64]


def fit(values: Array, labels: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Multinomial logistic regression with a ridge, by Newton's method; all categories weigh the same.

    values: (n, m) measures. Returns mean (m,), scale (m,) and weights (categories, m + 1), the bias last.
    """
    mean, scale = values.mean(axis=0), values.std(axis=0)
    inputs = _inputs(values, mean, scale)
    k, m = len(CATEGORIES), inputs.shape[1]
    target = np.eye(k)[labels]
    weight = (len(labels) / k / np.maximum(target.sum(axis=0), 1))[labels]
    penalty = np.full((k, m), RIDGE)
    penalty[:, -1] = 1e-3
    weights = np.zeros((k, m))
    for _ in range(30):
        p = _softmax(inputs @ weights.T)
        gradient = ((p - target) * weight[:, None]).T @ inputs + penalty * weights
        hessian = np.diag(penalty.ravel())
        for a in range(k):
            for b in range(k):
                curve = weight * p[:, a] * ((a == b) - p[:, b])
                hessian[a * m : a * m + m, b * m : b * m + m] += (inputs * curve[:, None]).T @ inputs
        weights -= np.linalg.solve(hessian, gradient.ravel()).reshape(k, m)
    return mean, scale, weights


def predict(model: tuple[Array, Array, Array], values: Array) -> Array:
    """(n, categories) probabilities."""
    mean, scale, weights = model
    return _softmax(_inputs(values, mean, scale) @ weights.T)


def _inputs(values: Array, mean: Array, scale: Array) -> Array:
    clipped = np.clip((values - mean) / scale, -CLIP, CLIP)
    return np.column_stack([clipped, np.ones(len(values))])


def _softmax(logits: Array) -> Array:
    shares: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = shares / shares.sum(axis=1, keepdims=True)
    return result


def cross_validate(values: Array, labels: NDArray[np.int64], brands: list[str]) -> Array:
    """(REPEATS, n, categories) probabilities, each from a model that saw no image of the same brand."""
    names = sorted(set(brands))
    result = np.zeros((REPEATS, len(labels), len(CATEGORIES)))
    for repeat in range(REPEATS):
        fold_of = dict(zip(names, np.random.default_rng(repeat).permutation(len(names)) % FOLDS, strict=True))
        folds = np.array([fold_of[brand] for brand in brands])
        for fold in range(FOLDS):
            held = folds == fold
            result[repeat, held] = predict(fit(values[~held], labels[~held]), values[held])
    return result


def judge(probabilities: Array, labels: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy with its spread over repeats, the confusion matrix of the first, and confidence against truth."""
    chosen = probabilities.argmax(axis=2)
    hits = chosen == labels
    confidence = probabilities.max(axis=2)
    confusion = np.zeros((len(CATEGORIES), len(CATEGORIES)), dtype=int)
    np.add.at(confusion, (labels, chosen[0]), 1)
    calibration = [
        {"confidence": round(float(confidence[at].mean()), 3), "accuracy": round(float(hits[at].mean()), 3)}
        for low, high in ((0.25, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01))
        if (at := (confidence >= low) & (confidence < high)).any()
    ]
    return {
        "images": len(labels),
        "accuracy": round(float(hits.mean()), 4),
        "accuracy_std": round(float(hits.mean(axis=1).std()), 4),
        "recall": {c: round(float(hits[:, labels == n].mean()), 3) for n, c in enumerate(CATEGORIES)},
        "confusion": {c: dict(zip(CATEGORIES, confusion[n].tolist(), strict=True)) for n, c in enumerate(CATEGORIES)},
        "calibration": calibration,
    }


def write_model(model: tuple[Array, Array, Array], path: Path) -> None:
    mean, scale, weights = model
    content = {
        "measures": list(MEASURES),
        "mean": mean.round(6).tolist(),
        "scale": scale.round(6).tolist(),
        "bias": weights[:, -1].round(6).tolist(),
        "weights": dict(zip(CATEGORIES, weights[:, :-1].round(6).tolist(), strict=True)),
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    settings = load_settings(root / "params.yaml").data.model_copy(update={"root": str(logos_folder())})
    sorted_ones: list[CatalogueEntry] = [
        entry for entry in build_catalogue(settings, root).entries if entry.category_source == "folder"
    ]
    values = np.array([[getattr(entry.measures, name) for name in MEASURES] for entry in sorted_ones])
    labels = np.array([CATEGORIES.index(entry.category) for entry in sorted_ones])
    brands = [entry.brand or entry.path for entry in sorted_ones]
    print(json.dumps(judge(cross_validate(values, labels, brands), labels), indent=2))
    if "--fit" in sys.argv[1:]:
        write_model(fit(values, labels), root / "pipeline/data/categories.json")


if __name__ == "__main__":
    main()
