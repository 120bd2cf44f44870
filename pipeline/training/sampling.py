"""Which images are looked at next, balanced over the categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.core.records import CATEGORIES, Category

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

    def state(self) -> dict[str, Any]:
        """What JSON can say of where it is; `restore` goes on from there, on the same categories."""
        return {
            "generator": self._rng.bit_generator.state,
            "drawn": self._drawn.tolist(),
            "turn": self._turn,
            "next": list(self._next),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["generator"]
        self._drawn = np.array(state["drawn"], dtype=np.int64)
        self._turn = state["turn"]
        self._next = list(state["next"])

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


@dataclass(frozen=True, slots=True)
class Start:
    """What an episode begins with. image: index of its task. traces: its budget. seed: of what its screen draws."""

    image: int
    traces: int
    seed: int


class EpisodeSampler:
    """The starts of a training's episodes, one after the other.

    max_steps: the largest budget. vary: whether budgets are any of 1, 2, 4, ... and max_steps itself. `draw_from` says
    which images are drawn, before the first draw and whenever they change.
    """

    def __init__(self, max_steps: int, vary: bool, seed: int) -> None:
        powers = [2**n for n in range(max_steps.bit_length()) if 2**n < max_steps] if vary else []
        self._budgets = [*powers, max_steps]
        self._rng = np.random.default_rng([seed, 1])
        self._next_seed = seed << 32
        self._images: list[int] = []
        self._sampler = BalancedSampler([], "round_robin", 0)

    def draw_from(self, images: Sequence[int], categories: Sequence[Category], seed: int) -> None:
        """images: indices of tasks, with the category of each."""
        self._images = list(images)
        self._sampler = BalancedSampler(categories, "round_robin", seed)

    def draw(self) -> Start:
        image = self._images[self._sampler.draw()]
        traces = int(self._rng.choice(self._budgets))
        self._next_seed += 1
        return Start(image, traces, self._next_seed - 1)

    def state(self) -> dict[str, Any]:
        """Without the images, which `draw_from` is to be told again before `restore`."""
        return {
            "generator": self._rng.bit_generator.state,
            "next_seed": self._next_seed,
            "sampler": self._sampler.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["generator"]
        self._next_seed = state["next_seed"]
        self._sampler.restore(state["sampler"])
