"""The policy as SB3 trains it: actor and critic. `agent.policy` is its actor as it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from pipeline.agent.candidates import CANDIDATE_FEATURES
from pipeline.agent.features import OBSERVATION_LIMIT, STATE_SIZE, observation_size
from pipeline.agent.policy import PROMISE, SHARPNESS, Policy
from pipeline.agent.task import Vector
from pipeline.training.torch_state import module_arrays


class CandidateScores(nn.Module):
    """Observations (b, observation_size) to a score for each candidate (b, shortlist), and to what the critic reads."""

    def __init__(self, shortlist: int, hidden_units: Sequence[int]) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = shortlist, hidden_units[-1]
        self._shape = (shortlist, len(CANDIDATE_FEATURES))
        self.actor = layers(STATE_SIZE + len(CANDIDATE_FEATURES), hidden_units)
        self.score = nn.Linear(hidden_units[-1], 1)
        self.critic = layers(STATE_SIZE + len(CANDIDATE_FEATURES), hidden_units)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(observations), self.forward_critic(observations)

    def forward_actor(self, observations: Tensor) -> Tensor:
        state, candidates = self._split(observations)
        seen = torch.cat([state.unsqueeze(1).expand(-1, self._shape[0], -1), candidates], -1)
        learned = self.score(self.actor(seen)).squeeze(-1)
        return cast(Tensor, SHARPNESS * candidates[..., PROMISE] + learned)

    def greedy(self, observations: Tensor) -> Tensor:
        """The scores of a fresh policy, (b, shortlist)."""
        return SHARPNESS * self._split(observations)[1][..., PROMISE]

    def forward_critic(self, observations: Tensor) -> Tensor:
        state, candidates = self._split(observations)
        return cast(Tensor, self.critic(torch.cat([state, candidates[:, 0]], -1)))

    def _split(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return observations[:, :STATE_SIZE], observations[:, STATE_SIZE:].reshape(-1, *self._shape)


class UntrainedStartPolicy(ActorCriticPolicy):
    """A policy whose actor's last layer starts at zero, so that its scores begin as those of what it corrects."""

    @property
    def last_layer(self) -> nn.Linear:
        """Of the actor."""
        raise NotImplementedError

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        nn.init.zeros_(self.last_layer.weight)
        nn.init.zeros_(self.last_layer.bias)
        optimizer: Any = self.optimizer_class
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


class CandidatePolicy(UntrainedStartPolicy):
    """hidden_units: of the actor and of the critic, layer by layer."""

    def __init__(self, *args: Any, hidden_units: Sequence[int], **kwargs: Any) -> None:
        self.hidden_units = tuple(hidden_units)
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        count = int(cast(spaces.Discrete, self.action_space).n)
        self.mlp_extractor = CandidateScores(count, self.hidden_units)  # type: ignore[assignment]

    @property
    def last_layer(self) -> nn.Linear:
        return self.scores.score

    @property
    def scores(self) -> CandidateScores:
        return cast(CandidateScores, self.mlp_extractor)


def actor_of(policy: nn.Module) -> Policy:
    """A copy of what the policy has learnt so far."""
    return Policy(module_arrays(policy, ""))


def layers(inputs: int, hidden_units: Sequence[int]) -> nn.Sequential:
    """Linear layers, each followed by tanh."""
    sizes = [inputs, *hidden_units]
    made: list[nn.Module] = []
    for number in range(len(hidden_units)):
        made += [nn.Linear(sizes[number], sizes[number + 1]), nn.Tanh()]
    return nn.Sequential(*made)


def observation_box(shortlist: int) -> spaces.Space[Vector]:
    size = observation_size(shortlist)
    return cast("spaces.Space[Vector]", spaces.Box(-OBSERVATION_LIMIT, OBSERVATION_LIMIT, (size,), np.float32))


def action_space(shortlist: int) -> spaces.Discrete:
    return spaces.Discrete(shortlist)
