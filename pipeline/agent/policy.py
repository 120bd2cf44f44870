"""The policy: a learned acquisition function over the shortlist (Volpp et al., 2020), trained by PPO.

Each candidate's score is the surrogate's own, its promise, plus what a network makes of the candidate and of the state
of the episode. That network starts at zero, so before any training the policy prefers what the surrogate does, and
training says where that is wrong: when to be careful, when to gamble, with how many traces left.

Here is the trained policy, in NumPy; `training.policy` is the module that learns.
"""

from __future__ import annotations

from itertools import count, takewhile

import numpy as np

from pipeline.agent.candidates import CANDIDATE_FEATURES
from pipeline.agent.features import STATE_SIZE
from pipeline.agent.surrogate import Weights
from pipeline.agent.task import Vector

SHARPNESS = 4.0
"""Of the first preference for promise: half the expected gain is chosen a sixteenth as often."""

PROMISE = CANDIDATE_FEATURES.index("promise")
MAX_SHORTLIST = 256
_ACTOR, _SCORE = "mlp_extractor.actor", "mlp_extractor.score"


class Policy:
    """weights: those of the actor, by SB3's names; others are left out.

    Raises KeyError when one is missing, ValueError when one has another shape.
    """

    def __init__(self, weights: Weights) -> None:
        numbers = takewhile(lambda n: f"{_ACTOR}.{n}.weight" in weights, count(0, 2))  # tanh stands between
        names = [*(f"{_ACTOR}.{n}" for n in numbers), _SCORE]
        self.weights = {f"{name}.{kind}": weights[f"{name}.{kind}"] for name in names for kind in ("weight", "bias")}
        self._layers = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in names]
        sizes = [STATE_SIZE + len(CANDIDATE_FEATURES), *(len(bias) for _, bias in self._layers)]
        if [w.shape for w, _ in self._layers] != list(zip(sizes[1:], sizes, strict=False)) or sizes[-1] != 1:
            raise ValueError("the policy's layers do not fit together")

    def logits(self, observation: Vector) -> Vector:
        """A score for each candidate, (shortlist,), of an observation (observation_size,)."""
        candidates = observation[STATE_SIZE:].reshape(-1, len(CANDIDATE_FEATURES))
        weight, bias = self._layers[0]
        of_state = weight[:, :STATE_SIZE] @ observation[:STATE_SIZE] + bias
        hidden = candidates @ weight[:, STATE_SIZE:].T + of_state
        for weight, bias in self._layers[1:]:
            hidden = np.tanh(hidden) @ weight.T + bias
        logits: Vector = SHARPNESS * candidates[:, PROMISE] + hidden[:, 0]
        return logits
