"""Modules, optimizers and random generators as JSON facts and arrays, and back to the same bits."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.training.checkpoint import Arrays

# Networks this small are slower on several threads, which would take cores from the tracing processes.
torch.set_num_threads(1)


def module_arrays(module: torch.nn.Module, prefix: str) -> dict[str, NDArray[Any]]:
    """Copies of weights and buffers, each name behind `prefix`."""
    return {prefix + name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def restore_module(module: torch.nn.Module, arrays: Arrays, prefix: str) -> None:
    """Raises RuntimeError when names or shapes are not those of the module."""
    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in part(arrays, prefix).items()})


def optimizer_state(optimizer: torch.optim.Optimizer, prefix: str) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    """Its groups of options, and copies of what it knows of each parameter, by `PREFIXnumber.name`."""
    state = optimizer.state_dict()
    arrays = {
        f"{prefix}{number}.{name}": torch.as_tensor(value).numpy().copy()
        for number, values in state["state"].items()
        for name, value in values.items()
    }
    return state["param_groups"], arrays


def restore_optimizer(optimizer: torch.optim.Optimizer, groups: list[Any], arrays: Arrays, prefix: str) -> None:
    """Raises ValueError when it has other parameters."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, array in part(arrays, prefix).items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = torch.from_numpy(array.copy())
    # JSON knows no tuples, and Adam's betas are one.
    groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def generator_state() -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Of the global generators of Python, NumPy and torch."""
    _, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, python_gauss = random.getstate()
    facts = {"numpy": [position, has_gauss, gauss], "python": [version, list(words), python_gauss]}
    arrays = {"generator.numpy": np.asarray(keys).copy(), "generator.torch": torch.get_rng_state().numpy().copy()}
    return facts, arrays


def restore_generators(facts: Mapping[str, Any], arrays: Arrays) -> None:
    np.random.set_state(("MT19937", arrays["generator.numpy"], *facts["numpy"]))
    version, words, gauss = facts["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(torch.from_numpy(arrays["generator.torch"].copy()))


def part(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
