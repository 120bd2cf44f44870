"""What a trace did to an image, as three numbers that a model can learn and every objective can be told from.

| outcome | |
|---|---|
| size | ln(bytes / default's bytes) |
| error | ln(SSIM error / default's SSIM error), error = 1.001 - SSIM |
| zoom error | the same of zoom SSIM |

All are 0 for the default itself, and lower is better. How much worse than the default something is matters little, so
what lies above `BENT_FROM` is bent towards a ceiling.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.agent.objectives import ERROR_FLOOR, Baseline, error_ratio
from pipeline.core.records import Evaluation, Failed, Gate, Lost, Scored

N_OUTCOMES = 3
SIZE, ERROR, ZOOM_ERROR = range(N_OUTCOMES)

LOWEST = -3.5
BENT_FROM = np.array([0.2, 0.4, 0.3])
BENT_OVER = np.array([0.3, 0.3, 0.2])
_BEYOND_SIZE, _BEYOND_ERROR = 0.4, 1.0  # there the bend is nearly flat, and measuring on would tell nothing

Outcome = NDArray[np.float32]


def outcome_of(evaluation: Evaluation, baseline: Baseline) -> Outcome:
    """float32 of shape (3,), bent; NaN for what was not measured. A failure counts as a picture that is lost."""
    match evaluation:
        case Scored(scores=s):
            default = baseline.default
            errors = error_ratio(s.ssim, default.ssim), error_ratio(s.zoom_ssim, default.zoom_ssim)
            raw = [_size(s.svg_bytes, baseline), *errors]
        case Lost(svg_bytes=size, ssim=float(ssim)):
            raw = [_size(size, baseline), error_ratio(ssim, baseline.default.ssim), np.nan]
        case Lost(svg_bytes=size):
            raw = [_size(size, baseline), np.nan, np.nan]
        case Failed():
            raw = [np.nan, np.inf, np.inf]
    return bent(raw).astype(np.float32)


def bent(raw: ArrayLike) -> NDArray[np.float64]:
    """shape (..., 3): as it is up to BENT_FROM, beyond it ever less; never falls. Infinities and NaN are allowed."""
    values = np.maximum(np.asarray(raw, dtype=np.float64), LOWEST)
    over = np.maximum(values - BENT_FROM, 0.0)
    bow: NDArray[np.float64] = np.minimum(values, BENT_FROM) + BENT_OVER * np.tanh(over / BENT_OVER)
    return bow


def telling_gate(baseline: Baseline) -> Gate:
    """What lies beyond it is so much worse than the default that its outcome needs no exact measure."""
    default = baseline.default
    error = (1 + ERROR_FLOOR - default.ssim) * math.exp(_BEYOND_ERROR)
    return Gate(default.svg_bytes * math.exp(_BEYOND_SIZE), 1 + ERROR_FLOOR - error)


def _size(svg_bytes: int, baseline: Baseline) -> float:
    return math.log(svg_bytes / baseline.default.svg_bytes)
