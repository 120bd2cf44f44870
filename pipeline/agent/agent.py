"""The trained agent: surrogate and policy, with all they need to act, as safetensors and JSON, never as a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from pipeline.agent.episode import Episode
from pipeline.agent.features import CONTEXT_SIZE
from pipeline.agent.objectives import Objective
from pipeline.agent.policy import CandidatePolicy, build_policy, check_shape
from pipeline.agent.screen import Screen
from pipeline.agent.surrogate import Surrogate
from pipeline.agent.task import Task, Vector
from pipeline.core.errors import DataError, Mismatch
from pipeline.core.files import read_json, write_bytes, write_json
from pipeline.core.records import Category, ObjectiveName, TracerParams
from pipeline.data.probe import MEASURE_NAMES
from pipeline.tracing.space import ParameterSpace

Portfolios = Mapping[Category, Sequence[TracerParams]]

SCHEMA_VERSION = 2
WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"
TRAINED = Path("models/agent")  # the newest, in the project's folder
FIRST = 0  # of a shortlist: the most promising

# A network this small is slower on several threads, and they would take cores from the tracing processes.
torch.set_num_threads(1)


@dataclass(frozen=True, slots=True, eq=False)
class Agent:
    """Everything that turns an episode's state into the next setting.

    trained_for: the objective PPO was given; for another, the most promising candidate is taken.
    portfolios: by objective and category, settings found on the training images, best first: what rivals try.
    max_steps: traces per episode in training; more or fewer may be spent when it is used.
    timeout_seconds, worker_memory_bytes: what one evaluation may take; see TracerPool.
    """

    policy: CandidatePolicy
    screen: Screen
    objective: Objective
    trained_for: ObjectiveName
    portfolios: Mapping[ObjectiveName, Portfolios]
    max_steps: int
    background: str
    timeout_seconds: float
    worker_memory_bytes: int

    @property
    def space(self) -> ParameterSpace:
        return self.screen.space

    def portfolio(self, category: Category) -> Sequence[TracerParams]:
        """All settings found for a category; those of another category or objective where there are none of its own."""
        known = self.portfolios.get(self.objective.name) or self.portfolios[self.trained_for]
        return known.get(category) or next(iter(known.values()))

    def episode(self, task: Task, traces: int, seed: int = 0, *, screened: bool = True) -> Episode:
        """A search on an image; not screened for a rival under the same conditions. seed: of what the screen draws."""
        screen = self.screen if screened else None
        return Episode(task, self.objective, self.space, traces, screen, trained_steps=self.max_steps, seed=seed)

    def act(self, observation: Vector) -> int:
        """The candidate that the policy finds most likely to be right."""
        if self.objective.name != self.trained_for:
            return FIRST
        with torch.no_grad():
            logits = self.policy.logits(torch.as_tensor(observation).unsqueeze(0))
        return int(logits[0].argmax())

    def save(self, folder: Path) -> str:
        """Write the agent into `folder`; returns the SHA-256 of the weights. Raises StorageError."""
        tensors = {f"policy.{k}": v.contiguous() for k, v in self.policy.state_dict().items()}
        tensors |= {f"surrogate.{k}": v.contiguous() for k, v in self.screen.surrogate.state_dict().items()}
        tensors |= {f"bank.{k}": torch.from_numpy(np.ascontiguousarray(v)) for k, v in self.screen.banks.items()}
        weights = save(tensors)
        digest = hashlib.sha256(weights).hexdigest()
        write_bytes(folder / WEIGHTS, weights)
        write_json(folder / DESCRIPTION, self._description(digest))
        return digest

    def _description(self, digest: str) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "weights_sha256": digest,
            "measures": list(MEASURE_NAMES),
            "hidden_units": list(self.policy.hidden_units),
            "shortlist": self.screen.size,
            "space": self.space.to_json(),
            "objective": asdict(self.objective),
            "trained_for": self.trained_for,
            "portfolios": portfolios_json(self.portfolios),
            "max_steps": self.max_steps,
            "background": self.background,
            "timeout_seconds": self.timeout_seconds,
            "worker_memory_bytes": self.worker_memory_bytes,
        }


class AgentProposer:
    """The agent as a search on one image."""

    needs_every_score = False

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def propose(self, episode: Episode) -> TracerParams:
        return episode.params_for(self._agent.act(episode.observation()))


def load_agent(folder: Path) -> Agent:
    """Read an agent, its weights checked against their digest before they are parsed.

    Raises DataError when a file is missing or damaged, Mismatch when it was made by an incompatible version.
    """
    description = read_json(folder / DESCRIPTION, "make repro")
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise DataError(f"{folder / WEIGHTS}: cannot be read ({error.strerror}); run `make repro` again") from error
    if not isinstance(description, dict) or description.get("schema_version") != SCHEMA_VERSION:
        raise Mismatch(f"{folder}: is not an agent of this version of tracewright; train it again with `make repro`")
    if hashlib.sha256(weights).hexdigest() != description.get("weights_sha256"):
        raise DataError(f"{folder / WEIGHTS}: is damaged (its SHA-256 differs from {DESCRIPTION}); take another copy")
    if tuple(description["measures"]) != MEASURE_NAMES:
        raise Mismatch(f"{folder}: was trained on other image measures; train it again with `make repro`")
    try:
        return _assemble(description, load(weights))
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: does not describe an agent ({error}); take another copy") from error


def _assemble(description: Mapping[str, Any], tensors: dict[str, torch.Tensor]) -> Agent:
    policy_tensors = _part(tensors, "policy.")
    check_shape(policy_tensors, description["shortlist"], description["hidden_units"])
    space = ParameterSpace.from_json(description["space"])
    surrogate = Surrogate(CONTEXT_SIZE, space)
    surrogate.load_state_dict(_part(tensors, "surrogate."))
    surrogate.requires_grad_(False)
    banks = {cast(ObjectiveName, name): points.numpy() for name, points in _part(tensors, "bank.").items()}
    policy = build_policy(description["shortlist"], description["hidden_units"])
    policy.load_state_dict(policy_tensors)
    policy.set_training_mode(False)
    return Agent(
        policy=policy,
        screen=Screen(surrogate, space, banks, description["shortlist"]),
        objective=Objective(**description["objective"]),
        trained_for=description["trained_for"],
        portfolios=portfolios_from_json(description["portfolios"]),
        max_steps=description["max_steps"],
        background=description["background"],
        timeout_seconds=description["timeout_seconds"],
        worker_memory_bytes=description["worker_memory_bytes"],
    )


def portfolios_json(portfolios: Mapping[ObjectiveName, Portfolios]) -> dict[str, Any]:
    return {
        name: {category: [p.to_json() for p in settings] for category, settings in found.items()}
        for name, found in portfolios.items()
    }


def portfolios_from_json(values: Mapping[str, Any]) -> dict[ObjectiveName, Portfolios]:
    return {
        cast(ObjectiveName, name): {
            category: [TracerParams.from_json(p) for p in settings] for category, settings in found.items()
        }
        for name, found in values.items()
    }


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
