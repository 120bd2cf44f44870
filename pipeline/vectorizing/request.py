"""What a user asks for when images are vectorised."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pipeline.agent.agent import DESCRIPTION, Agent, load_agent
from pipeline.agent.stopping import Traces
from pipeline.vectorizing.answer import Options
from pipeline.vectorizing.batch import with_objective

Policy = Literal["greedy", "trained"]
SHARD_FILES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """agent: its folder. policy: greedy leaves out what PPO learnt. objective, max_damage: None for the agent's own.

    budget_bytes, background, curve: as in `Options`. shard_files: for sharded runs only; None for those of the
    plan, or SHARD_FILES in a new one.
    """

    output: Path
    agent: Path
    objective: str | None
    max_damage: float | None
    traces: Traces
    seed: int
    policy: Policy = "trained"
    shard_files: int | None = None
    budget_bytes: int | None = None
    background: str | None = None
    curve: bool = False

    @property
    def options(self) -> Options:
        return Options(budget_bytes=self.budget_bytes, background=self.background, curve=self.curve)

    def load_agent(self) -> Agent:
        """The agent with the requested objective and policy. Raises DataError or Mismatch."""
        agent = with_objective(load_agent(self.agent), self.objective, self.max_damage)
        return agent.greedy() if self.policy == "greedy" else agent

    def conditions(self) -> dict[str, Any]:
        """Everything that decides the results, apart from the files."""
        from pipeline.tracing.evaluation import evaluation_versions
        from pipeline.tracing.raster import DRAWINGS

        agent = self.load_agent()
        return {
            "model_sha256": hashlib.sha256((self.agent / DESCRIPTION).read_bytes()).hexdigest(),
            "objective": asdict(agent.objective),
            "traces": self.traces,
            "policy": self.policy,
            "seed": self.seed,
            **asdict(self.options),
            "versions": evaluation_versions(agent.background, next(iter(DRAWINGS))),
        }


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a shard process needs to know: the request, with absolute folders, and the digest of its plan."""

    request: Request
    digest: str

    @classmethod
    def of(cls, request: Request, digest: str) -> Self:
        return cls(replace(request, output=request.output.resolve(), agent=request.agent.resolve()), digest)

    def to_line(self) -> str:
        return json.dumps(asdict(self), default=str) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        values = json.loads(line)
        request = values["request"]
        folders = {name: Path(request[name]) for name in ("output", "agent")}
        return cls(Request(**request | folders), values["digest"])
