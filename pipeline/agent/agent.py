"""The trained agent: surrogate and policy, with all they need to act, as safetensors and JSON, never as a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pipeline.agent.episode import Episode
from pipeline.agent.features import CONTEXT_SIZE
from pipeline.agent.objectives import Objective
from pipeline.agent.policy import MAX_SHORTLIST, Policy
from pipeline.agent.screen import Banks, Screen
from pipeline.agent.stopping import SURPLUS, TRACE_PRICE, StoppingRule, stop_observation
from pipeline.agent.surrogate import Surrogate, Weights
from pipeline.agent.task import Task, Vector
from pipeline.core.errors import DataError, Mismatch
from pipeline.core.files import read_json, write_bytes, write_json
from pipeline.core.records import Category, ObjectiveName, TracerParams
from pipeline.data.probe import MEASURE_NAMES
from pipeline.tracing.space import ParameterSpace

Portfolios = Mapping[Category, Sequence[TracerParams]]

SCHEMA_VERSION = 5
READABLE = (3, 4, SCHEMA_VERSION)  # 3 has the critic's weights as well; 5 added the stopping rule
WEIGHTS = "policy.safetensors"
DESCRIPTION = "agent.json"
TRAINED = Path("models/agent")  # the newest, in the project's folder
FIRST = 0  # of a shortlist: the most promising


@dataclass(frozen=True, slots=True, eq=False)
class Agent:
    """Everything that turns an episode's state into the next setting.

    policy: None takes the most promising candidate, as one that has learnt nothing does.
    trained_for: the objective PPO was given; for another, the most promising candidate is taken too.
    portfolios: by objective and category, settings found on the training images, best first: what rivals try.
    max_steps: traces per episode in training; more or fewer may be spent when it is used.
    stopping_rule: None stops when the expected gain is below the price. trace_price: value that a trace must gain.
    timeout_seconds, worker_memory_bytes: what one evaluation may take; see TracerPool.
    """

    policy: Policy | None
    screen: Screen
    objective: Objective
    trained_for: ObjectiveName
    portfolios: Mapping[ObjectiveName, Portfolios]
    max_steps: int
    stopping_rule: StoppingRule | None
    trace_price: float
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
        if self.policy is None or self.objective.name != self.trained_for:
            return FIRST
        return int(self.policy.logits(observation).argmax())

    def stops(self, episode: Episode) -> bool:
        """Whether another trace is not worth its price."""
        observation = stop_observation(episode, self.trace_price)
        if self.stopping_rule is None or self.objective.name != self.trained_for:
            return bool(observation[SURPLUS] < 0)
        return self.stopping_rule.stops(observation)

    def greedy(self) -> Agent:
        """The same without what PPO learnt: the most promising candidate each time, and the plain stopping rule."""
        return replace(self, policy=None, stopping_rule=None)

    def save(self, folder: Path) -> str:
        """Write the agent into `folder`; returns the SHA-256 of the weights. Raises StorageError."""
        arrays = named("surrogate.", self.screen.surrogate.weights) | named("bank.", self.screen.banks)
        if self.policy is not None:
            arrays |= named("policy.", self.policy.weights)
        if self.stopping_rule is not None:
            arrays |= named("stopping.", self.stopping_rule.weights)
        weights = save(arrays)
        digest = hashlib.sha256(weights).hexdigest()
        write_bytes(folder / WEIGHTS, weights)
        write_json(folder / DESCRIPTION, self._description(digest))
        return digest

    def _description(self, digest: str) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "weights_sha256": digest,
            "measures": list(MEASURE_NAMES),
            "shortlist": self.screen.size,
            "space": self.space.to_json(),
            "objective": asdict(self.objective),
            "trained_for": self.trained_for,
            "portfolios": portfolios_json(self.portfolios),
            "max_steps": self.max_steps,
            "trace_price": self.trace_price,
            "background": self.background,
            "timeout_seconds": self.timeout_seconds,
            "worker_memory_bytes": self.worker_memory_bytes,
        }


class AgentProposer:
    """The agent as a search on one image. stops: whether it may stop before all traces are spent."""

    needs_every_score = False

    def __init__(self, agent: Agent, *, stops: bool = False) -> None:
        self._agent, self._stops = agent, stops

    def propose(self, episode: Episode) -> TracerParams | None:
        if self._stops and self._agent.stops(episode):
            return None
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
    if not isinstance(description, dict) or description.get("schema_version") not in READABLE:
        raise Mismatch(f"{folder}: is not an agent of this version of tracewright; train it again with `make repro`")
    if hashlib.sha256(weights).hexdigest() != description.get("weights_sha256"):
        raise DataError(f"{folder / WEIGHTS}: is damaged (its SHA-256 differs from {DESCRIPTION}); take another copy")
    if tuple(description["measures"]) != MEASURE_NAMES:
        raise Mismatch(f"{folder}: was trained on other image measures; train it again with `make repro`")
    try:
        return _assemble(description, load(weights))
    except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise DataError(f"{folder}: does not describe an agent ({error}); take another copy") from error


def _assemble(description: Mapping[str, Any], weights: Weights) -> Agent:
    size = description["shortlist"]
    if type(size) is not int or not 2 <= size <= MAX_SHORTLIST:
        raise ValueError(f"a shortlist of {size!r}; allowed are 2 to {MAX_SHORTLIST}")
    space = ParameterSpace.from_json(description["space"])
    surrogate = Surrogate(CONTEXT_SIZE, space, _part(weights, "surrogate."))
    banks = cast(Banks, _part(weights, "bank."))
    policy, stopping = _part(weights, "policy."), _part(weights, "stopping.")
    return Agent(
        policy=Policy(policy) if policy else None,
        screen=Screen(surrogate, space, banks, size),
        objective=Objective(**description["objective"]),
        trained_for=description["trained_for"],
        portfolios=portfolios_from_json(description["portfolios"]),
        max_steps=description["max_steps"],
        stopping_rule=StoppingRule(stopping) if stopping else None,
        trace_price=description.get("trace_price", TRACE_PRICE),
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


def named(prefix: str, arrays: Mapping[Any, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Each name behind `prefix`."""
    return {f"{prefix}{name}": np.ascontiguousarray(array) for name, array in arrays.items()}


def _part(weights: Weights, prefix: str) -> dict[str, NDArray[np.float32]]:
    return {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
