"""What the policy sees, as one vector: the same code in training and at inference.

| part | length | content |
|---|---|---|
| context | CONTEXT_SIZE | the image and its default, below, normalised by the surrogate |
| objective | 6 | one-hot, ln of the damage allowed |
| budget | 2 | share of the traces spent, traces left (log) |
| standing | 2 | best value so far, ln of the gain expected of the most promising candidate |
| candidates | shortlist x len(CANDIDATE_FEATURES) | what the surrogate says of each setting that may be tried next |

The context: the measures of `data.probe`; the category, one-hot; of the fair default ln bytes, ln of the mean
colour error, ln damage, ln paths, ln nodes, ln of what the minifier left of the bytes. Its mean and variance over the
training images are weights of the surrogate, and travel with it.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.agent.candidates import CANDIDATE_FEATURES, Shortlist
from pipeline.agent.objectives import ERROR_FLOOR
from pipeline.agent.outcome import DAMAGE, default_outcome
from pipeline.agent.task import Task, Vector
from pipeline.core.records import CATEGORIES, OBJECTIVES, VISIBLE_DAMAGE, ObjectiveName
from pipeline.data.probe import MEASURE_NAMES

CONTEXT_SIZE = len(MEASURE_NAMES) + len(CATEGORIES) + 6
STATE_SIZE = CONTEXT_SIZE + len(OBJECTIVES) + 1 + 2 + 2
OBSERVATION_LIMIT = 100.0


def observation_size(shortlist: int) -> int:
    return STATE_SIZE + shortlist * len(CANDIDATE_FEATURES)


def context_of(task: Task) -> Vector:
    """float32 (CONTEXT_SIZE,), not yet normalised."""
    default = task.scores
    of_default = [
        math.log(default.svg_bytes),
        math.log(default.delta + ERROR_FLOOR),
        float(default_outcome(default)[DAMAGE]),
        math.log1p(default.paths),
        math.log1p(default.nodes),
        math.log(default.svg_bytes / default.traced_bytes),
    ]
    category = _one_hot(CATEGORIES.index(task.logo.category), len(CATEGORIES))
    return np.concatenate([task.measures, category, of_default]).astype(np.float32)


def goal_part(name: ObjectiveName, max_damage: float) -> Vector:
    shown = math.log(max_damage / VISIBLE_DAMAGE) if name == "target" else 0.0
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
