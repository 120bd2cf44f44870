"""Which images are looked at next, balanced over the categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.records import CATEGORIES, Category

Strategy = Literal["round_robin", "random", "least_evaluated"]


class BalancedSampler:
    """Draws indices of images, the same number from each category as nearly as can be.

    round_robin: in seeded order, again and again. random: with replacement. least_evaluated: those drawn least often,
    ties in seeded order. A category with no image is left out.
    """

    def __init__(self, categories: Sequence[Category], strategy: Strategy, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._strategy = strategy
        members: dict[Category, list[int]] = defaultdict(list)
        for index in self._rng.permutation(len(categories)):
            members[categories[index]].append(int(index))
        self._members = [members[c] for c in CATEGORIES if members[c]]
        self._drawn = np.zeros(len(categories), dtype=np.int64)
        self._turn = 0
        self._next = [0] * len(self._members)

    def draw(self) -> int:
        """One index; categories take turns."""
        which = self._turn % len(self._members)
        self._turn += 1
        index = self._pick(which)
        self._drawn[index] += 1
        return index

    def sample(self, per_category: int) -> list[int]:
        """Up to `per_category` different indices of each category, in category order."""
        chosen: list[int] = []
        for which, members in enumerate(self._members):
            count = min(per_category, len(members))
            if self._strategy == "random":
                picked = [members[i] for i in self._rng.permutation(len(members))[:count]]
                self._drawn[picked] += 1
            else:
                picked = []
                for _ in range(count):
                    index = self._pick(which)
                    self._drawn[index] += 1
                    picked.append(index)
            chosen += picked
        return chosen

    def _pick(self, which: int) -> int:
        members = self._members[which]
        match self._strategy:
            case "random":
                return members[int(self._rng.integers(len(members)))]
            case "least_evaluated":
                return min(members, key=lambda index: self._drawn[index])
            case "round_robin":
                index = members[self._next[which] % len(members)]
                self._next[which] += 1
                return index
