from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.training.torch_state import (
    generator_state,
    module_arrays,
    optimizer_state,
    restore_generators,
    restore_module,
    restore_optimizer,
)


def draws() -> list[Any]:
    # Two of NumPy's normal numbers are made at once, and one of them waits.
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.standard_normal(), float(torch.randn(()))]


def test_all_three_generators_go_on_where_they_were() -> None:
    draws()
    facts, arrays = generator_state()
    expected = [draws() for _ in range(3)]
    restore_generators(json.loads(json.dumps(facts)), arrays)
    assert [draws() for _ in range(3)] == expected


def trained(steps: int) -> tuple[torch.nn.Linear, torch.optim.Adam]:
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    step(module, optimizer, steps)
    return module, optimizer


def step(module: torch.nn.Linear, optimizer: torch.optim.Adam, steps: int) -> None:
    for number in range(steps):
        optimizer.zero_grad()
        module(torch.full((4, 3), float(number))).square().sum().backward()
        optimizer.step()


def test_weights_and_optimizer_go_on_to_the_same_bits() -> None:
    module, optimizer = trained(3)
    groups, arrays = optimizer_state(optimizer, "adam.")
    arrays |= module_arrays(module, "net.")
    step(module, optimizer, 3)  # what was taken before are copies
    other, its_optimizer = trained(1)
    restore_module(other, arrays, "net.")
    restore_optimizer(its_optimizer, json.loads(json.dumps(groups)), arrays, "adam.")
    step(other, its_optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))


def test_a_network_of_another_shape_is_refused() -> None:
    arrays = module_arrays(torch.nn.Linear(3, 2), "net.")
    with pytest.raises(RuntimeError, match="size mismatch"):
        restore_module(torch.nn.Linear(3, 4), arrays, "net.")
    with pytest.raises(RuntimeError, match="Missing key"):
        restore_module(torch.nn.Linear(3, 2), {}, "net.")
