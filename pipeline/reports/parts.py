"""What the report adds to the stages' records: findings, and what a run took of its machine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["good", "info", "attention"]
"""attention: somebody has to act on it."""

Unit = Literal["ratio", "bytes", "celsius", "watts", "count"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, in one or two sentences, and the numbers behind it."""

    level: Level
    text: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One resource over a run, in `unit`. limit: its capacity, where that is known."""

    name: str
    unit: Unit
    mean: float
    highest: float
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run took of its machine, from the samples of .tracewright/runs/RUN/resources.jsonl."""

    samples: int
    seconds: float
    usage: tuple[Usage, ...] = ()
    findings: tuple[Finding, ...] = ()
