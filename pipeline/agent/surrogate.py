"""A model of what any setting would do to an image, without tracing it.

A network maps an image and a setting to the mean of three outcomes (`agent.outcome`) and to a place in a small space; a
Gaussian process over these places corrects the mean by what the traces already made of the image gave. Network and
kernel are fitted together, by the likelihood of many small sets of evaluations of one training image each: a deep
kernel (Wilson et al., 2016) learned over tasks (Wistuba and Grabocka, 2021). The outcomes are independent processes, so
one that was not measured is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pipeline.agent.outcome import N_OUTCOMES
from pipeline.tracing.space import ParameterSpace

IMAGE_UNITS, UNITS, PLACE_UNITS = 64, 128, 16
ONE_HOT_UP_TO = 10  # an axis with so few values is shown value by value too: order says little of a palette's size
JITTER = 1e-4
UNMEASURED_VARIANCE = 1e6
CONTEXT_LIMIT = 5.0


class Surrogate(nn.Module):
    """`context_size`: numbers that describe an image. The normalisation of contexts is part of its weights."""

    def __init__(self, context_size: int, space: ParameterSpace) -> None:
        super().__init__()
        self._listed = [(i, len(axis.values)) for i, axis in enumerate(space.axes) if len(axis.values) <= ONE_HOT_UP_TO]
        inputs = space.size + sum(count for _, count in self._listed)
        self.context_mean: Tensor
        self.context_std: Tensor
        self._edges = [torch.tensor(space.axes[i].edges[1:-1]) for i, _ in self._listed]
        self.register_buffer("context_mean", torch.zeros(context_size))
        self.register_buffer("context_std", torch.ones(context_size))
        self.image = nn.Sequential(nn.Linear(context_size, IMAGE_UNITS), nn.SiLU())
        self.trunk = nn.Sequential(
            nn.Linear(IMAGE_UNITS + inputs, UNITS), nn.SiLU(), nn.Linear(UNITS, UNITS), nn.SiLU()
        )
        self.mean = nn.Linear(UNITS, N_OUTCOMES)
        self.place = nn.Linear(UNITS, PLACE_UNITS)
        # Logarithms, per outcome: standard deviations of the parts of the kernel and of the noise, and length scales.
        self.place_std = nn.Parameter(torch.full((N_OUTCOMES,), -1.0))
        self.setting_std = nn.Parameter(torch.full((N_OUTCOMES,), -1.5))
        self.image_std = nn.Parameter(torch.full((N_OUTCOMES,), -1.0))
        self.noise_std = nn.Parameter(torch.full((N_OUTCOMES,), -2.0))
        self.place_scale = nn.Parameter(torch.zeros(N_OUTCOMES, PLACE_UNITS))
        self.setting_scale = nn.Parameter(torch.zeros(N_OUTCOMES, inputs))

    def normalised(self, context: ArrayLike) -> Tensor:
        """Mean 0 and variance 1 over the training images, clipped to +-5."""
        raw = torch.as_tensor(np.asarray(context, dtype=np.float32))
        return ((raw - self.context_mean) / self.context_std).clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT)

    def inputs(self, points: ArrayLike) -> Tensor:
        """Points of the cube, (..., n, axes), as the network sees them."""
        raw = torch.as_tensor(np.asarray(points, dtype=np.float32))
        parts = [2 * raw - 1]
        for (axis, count), edges in zip(self._listed, self._edges, strict=True):
            value = torch.bucketize(raw[..., axis].contiguous(), edges, right=True)
            parts.append(nn.functional.one_hot(value, count).float())
        return torch.cat(parts, -1)

    def forward(self, context: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Means (..., n, 3) and places (..., n, p) of settings (..., n, i) on images (..., c)."""
        image = self.image(context).unsqueeze(-2).expand(*inputs.shape[:-1], IMAGE_UNITS)
        hidden = self.trunk(torch.cat([image, inputs], -1))
        return self.mean(hidden), self.place(hidden)

    def covariance(self, places: Tensor, inputs: Tensor, other_places: Tensor, other_inputs: Tensor) -> Tensor:
        """(..., 3, n, m) between n and m settings on the same image."""
        near = _variance(self.place_std) * _squared_exponential(places, other_places, self.place_scale)
        alike = _variance(self.setting_std) * _squared_exponential(inputs, other_inputs, self.setting_scale)
        return near + alike + _variance(self.image_std)

    def noisy(self, covariance: Tensor, outcomes: Tensor) -> Tensor:
        """With the noise of observations on the diagonal, which drowns what was not measured. outcomes: (..., n, 3)."""
        noise = _variance(self.noise_std)[..., 0] + JITTER
        unmeasured = UNMEASURED_VARIANCE * outcomes.isnan().transpose(-1, -2)
        return covariance + torch.diag_embed(noise + unmeasured)

    def prior_variance(self) -> Tensor:
        """(3, 1)."""
        return sum(
            (_variance(s)[..., 0] for s in (self.place_std, self.setting_std, self.image_std)), torch.zeros(3, 1)
        )

    def loss(self, context: Tensor, inputs: Tensor, outcomes: Tensor) -> Tensor:
        """Negative log likelihood per trace of sets of traces: (b, c), (b, n, i), (b, n, 3)."""
        mean, places = self(context, inputs)
        covariance = self.noisy(self.covariance(places, inputs, places, inputs), outcomes)
        factor = torch.linalg.cholesky(covariance)
        residual = (outcomes - mean).nan_to_num(0.0).transpose(-1, -2).unsqueeze(-1)
        white = torch.linalg.solve_triangular(factor, residual, upper=False)
        spread = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
        loss: Tensor = ((white**2).sum((-1, -2)) / 2 + spread).mean() / inputs.shape[-2]
        return loss

    def given(self, context: Tensor, points: ArrayLike, outcomes: ArrayLike) -> Posterior:
        """What is believed of an image after some traces: context (c,), points (n, axes), outcomes (n, 3)."""
        inputs = self.inputs(points)
        measured = torch.as_tensor(np.asarray(outcomes, dtype=np.float32))
        with torch.no_grad():
            mean, places = self(context, inputs)
            factor = torch.linalg.cholesky(self.noisy(self.covariance(places, inputs, places, inputs), measured))
            residual = (measured - mean).nan_to_num(0.0).T.unsqueeze(-1)
            white = torch.linalg.solve_triangular(factor, residual, upper=False)
        return Posterior(self, context, inputs, places, factor, white)


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """The surrogate of one image after its traces so far."""

    surrogate: Surrogate
    context: Tensor
    inputs: Tensor
    places: Tensor
    factor: Tensor
    white: Tensor

    def __call__(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation, each (n, 3), of the outcomes of settings (n, axes)."""
        model = self.surrogate
        inputs = model.inputs(points)
        with torch.no_grad():
            mean, places = model(self.context, inputs)
            towards = torch.linalg.solve_triangular(
                self.factor, model.covariance(self.places, self.inputs, places, inputs), upper=False
            )
            mean = mean + (towards.transpose(-1, -2) @ self.white).squeeze(-1).T
            variance = (model.prior_variance() - (towards**2).sum(-2)).clamp(min=1e-6).T
        return mean.numpy().astype(np.float64), variance.sqrt().numpy().astype(np.float64)


def _variance(log_std: Tensor) -> Tensor:
    return torch.exp(2 * log_std)[:, None, None]


def _squared_exponential(left: Tensor, right: Tensor, log_scale: Tensor) -> Tensor:
    """exp(-distance^2 / 2) for each outcome's length scales: (..., n, d), (..., m, d) to (..., 3, n, m)."""
    scale = torch.exp(-log_scale).unsqueeze(-2)
    left, right = left.unsqueeze(-3) * scale, right.unsqueeze(-3) * scale
    squared = (left**2).sum(-1).unsqueeze(-1) + (right**2).sum(-1).unsqueeze(-2) - 2 * left @ right.transpose(-1, -2)
    return torch.exp(-squared.clamp(min=0) / 2)
