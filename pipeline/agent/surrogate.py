"""A model of what any setting would do to an image, without tracing it.

A network maps an image and a setting to the mean of three outcomes (`agent.outcome`) and to a place in a small space; a
Gaussian process over these places corrects the mean by what the traces already made of the image gave. Network and
kernel are fitted together, by the likelihood of many small sets of evaluations of one training image each: a deep
kernel (Wilson et al., 2016) learned over tasks (Wistuba and Grabocka, 2021). The outcomes are independent processes, so
one that was not measured is left out.

Here is what a fitted surrogate foresees, in NumPy; `training.surrogate_network` is the module that is fitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.agent.outcome import N_OUTCOMES
from pipeline.agent.task import Vector
from pipeline.tracing.space import ParameterSpace

IMAGE_UNITS, UNITS, PLACE_UNITS = 64, 128, 16
ONE_HOT_UP_TO = 10  # an axis with so few values is shown value by value too: order says little of a palette's size
JITTER = 1e-4
UNMEASURED_VARIANCE = 1e6
CONTEXT_LIMIT = 5.0
LEAST_VARIANCE = 1e-6

Weights = Mapping[str, NDArray[np.float32]]
Values = NDArray[np.float64]


def normalised(context: NDArray[np.float32], mean: Vector, std: Vector) -> NDArray[np.float32]:
    """Contexts (..., c) with mean 0 and variance 1 over the training images, clipped to +-5."""
    shown: NDArray[np.float32] = np.clip((context - mean) / std, -CONTEXT_LIMIT, CONTEXT_LIMIT)
    return shown


def inputs_of(space: ParameterSpace, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points of the cube, (n, axes), as the network sees them: float32 (n, input_size)."""
    one_hot = [np.eye(count, dtype=np.float32)[space.cells_of(axis, points)] for axis, count in _listed(space)]
    return np.concatenate([2 * points - 1, *one_hot], axis=1)


def input_size(space: ParameterSpace) -> int:
    return space.size + sum(count for _, count in _listed(space))


def _listed(space: ParameterSpace) -> list[tuple[int, int]]:
    """Number and count of values of each axis that is shown value by value."""
    return [(i, len(axis.values)) for i, axis in enumerate(space.axes) if len(axis.values) <= ONE_HOT_UP_TO]


def weight_shapes(context_size: int, space: ParameterSpace) -> dict[str, tuple[int, ...]]:
    """Of the network, then of the kernel: logarithms of the standard deviations of its parts and of the noise, and of
    length scales, by outcome.
    """
    inputs = input_size(space)
    layers: dict[str, tuple[int, ...]] = {
        "image.0": (IMAGE_UNITS, context_size),
        "trunk.0": (UNITS, IMAGE_UNITS + inputs),
        "trunk.2": (UNITS, UNITS),
        "mean": (N_OUTCOMES, UNITS),
        "place": (PLACE_UNITS, UNITS),
    }
    return (
        {"context_mean": (context_size,), "context_std": (context_size,)}
        | {f"{name}.weight": shape for name, shape in layers.items()}
        | {f"{name}.bias": shape[:1] for name, shape in layers.items()}
        | {f"{part}_std": (N_OUTCOMES,) for part in ("place", "setting", "image", "noise")}
        | {"place_scale": (N_OUTCOMES, PLACE_UNITS), "setting_scale": (N_OUTCOMES, inputs)}
    )


class Surrogate:
    """context_size: numbers that describe an image. weights: named as in `weight_shapes`, no more and no fewer.

    Raises ValueError when a weight is missing or has another shape.
    """

    def __init__(self, context_size: int, space: ParameterSpace, weights: Weights) -> None:
        expected = weight_shapes(context_size, space)
        if different := [n for n in expected.keys() | weights if _shape(weights.get(n)) != expected.get(n)]:
            raise ValueError(f"the surrogate's {min(different)} is missing, of another shape, or none of its weights")
        self.space, self.weights = space, weights
        self._variance = {part: _exponential(2 * weights[f"{part}_std"]) for part in ("place", "setting", "image")}
        self._noise = _exponential(2 * weights["noise_std"]) + JITTER
        self._precision = {part: _exponential(-2 * weights[f"{part}_scale"]) for part in ("place", "setting")}

    def normalised(self, context: Vector) -> Vector:
        return normalised(context, self.weights["context_mean"], self.weights["context_std"])

    def at(self, context: Vector, points: NDArray[np.float32]) -> Settings:
        """Settings (n, axes) on an image, whose context is normalised."""
        w, inputs = self.weights, inputs_of(self.space, points)
        image = _silu(w["image.0.weight"] @ context + w["image.0.bias"])
        of_image = w["trunk.0.weight"][:, :IMAGE_UNITS] @ image + w["trunk.0.bias"]
        hidden = _silu(inputs @ w["trunk.0.weight"][:, IMAGE_UNITS:].T + of_image)
        hidden = _silu(hidden @ w["trunk.2.weight"].T + w["trunk.2.bias"])
        mean, places = (hidden @ w[f"{name}.weight"].T + w[f"{name}.bias"] for name in ("mean", "place"))
        return Settings(*(values.astype(np.float64) for values in (mean, places, inputs)))

    def covariance(self, left: Settings, right: Settings) -> Values:
        """(3, n, m) between n and m settings on the same image."""
        near = _squared_exponential(left.places, right.places, self._precision["place"])
        alike = _squared_exponential(left.inputs, right.inputs, self._precision["setting"])
        of_place, of_setting, of_image = (v[:, np.newaxis, np.newaxis] for v in self._variance.values())
        return of_place * near + of_setting * alike + of_image

    def given(self, context: Vector, points: NDArray[np.float32], outcomes: NDArray[np.float32]) -> Posterior:
        """What is believed of an image after some traces: context (c,), points (n, axes), outcomes (n, 3).

        The noise of observations drowns what was not measured.
        """
        seen = self.at(context, points)
        noise = self._noise[:, np.newaxis] + UNMEASURED_VARIANCE * np.isnan(outcomes).T
        factor = np.linalg.cholesky(self.covariance(seen, seen) + noise[..., np.newaxis] * np.eye(len(points)))
        whitening = np.linalg.inv(factor)
        residual = np.nan_to_num(outcomes - seen.mean).T[..., np.newaxis]
        return Posterior(self, context, seen, whitening, whitening @ residual)

    @property
    def prior_variance(self) -> Values:
        """(3,)."""
        return self._variance["place"] + self._variance["setting"] + self._variance["image"]


@dataclass(frozen=True, slots=True, eq=False)
class Settings:
    """What the network says of n settings. mean: of their outcomes, (n, 3). places, inputs: (n, d)."""

    mean: Values
    places: Values
    inputs: Values


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """The surrogate of one image after its traces so far. whitening: inverse of the covariance's Cholesky factor."""

    surrogate: Surrogate
    context: Vector
    seen: Settings
    whitening: Values
    white: Values

    def __call__(self, points: NDArray[np.float32]) -> tuple[Values, Values]:
        """Mean and standard deviation, each (n, 3), of the outcomes of settings (n, axes)."""
        asked = self.surrogate.at(self.context, points)
        towards = self.whitening @ self.surrogate.covariance(self.seen, asked)
        mean = asked.mean + (towards * self.white).sum(axis=1).T
        variance = self.surrogate.prior_variance[:, np.newaxis] - (towards**2).sum(axis=1)
        return mean, np.sqrt(np.maximum(variance, LEAST_VARIANCE)).T


def _shape(weight: NDArray[Any] | None) -> tuple[int, ...] | None:
    return None if weight is None else weight.shape


def _exponential(logs: NDArray[np.float32]) -> Values:
    values: Values = np.exp(logs.astype(np.float64))
    return values


def _silu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x times its logistic function. The bound keeps the exponential finite."""
    activated: NDArray[np.float32] = x / (1 + np.exp(np.minimum(-x, np.float32(80))))
    return activated


def _squared_exponential(left: Values, right: Values, precision: Values) -> Values:
    """exp(-distance^2 / 2) for each outcome's precisions (3, d), 1 / length scale^2: (n, d), (m, d) to (3, n, m)."""
    outcomes, size = precision.shape
    weighted = (left * precision[:, np.newaxis]).reshape(-1, size)
    lengths = [(precision @ (points**2).T) / 2 for points in (left, right)]
    products = (weighted @ right.T).reshape(outcomes, len(left), len(right))
    halves = products - lengths[0][..., np.newaxis] - lengths[1][:, np.newaxis]
    kernel: Values = np.exp(np.minimum(halves, 0.0))
    return kernel
