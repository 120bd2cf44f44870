"""The surrogate as a torch module: what is fitted. `agent.surrogate` is the same model as it is used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.agent.outcome import N_OUTCOMES
from pipeline.agent.surrogate import IMAGE_UNITS, JITTER, PLACE_UNITS, UNITS, UNMEASURED_VARIANCE, input_size
from pipeline.tracing.space import ParameterSpace


class SurrogateNetwork(nn.Module):
    """Its weights and buffers have the names and shapes of `agent.surrogate.weight_shapes`."""

    def __init__(self, context_size: int, space: ParameterSpace) -> None:
        super().__init__()
        inputs = input_size(space)
        self.context_mean: Tensor
        self.context_std: Tensor
        self.register_buffer("context_mean", torch.zeros(context_size))
        self.register_buffer("context_std", torch.ones(context_size))
        self.image = nn.Sequential(nn.Linear(context_size, IMAGE_UNITS), nn.SiLU())
        self.trunk = nn.Sequential(
            nn.Linear(IMAGE_UNITS + inputs, UNITS), nn.SiLU(), nn.Linear(UNITS, UNITS), nn.SiLU()
        )
        self.mean = nn.Linear(UNITS, N_OUTCOMES)
        self.place = nn.Linear(UNITS, PLACE_UNITS)
        self.place_std = nn.Parameter(torch.full((N_OUTCOMES,), -1.0))
        self.setting_std = nn.Parameter(torch.full((N_OUTCOMES,), -1.5))
        self.image_std = nn.Parameter(torch.full((N_OUTCOMES,), -1.0))
        self.noise_std = nn.Parameter(torch.full((N_OUTCOMES,), -2.0))
        self.place_scale = nn.Parameter(torch.zeros(N_OUTCOMES, PLACE_UNITS))
        self.setting_scale = nn.Parameter(torch.zeros(N_OUTCOMES, inputs))

    def forward(self, context: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Means (b, n, 3) and covariances without noise (b, 3, n, n) of settings (b, n, i) on images (b, c)."""
        image = self.image(context).unsqueeze(-2).expand(*inputs.shape[:-1], IMAGE_UNITS)
        hidden = self.trunk(torch.cat([image, inputs], -1))
        near = _variance(self.place_std) * _squared_exponential(self.place(hidden), self.place_scale)
        alike = _variance(self.setting_std) * _squared_exponential(inputs, self.setting_scale)
        return self.mean(hidden), near + alike + _variance(self.image_std)

    def loss(self, context: Tensor, inputs: Tensor, outcomes: Tensor) -> Tensor:
        """Negative log likelihood per trace of sets of traces: (b, c), (b, n, i), (b, n, 3)."""
        mean, covariance = self(context, inputs)
        noise = _variance(self.noise_std)[..., 0] + JITTER
        unmeasured = UNMEASURED_VARIANCE * outcomes.isnan().transpose(-1, -2)
        factor = torch.linalg.cholesky(covariance + torch.diag_embed(noise + unmeasured))
        residual = (outcomes - mean).nan_to_num(0.0).transpose(-1, -2).unsqueeze(-1)
        white = torch.linalg.solve_triangular(factor, residual, upper=False)
        spread = torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(-1)
        loss: Tensor = ((white**2).sum((-1, -2)) / 2 + spread).mean() / inputs.shape[-2]
        return loss


def _variance(log_std: Tensor) -> Tensor:
    return torch.exp(2 * log_std)[:, None, None]


def _squared_exponential(at: Tensor, log_scale: Tensor) -> Tensor:
    """exp(-distance^2 / 2) for each outcome's length scales: (b, n, d) to (b, 3, n, n)."""
    scaled = at.unsqueeze(-3) * torch.exp(-log_scale).unsqueeze(-2)
    length = (scaled**2).sum(-1)
    squared = length.unsqueeze(-1) + length.unsqueeze(-2) - 2 * scaled @ scaled.transpose(-1, -2)
    return torch.exp(-squared.clamp(min=0) / 2)
