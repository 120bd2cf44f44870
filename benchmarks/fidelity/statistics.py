"""How well a score predicts damage, with uncertainty from the choice of brands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def ranks(values: Numbers) -> Numbers:
    """From 1 on, ties share their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared: Numbers = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return shared


def area_under_curve(scores: Numbers, positive: NDArray[np.bool_]) -> float:
    """Of the receiver operating characteristic (Mann and Whitney 1947); NaN where a class is missing."""
    n = int(positive.sum())
    if n in (0, len(positive)):
        return float("nan")
    return float((ranks(scores)[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def rank_correlation(left: Numbers, right: Numbers) -> float:
    """Spearman's; NaN where either is constant."""
    a, b = ranks(left), ranks(right)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def area_interval(
    scores: Sequence[Numbers], positive: Sequence[NDArray[np.bool_]], brands: Sequence[str], samples: int = 300
) -> tuple[float, float, float]:
    """The area over all images with its 95 % limits, brands resampled whole (Efron 1979)."""
    members: dict[str, list[int]] = {}
    for i, brand in enumerate(brands):
        members.setdefault(brand, []).append(i)
    groups, rng = list(members.values()), np.random.default_rng(0)
    areas = []
    for _ in range(samples):
        chosen = [i for g in rng.integers(len(groups), size=len(groups)) for i in groups[g]]
        areas.append(area_under_curve(np.concatenate([scores[i] for i in chosen]), _joined(positive, chosen)))
    low, high = np.nanquantile(areas, (0.025, 0.975))
    whole = area_under_curve(np.concatenate(scores), np.concatenate(positive))
    return whole, float(low), float(high)


def _joined(flags: Sequence[NDArray[np.bool_]], chosen: Sequence[int]) -> NDArray[np.bool_]:
    return np.concatenate([flags[i] for i in chosen])
