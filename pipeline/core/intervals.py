"""Means with the uncertainty that comes from the choice of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence limits."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)

    def as_ratio(self) -> Interval:
        """A gain in natural log units as a ratio to the default: exp(-gain), limits in rising order."""
        mean, low, high = np.exp([-self.mean, -self.high, -self.low])
        return Interval(float(mean), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Percentile bootstrap over images (Efron 1979). samples: resamples. confidence: 0 to 1, two-sided."""

    samples: int
    confidence: float
    seed: int = 0

    def mean(self, values: Sequence[float] | NDArray[np.float64]) -> Interval:
        """Interval of the mean; a single value has no spread to show. Raises ValueError when there is none."""
        array = np.asarray(values, dtype=np.float64)
        if array.size == 0:
            raise ValueError("the mean of no values does not exist")
        rng = np.random.default_rng(self.seed)
        means = array[rng.integers(array.size, size=(self.samples, array.size))].mean(axis=1)
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(means, [tail, 1 - tail])
        return Interval(float(array.mean()), float(low), float(high))


Direction = Literal["improving", "steady", "declining", "unknown"]


@dataclass(frozen=True, slots=True)
class Trend:
    """Which way a series goes. slope and its limits: per 1,000 timesteps; None when there were too few points."""

    direction: Direction
    slope: float | None
    low: float | None
    high: float | None


def trend(timesteps: Sequence[float], values: Sequence[float], confidence: float) -> Trend:
    """Theil-Sen slope with its confidence limits (Sen 1968): the direction counts only when they exclude zero.

    Fewer than four points say nothing ("unknown").
    """
    if len(values) < 4:
        return Trend("unknown", None, None, None)
    from scipy.stats import theilslopes  # seconds to import

    slope, _, low, high = theilslopes(values, np.asarray(timesteps) / 1000.0, confidence)
    direction: Direction = "improving" if low > 0 else "declining" if high < 0 else "steady"
    return Trend(direction, float(slope), float(low), float(high))
