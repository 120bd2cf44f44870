"""The trained agent: a policy with all it needs to act, saved as safetensors and JSON, never as a pickle."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError
from safetensors.torch import load, save
from stable_baselines3.common.policies import ActorCriticPolicy

from pipeline.data.probe import MEASURE_NAMES
from pipeline.errors import DataError, Mismatch
from pipeline.files import read_json, write_bytes, write_json
from pipeline.records import Category, ObjectiveName, TracerParams
from pipeline.rl.episode import Episode, Task
from pipeline.rl.features import Normaliser, Vector, observation_size
from pipeline.rl.reward import Objective
from pipeline.tracing.space import ParameterSpace

Portfolios = Mapping[Category, Sequence[TracerParams]]

SCHEMA_VERSION = 1
WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"

# A network this small is slower on several threads, and they would take cores from the tracing processes.
torch.set_num_threads(1)


@dataclass(frozen=True, slots=True, eq=False)
class Agent:
    """Everything that turns an episode's state into the next setting.

    trained_for: the objective PPO was given; for another, the policy keeps to the anchor and only its spread is used.
    portfolios: by objective and category, settings found on the training images, best first; the first `n_openings`
    open every episode.
    max_steps: traces per episode in training; more or fewer may be spent when it is used.
    timeout_seconds, worker_memory_bytes: what one evaluation may take; see TracerPool.
    """

    policy: ActorCriticPolicy
    normaliser: Normaliser
    space: ParameterSpace
    objective: Objective
    trained_for: ObjectiveName
    portfolios: Mapping[ObjectiveName, Portfolios]
    n_openings: int
    max_steps: int
    background: str
    timeout_seconds: float
    worker_memory_bytes: int

    def openings(self, category: Category) -> Sequence[TracerParams]:
        """The opening moves on a category, for the objective sought."""
        return self.portfolio(category)[: self.n_openings]

    def portfolio(self, category: Category) -> Sequence[TracerParams]:
        """All settings found for a category; those of another category or objective where there are none of its own."""
        known = self.portfolios.get(self.objective.name) or self.portfolios[self.trained_for]
        return known.get(category) or next(iter(known.values()))

    def episode(self, task: Task, traces: int) -> Episode:
        """A search on an image, for the agent or for a rival under the same conditions."""
        openings = self.openings(task.logo.category)
        return Episode(task, self.objective, self.space, openings, traces, self.max_steps)

    def act(self, observation: Vector, rng: np.random.Generator | None) -> Vector:
        """The action, shape (space.size,) in [-1, 1]: the policy's mean, or a draw around it when `rng` is given."""
        with torch.no_grad():
            normalised = torch.as_tensor(self.normaliser(observation)).unsqueeze(0)
            distribution = cast(torch.distributions.Normal, self.policy.get_distribution(normalised).distribution)
            mean = distribution.mean[0].numpy() * (self.objective.name == self.trained_for)
            spread = distribution.stddev[0].numpy()
        action = mean if rng is None else mean + spread * rng.standard_normal(mean.shape)
        return cast(Vector, np.clip(action, -1.0, 1.0).astype(np.float32))

    def save(self, folder: Path) -> str:
        """Write the agent into `folder`; returns the SHA-256 of the weights. Raises StorageError."""
        tensors = {f"policy.{k}": v.contiguous() for k, v in self.policy.state_dict().items()}
        tensors["normaliser.mean"] = torch.from_numpy(np.asarray(self.normaliser.mean, dtype=np.float64))
        tensors["normaliser.variance"] = torch.from_numpy(np.asarray(self.normaliser.variance, dtype=np.float64))
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
            "hidden_units": list(cast(Any, self.policy.net_arch)["pi"]),
            "space": self.space.to_json(),
            "objective": asdict(self.objective),
            "trained_for": self.trained_for,
            "portfolios": {
                name: {category: [p.to_json() for p in settings] for category, settings in found.items()}
                for name, found in self.portfolios.items()
            },
            "n_openings": self.n_openings,
            "max_steps": self.max_steps,
            "background": self.background,
            "timeout_seconds": self.timeout_seconds,
            "worker_memory_bytes": self.worker_memory_bytes,
        }


class AgentProposer:
    """The agent as a search on one image: openings by the policy's mean, refinements drawn with a seed of their own.

    A deterministic refinement that failed would be proposed again and again; a draw looks elsewhere.
    """

    needs_every_score = False

    def __init__(self, agent: Agent, seed: int, *, sample_openings: bool = False) -> None:
        self._agent = agent
        self._rng = np.random.default_rng(seed)
        self._sample_openings = sample_openings

    def propose(self, episode: Episode) -> TracerParams:
        draws = self._sample_openings or not episode.opening_due
        return episode.params_for(self._agent.act(episode.observation(), self._rng if draws else None))


def build_policy(space: ParameterSpace, hidden_units: Sequence[int], initial_std: float) -> ActorCriticPolicy:
    """A fresh policy; its actions start near 0, the anchor itself."""
    return ActorCriticPolicy(
        observation_box(space), action_box(space), lambda _: 0.0, **policy_kwargs(hidden_units, initial_std)
    )


def policy_kwargs(hidden_units: Sequence[int], initial_std: float) -> dict[str, Any]:
    return {
        "net_arch": {"pi": list(hidden_units), "vf": list(hidden_units)},
        "activation_fn": torch.nn.Tanh,
        "log_std_init": math.log(initial_std),
    }


def observation_box(space: ParameterSpace) -> spaces.Space[Vector]:
    size = observation_size(len(MEASURE_NAMES), space.size)
    return cast("spaces.Space[Vector]", spaces.Box(-np.inf, np.inf, (size,), np.float32))


def action_box(space: ParameterSpace) -> spaces.Space[Vector]:
    return cast("spaces.Space[Vector]", spaces.Box(-1.0, 1.0, (space.size,), np.float32))


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
    space = ParameterSpace.from_json(description["space"])
    policy = build_policy(space, description["hidden_units"], 1.0)
    normaliser = Normaliser(tensors.pop("normaliser.mean").numpy(), tensors.pop("normaliser.variance").numpy())
    policy.load_state_dict({k.removeprefix("policy."): v for k, v in tensors.items()})
    policy.set_training_mode(False)
    portfolios = {
        name: {category: [TracerParams.from_json(p) for p in settings] for category, settings in found.items()}
        for name, found in description["portfolios"].items()
    }
    return Agent(
        policy=policy,
        normaliser=normaliser,
        space=space,
        objective=Objective(**description["objective"]),
        trained_for=description["trained_for"],
        portfolios=portfolios,
        n_openings=description["n_openings"],
        max_steps=description["max_steps"],
        background=description["background"],
        timeout_seconds=description["timeout_seconds"],
        worker_memory_bytes=description["worker_memory_bytes"],
    )
