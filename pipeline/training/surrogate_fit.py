"""The fit of the surrogate to a table of evaluations, which can be left after any step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.agent.surrogate import Surrogate, inputs_of, normalised
from pipeline.tracing.space import ParameterSpace
from pipeline.training.checkpoint import Arrays
from pipeline.training.surrogate_network import SurrogateNetwork
from pipeline.training.torch_state import module_arrays, optimizer_state, restore_module, restore_optimizer

IMAGES_PER_STEP = 16
TRACES_PER_STEP = 48
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Evaluations to learn from. contexts: float32 (images, c), not yet normalised. defaults: float32 (images, 3), the
    default's outcomes. Of each row: image, its index; points: float32 (rows, axes), places in the cube; outcomes:
    float32 (rows, 3), NaN where not measured.
    """

    contexts: NDArray[np.float32]
    defaults: NDArray[np.float32]
    image: NDArray[np.int64]
    points: NDArray[np.float32]
    outcomes: NDArray[np.float32]

    def of_images(self, images: NDArray[np.bool_]) -> Table:
        """With the rows of some images only; images: (images,)."""
        kept = images[self.image]
        return replace(self, image=self.image[kept], points=self.points[kept], outcomes=self.outcomes[kept])


class Fit:
    """A surrogate being fitted, by AdamW with one cycle of the learning rate.

    It can be interrupted after any step and resumed: `state` of one, `restore` into another on the same table. default:
    the default's place in the cube, whose outcomes are known for free. The same arguments give the same weights. step:
    how many were made.
    """

    def __init__(
        self, table: Table, space: ParameterSpace, default: NDArray[np.float32], *, steps: int, seed: int
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SurrogateNetwork(table.contexts.shape[1], space)
        mean, std = table.contexts.mean(axis=0), table.contexts.std(axis=0) + np.float32(1e-3)
        network.context_mean.copy_(torch.from_numpy(mean))
        network.context_std.copy_(torch.from_numpy(std))
        self.step = 0
        self.steps = steps
        self._network, self._space = network, space
        self._contexts = torch.from_numpy(normalised(table.contexts, mean, std))
        self._inputs = torch.from_numpy(inputs_of(space, table.points))
        self._outcomes, self._defaults = torch.from_numpy(table.outcomes), torch.from_numpy(table.defaults)
        self._known = torch.from_numpy(inputs_of(space, default[np.newaxis]))
        self._rng = np.random.default_rng([seed, 2])
        self._rows = [np.flatnonzero(table.image == index) for index in range(len(table.contexts))]
        self._usable = [index for index, members in enumerate(self._rows) if len(members)]
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, LEARNING_RATE, total_steps=steps, pct_start=max(0.1, 2 / steps)
        )

    def advance(self) -> float:
        """One step; returns its loss."""
        images = self._rng.choice(self._usable, min(IMAGES_PER_STEP, len(self._usable)), replace=False)
        traces = min(TRACES_PER_STEP, *(len(self._rows[i]) for i in images))
        chosen = np.stack([self._rng.choice(self._rows[i], traces, replace=False) for i in images])
        seen = torch.cat([self._known.expand(len(images), 1, -1), self._inputs[chosen]], 1)
        gave = torch.cat([self._defaults[images].unsqueeze(1), self._outcomes[chosen]], 1)
        loss = self._network.loss(self._contexts[images], seen, gave)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 has no types for it
        nn.utils.clip_grad_norm_(self._network.parameters(), GRADIENT_NORM)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        return loss.item()

    def fitted(self) -> Surrogate:
        """A copy of what was fitted so far."""
        return Surrogate(len(self._network.context_mean), self._space, module_arrays(self._network, ""))

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Facts and arrays, whose names begin with `fit.`."""
        groups, arrays = optimizer_state(self._optimizer, "fit.optimizer.")
        facts = {
            "step": self.step,
            "generator": self._rng.bit_generator.state,
            "optimizer": groups,
            "schedule": self._schedule.state_dict(),
        }
        return facts, arrays | module_arrays(self._network, "fit.weights.")

    def restore(self, facts: Mapping[str, Any], arrays: Arrays) -> None:
        self.step = facts["step"]
        self._rng.bit_generator.state = facts["generator"]
        restore_module(self._network, arrays, "fit.weights.")
        restore_optimizer(self._optimizer, facts["optimizer"], arrays, "fit.optimizer.")
        self._schedule.load_state_dict(facts["schedule"])


def fit_surrogate(
    table: Table,
    space: ParameterSpace,
    default: NDArray[np.float32],
    *,
    steps: int,
    seed: int,
    check_stop: Callable[[], None] = lambda: None,
) -> Surrogate:
    """`Fit` from its first step to its last. check_stop: called before each; what it raises is raised."""
    fit = Fit(table, space, default, steps=steps, seed=seed)
    while fit.step < steps:
        check_stop()
        fit.advance()
    return fit.fitted()
