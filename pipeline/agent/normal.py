"""The standard normal distribution, in NumPy: SciPy, at 100 MB, would be needed for nothing else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_FAR = -20.0  # beyond it the asymptotic series is exact enough
_LEAST = 1e-99  # less than the distribution is there


def density(z: Values) -> Values:
    values: Values = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return values


def cdf(z: Values) -> Values:
    """P(x <= z), to the last digits where it is small too."""
    halves = np.fromiter(map(math.erfc, (-z * math.sqrt(0.5)).ravel().tolist()), np.float64, z.size)
    values: Values = halves.reshape(z.shape) / 2
    return values


def log_cdf(z: Values) -> Values:
    """ln P(x <= z), relative error below 1e-9; far out by its asymptotic series (Abramowitz and Stegun, 26.2.12)."""
    near, far = np.maximum(z, _FAR), np.minimum(z, _FAR)
    inverse = 1 / far**2
    series = 1 - inverse * (1 - 3 * inverse * (1 - 5 * inverse * (1 - 7 * inverse)))
    tail = np.log(series) - far**2 / 2 - np.log(-far * math.sqrt(2 * math.pi))
    below = cdf(-np.abs(near))
    values: Values = np.where(z < _FAR, tail, np.where(near > 0, np.log1p(-below), np.log(np.maximum(below, _LEAST))))
    return values
