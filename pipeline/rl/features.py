"""What the policy sees, as one vector: the same code in training and at inference.

| part | length | content |
|---|---|---|
| image | len(MEASURE_NAMES) | the measures of `data.probe` |
| category | 4 | one-hot |
| goal | 5 | objective one-hot, target quality |
| default | 6 | what the command-line default gave: ln bytes, SSIM error, zoom error, skill, ln paths, ln nodes |
| budget | 3 | share of the traces spent, traces left (log), whether an opening is due |
| anchor | size of the space | the setting that the next action moves away from |
| best | 4 | best value so far; its SSIM and zoom SSIM against the default's; whether anything beat the default |
| last | size of the space + 5 | the last setting, its graded value, ln bytes ratio, SSIM and zoom difference, failed |

Unbounded parts are clipped by the normaliser (`Normaliser`), which is fitted in training and travels with the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.records import CATEGORIES, OBJECTIVES, Category, ObjectiveName, Scores

Vector = NDArray[np.float32]

SCORE_SCALE = 100.0  # SSIM differences that matter are about 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One trace that was tried. unit: its place in the space. graded: its value, graded where not allowed.

    A None was not measured; without a size, it failed.
    """

    unit: Vector
    graded: float = 0.0
    svg_bytes: int | None = None
    ssim: float | None = None
    zoom_ssim: float | None = None


def observation_size(n_measures: int, space_size: int) -> int:
    return n_measures + len(CATEGORIES) + len(OBJECTIVES) + 1 + 6 + 3 + space_size + 4 + space_size + 5


def image_part(measures: Vector, category: Category) -> Vector:
    return np.concatenate([measures, _one_hot(CATEGORIES.index(category), len(CATEGORIES))]).astype(np.float32)


def goal_part(name: ObjectiveName, target: float) -> Vector:
    shown = target if name == "target" else 0.0
    return np.append(_one_hot(OBJECTIVES.index(name), len(OBJECTIVES)), np.float32(shown)).astype(np.float32)


def default_part(default: Scores) -> Vector:
    return np.array(
        [
            math.log(default.svg_bytes),
            SCORE_SCALE * (1 - default.ssim),
            SCORE_SCALE * (1 - default.zoom_ssim),
            default.skill,
            math.log1p(default.paths),
            math.log1p(default.nodes),
        ],
        dtype=np.float32,
    )


def budget_part(spent: int, max_steps: int, opening_due: bool) -> Vector:
    return np.array([spent / max_steps, math.log1p(max_steps - spent), float(opening_due)], dtype=np.float32)


def best_part(value: float, scores: Scores | None, default: Scores) -> Vector:
    if scores is None:
        return np.zeros(4, dtype=np.float32)
    looks = SCORE_SCALE * (scores.ssim - default.ssim), SCORE_SCALE * (scores.zoom_ssim - default.zoom_ssim)
    return np.array([value, *looks, 1.0], dtype=np.float32)


def last_part(attempt: Attempt | None, space_size: int, default: Scores) -> Vector:
    """Zeros before the first trace and for what was not measured; after a failure only the setting and the flag."""
    if attempt is None:
        return np.zeros(space_size + 5, dtype=np.float32)
    if attempt.svg_bytes is None:
        return np.concatenate([attempt.unit, [0, 0, 0, 0, 1]]).astype(np.float32)
    size = math.log(attempt.svg_bytes / default.svg_bytes)
    ssim = 0.0 if attempt.ssim is None else SCORE_SCALE * (attempt.ssim - default.ssim)
    zoom = 0.0 if attempt.zoom_ssim is None else SCORE_SCALE * (attempt.zoom_ssim - default.zoom_ssim)
    return np.concatenate([attempt.unit, [np.clip(attempt.graded, -3, 3), size, ssim, zoom, 0]]).astype(np.float32)


def _one_hot(index: int, length: int) -> Vector:
    vector = np.zeros(length, dtype=np.float32)
    vector[index] = 1.0
    return vector


@dataclass(frozen=True, slots=True, eq=False)
class Normaliser:
    """Brings each feature to mean 0 and variance 1 as seen in training, clipped to +-10."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    CLIP = 10.0
    EPSILON = 1e-8

    def __call__(self, observation: Vector) -> Vector:
        scaled = (observation - self.mean) / np.sqrt(self.variance + self.EPSILON)
        return np.clip(scaled, -self.CLIP, self.CLIP).astype(np.float32)
