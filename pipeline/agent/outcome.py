"""What a trace did to an image, as three numbers that a model can learn and every objective can be told from.

| outcome | |
|---|---|
| size | ln(bytes / default's bytes) |
| error | ln(error / default's error), error = delta + ERROR_FLOOR |
| damage | ln(damage / VISIBLE_DAMAGE), 0 where it begins to be seen |

Size and error are 0 for the default itself; lower is better. How bad a bad picture is matters little, so what lies
above `BENT_FROM` is bent towards a ceiling.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.agent.objectives import error_ratio
from pipeline.core.records import VISIBLE_DAMAGE, Evaluation, Failed, Gate, Pruned, Scored, Scores

N_OUTCOMES = 3
SIZE, ERROR, DAMAGE = range(N_OUTCOMES)

LOWEST = -3.5
BENT_FROM = np.array([0.4, 0.4, 4.0])
BENT_OVER = np.array([0.3, 0.3, 1.0])
_BEYOND_SIZE, _BEYOND_DAMAGE = 0.9, 5.6  # there the bend is nearly flat, and measuring on would tell nothing

Outcome = NDArray[np.float32]


def outcome_of(evaluation: Evaluation, default: Scores) -> Outcome:
    """float32 of shape (3,), bent; NaN for what was not measured. A failure counts as a picture that is lost."""
    match evaluation:
        case Scored(scores=s):
            raw = [_size(s.svg_bytes, default), error_ratio(s.delta, default.delta), _log_damage(s.damage)]
        case Pruned(svg_bytes=size, damage=float(damage)):
            raw = [_size(size, default), np.nan, _log_damage(damage)]
        case Pruned(svg_bytes=size):
            raw = [_size(size, default), np.nan, np.nan]
        case Failed():
            raw = [np.nan, np.inf, np.inf]
    return soft_clip(raw).astype(np.float32)


def default_outcome(default: Scores) -> Outcome:
    """That of the default, known before any trace is counted: float32 (3,)."""
    return soft_clip([0.0, 0.0, _log_damage(default.damage)]).astype(np.float32)


def soft_clip(raw: ArrayLike) -> NDArray[np.float64]:
    """shape (..., 3): as it is up to BENT_FROM, beyond it ever less; never falls. Infinities and NaN are allowed."""
    values = np.maximum(np.asarray(raw, dtype=np.float64), LOWEST)
    over = np.maximum(values - BENT_FROM, 0.0)
    bow: NDArray[np.float64] = np.minimum(values, BENT_FROM) + BENT_OVER * np.tanh(over / BENT_OVER)
    return bow


def informative_gate(default: Scores) -> Gate:
    """What lies beyond it is so bad that its outcome needs no exact measure."""
    return Gate(default.svg_bytes * math.exp(_BEYOND_SIZE), VISIBLE_DAMAGE * math.exp(_BEYOND_DAMAGE))


def _size(svg_bytes: int, default: Scores) -> float:
    return math.log(svg_bytes / default.svg_bytes)


def _log_damage(damage: float) -> float:
    return math.log(damage / VISIBLE_DAMAGE) if damage > 0 else LOWEST
