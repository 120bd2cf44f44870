"""What the policy sees, as one vector: the same code in training and at inference.

| part | length | content |
|---|---|---|
| context | CONTEXT_SIZE | the image and its default, below, normalised by the surrogate |
| objective | 5 | one-hot, target quality |
| budget | 2 | share of the traces spent, traces left (log) |
| standing | 2 | best value so far, ln of the gain expected of the most promising candidate |
| candidates | shortlist x len(CANDIDATE_FEATURES) | what the surrogate says of each setting that may be tried next |

The context: the measures of `data.probe`; the category, one-hot; of the command-line default ln bytes, ln of the errors
of SSIM and zoom SSIM, skill, ln paths, ln nodes; ln of the errors allowed against the default's. Its mean and variance
over the training images are weights of the surrogate, and travel with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.agent.candidates import CANDIDATE_FEATURES, Shortlist
from pipeline.agent.objectives import ERROR_FLOOR, error_ratio
from pipeline.core.records import CATEGORIES, OBJECTIVES, ObjectiveName
from pipeline.data.probe import MEASURE_NAMES

if TYPE_CHECKING:
    from pipeline.agent.episode import Task

Vector = NDArray[np.float32]

CONTEXT_SIZE = len(MEASURE_NAMES) + len(CATEGORIES) + 6 + 2
STATE_SIZE = CONTEXT_SIZE + len(OBJECTIVES) + 1 + 2 + 2
OBSERVATION_LIMIT = 100.0


def observation_size(shortlist: int) -> int:
    return STATE_SIZE + shortlist * len(CANDIDATE_FEATURES)


def context_of(task: Task) -> Vector:
    """float32 (CONTEXT_SIZE,), not yet normalised."""
    default, bar = task.baseline.default, task.baseline.bar
    of_default = [
        math.log(default.svg_bytes),
        math.log(1 + ERROR_FLOOR - default.ssim),
        math.log(1 + ERROR_FLOOR - default.zoom_ssim),
        default.skill,
        math.log1p(default.paths),
        math.log1p(default.nodes),
    ]
    allowed = [error_ratio(bar.ssim, default.ssim), error_ratio(bar.zoom_ssim, default.zoom_ssim)]
    category = _one_hot(CATEGORIES.index(task.logo.category), len(CATEGORIES))
    return np.concatenate([task.measures, category, of_default, allowed]).astype(np.float32)


def goal_part(name: ObjectiveName, target: float) -> Vector:
    shown = target if name == "target" else 0.0
    return np.append(_one_hot(OBJECTIVES.index(name), len(OBJECTIVES)), np.float32(shown)).astype(np.float32)


def budget_part(spent: int, max_steps: int) -> Vector:
    return np.array([spent / max_steps, math.log1p(max_steps - spent)], dtype=np.float32)


def observed(context: Vector, goal: Vector, budget: Vector, best_value: float, shortlist: Shortlist) -> Vector:
    standing = np.array([best_value, shortlist.promise], dtype=np.float32)
    whole = np.concatenate([context, goal, budget, standing, shortlist.features.ravel()])
    seen: Vector = np.clip(whole, -OBSERVATION_LIMIT, OBSERVATION_LIMIT).astype(np.float32)
    return seen


def _one_hot(index: int, length: int) -> Vector:
    vector = np.zeros(length, dtype=np.float32)
    vector[index] = 1.0
    return vector
