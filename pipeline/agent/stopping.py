"""When to stop: after each trace, whether one more is worth its price.

Without training, a search stops when the gain expected of the most promising candidate is below the price of a trace.
That expectation is too high, the more so the longer a search lasts: hundreds of candidates are compared, and the best
of them is often the one that the surrogate is most wrong about. A small network, trained by PPO, corrects it. It starts
at zero, so before any training the rule is the plain one.

Here is the trained rule, in NumPy; `training.stopping` is what learns it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pipeline.agent.candidates import CANDIDATE_FEATURES
from pipeline.agent.episode import Episode
from pipeline.agent.policy import SHARPNESS
from pipeline.agent.surrogate import Weights
from pipeline.agent.task import Vector

Traces = int | Literal["auto"]
"""How many traces are spent on an image; "auto": until one more is not worth its price, at most AUTO_TRACES."""

AUTO_TRACES = 32
"""The most traces of a search that decides for itself when to stop."""

TRACE_PRICE = 0.01

GAIN_LIMIT = 1.0
"""Of one trace, where stopping is judged: rare leaps in the value of damage would drown all else."""

STOP_FEATURES = (
    "surplus",  # ln of the gain expected of the most promising candidate, against the price of a trace
    "promise",  # ln of that gain
    "gain",  # the candidate's: mean of the gain over the best so far
    "spread",  # its standard deviation
    "feasible",  # ln of the probability that the picture is allowed
    "distance",  # to the best so far, over the axes
    "spent",  # share of the traces
    "sound",  # 1 where what would be taken now shows no more damage than allowed
    "waited",  # ln of 1 + the traces since the latest gain
    "latest",  # the latest trace's gain, at most 1
    "recent",  # that of the latest four, at most 1
)
SURPLUS = STOP_FEATURES.index("surplus")
_OF_CANDIDATE = [CANDIDATE_FEATURES.index(name) for name in ("gain", "spread", "feasible", "distance")]
_RECENT = 4
_LAYERS = ("scores.actor.0", "scores.actor.2", "scores.actor.4")


def stop_observation(episode: Episode, price: float) -> Vector:
    """STOP_FEATURES of an episode that is not done, float32. price: of one trace, in units of the value."""
    shortlist, gains = episode.shortlist, episode.gains
    improved = [number for number, gain in enumerate(gains, 1) if gain > 0]
    damage = (episode.best.scores if episode.best else episode.task.scores).damage
    return np.array(
        [
            shortlist.promise - math.log(price),
            shortlist.promise,
            *shortlist.features[0, _OF_CANDIDATE],
            episode.spent / AUTO_TRACES,
            damage <= episode.objective.limit(episode.task.scores),
            math.log1p(episode.spent - (improved[-1] if improved else 0)),
            min(sum(gains[-1:]), 1.0),
            min(sum(gains[-_RECENT:]), 1.0),
        ],
        dtype=np.float32,
    )


class StoppingRule:
    """weights: by the names of `training.stopping.StopPolicy`; those of the critic are left out.

    Raises KeyError when one is missing, ValueError when one has another shape.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = {f"{n}.{kind}": weights[f"{n}.{kind}"] for n in _LAYERS for kind in ("weight", "bias")}
        self._layers = [(weights[f"{n}.weight"], weights[f"{n}.bias"]) for n in _LAYERS]
        sizes = [len(STOP_FEATURES), *(len(bias) for _, bias in self._layers)]
        if [w.shape for w, _ in self._layers] != list(zip(sizes[1:], sizes, strict=False)) or sizes[-1] != 1:
            raise ValueError("the stopping rule's layers do not fit together")

    def stops(self, observation: Vector) -> bool:
        """Whether to stop, of STOP_FEATURES."""
        hidden = observation
        for number, (weight, bias) in enumerate(self._layers):
            hidden = weight @ (np.tanh(hidden) if number else hidden) + bias
        return bool(hidden[0] > SHARPNESS * observation[SURPLUS])
