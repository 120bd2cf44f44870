"""Whether a new model replaces the champion: pure arithmetic on what both achieved on the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.facts.decision import better
from pipeline.core.intervals import Bootstrap, Interval

ImageValues = Mapping[str, float]
"""Image -> a model's result there, in natural log units of the objective: 0 is the default, above 0 is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision with its numbers.

    gain: paired mean of challenger - champion (or of the challenger alone against the default), None without a common
    image. left_out: images that only one of the two has a value for. reason: one sentence for people.
    """

    promote: bool
    gain: Interval | None
    wins: int
    losses: int
    images: int
    left_out: int
    reason: str


def verdict(
    challenger: ImageValues,
    champion: ImageValues | None,
    *,
    min_improvement: float,
    bootstrap_samples: int,
    confidence: float,
    seed: int,
) -> Verdict:
    """Promotes when the lower confidence limit of the paired mean gain is above `min_improvement`.

    Without a champion the challenger is compared with the default, 0 on every image, and must exceed 0. Against a
    champion it is refused when there are so few images that chance alone could make all of them better (0.5 ** images,
    two-sided, above 1 - confidence). Raises ValueError for a negative `min_improvement`, which would let two models
    replace each other.
    """
    if min_improvement < 0:
        raise ValueError(f"min_improvement is {min_improvement:g}; it must be 0 or above")
    common = sorted(challenger.keys() & champion.keys()) if champion is not None else sorted(challenger)
    left_out = len(challenger.keys() | champion.keys()) - len(common) if champion is not None else 0
    gains = np.array([challenger[p] - (champion[p] if champion is not None else 0.0) for p in common])
    needed = min_improvement if champion is not None else 0.0
    interval = Bootstrap(bootstrap_samples, confidence, seed).mean(gains) if common else None
    refusal = _refusal(gains, interval, needed, confidence, rival=champion is not None)
    return Verdict(
        promote=refusal is None,
        gain=interval,
        wins=int((gains > 0).sum()),
        losses=int((gains < 0).sum()),
        images=len(common),
        left_out=left_out,
        reason=_sentence(refusal, interval, len(common), left_out, confidence, rival=champion is not None),
    )


def _refusal(
    gains: NDArray[np.float64], interval: Interval | None, needed: float, confidence: float, *, rival: bool
) -> str | None:
    if interval is None:
        return "there is no image that both were measured on" if rival else "it was measured on no image"
    if rival and not gains.any():
        return "it does exactly as well as the champion on every image"
    if rival and 2 * 0.5**gains.size > 1 - confidence:
        return f"{gains.size} images are too few to tell skill from chance"
    if not interval.low > needed:
        return f"it is not {better(needed)} beyond chance" if needed else "it is not better beyond chance"
    return None


def _sentence(
    refusal: str | None, interval: Interval | None, images: int, left_out: int, confidence: float, *, rival: bool
) -> str:
    """The reason in one line, with its numbers."""
    decision = "promoted: better beyond chance" if refusal is None else f"refused: {refusal}"
    if interval is None:
        return decision
    against = "the champion" if rival else "VTracer's default"
    in_full = (
        f"{better(interval.mean)} than {against} in the objective, {confidence * 100:g} % CI "
        f"{better(interval.low)} to {better(interval.high)}, on {images} images"
    )
    return f"{decision}; {in_full}{f', {left_out} left out' if left_out else ''}"
