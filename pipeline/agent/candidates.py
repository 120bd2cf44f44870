"""Settings that may be tried next: where they come from, and the few that the policy chooses from.

Points of the unit cube (`tracing.space`), shape (n, size), float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import TracerParams

Points = NDArray[np.float32]

NEAR = 0.12  # standard deviation of a small change, of an axis of length 1
MOST_AXES = 3  # changed at once
NEAR_SHARE = 0.6  # of the changes; the others land anywhere

CANDIDATE_FEATURES = (
    "promise",  # ln of the expected gain, feasibility included, against the most promising candidate's
    "gain",  # mean of the gain over the best so far
    "spread",  # its standard deviation
    "feasible",  # ln of the probability that the picture is allowed
    "distance",  # to the best so far, over the axes; 0 where nothing beat the default yet
    "work",  # ln of the pixels traced against the image's
)


@dataclass(frozen=True, slots=True, eq=False)
class Shortlist:
    """What the policy may choose from, the most promising first.

    params: different settings none of which was tried on this image, unless the space has no others. features: float32
    (len(params), len(CANDIDATE_FEATURES)). promise: ln of the expected gain of the first.
    """

    params: Sequence[TracerParams]
    features: NDArray[np.float32]
    promise: float

    @classmethod
    def nothing(cls, size: int) -> Shortlist:
        """At the end of an episode: no settings, and features of 0."""
        return cls((), np.zeros((size, len(CANDIDATE_FEATURES)), np.float32), 0.0)


def mutated(parents: Points, count: int, rng: np.random.Generator) -> Points:
    """`count` variations of the parents, each with one to three axes changed, a little or to anywhere."""
    points = parents[rng.integers(len(parents), size=count)]
    size = points.shape[1]
    ranks = np.argsort(np.argsort(rng.random((count, size)), axis=1), axis=1)
    changed = ranks < rng.integers(1, MOST_AXES + 1, size=(count, 1))
    near = np.clip(points + rng.normal(0, NEAR, points.shape), 0, 1)
    drawn = np.where(rng.random(points.shape) < NEAR_SHARE, near, rng.random(points.shape))
    return np.where(changed, drawn, points).astype(np.float32)
