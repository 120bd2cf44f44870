"""The small parts that a report is made of: data, checkpoints, resources, findings. A value not measured is None."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from pipeline.core.intervals import Interval


def measured(value: Any) -> Any:
    return None if isinstance(value, dict) and value.get("mean") is None else value


def mean_of(value: Any) -> Any:
    return value.get("mean") if isinstance(value, dict) else value


Measured = Annotated[Interval | None, BeforeValidator(measured)]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class CheckpointEntry(Part):
    """A saved state of the training. metrics: of the validation made at its timesteps, if any."""

    name: str
    timesteps: int
    phase: str | None = None
    reason: str | None = None
    saved_seconds: float | None = None
    bytes: int | None = None
    metrics: dict[str, float] = {}


class Reject(Part):
    path: str
    reason: str
    detail: str = ""


class CategoryQuality(Part):
    """confidence_mean: of the images that were categorised from their pixels."""

    images: int
    from_folder: int | None = None
    from_pixels: int | None = None
    confidence_mean: float | None = None
    quality_mean: float | None = None


class FromPixels(Part):
    """An image whose category no folder said. confidence: the probability of the category, 0 to 1."""

    path: str
    category: str
    confidence: float | None = None


class Quality(Part):
    """data/quality.json. measures: [lowest, quarter, median, three quarters, highest] of each."""

    root: str | None = None
    images: int | None = None
    distinct_images: int | None = None
    reject_ratio: float | None = None
    quality_mean: float | None = None
    categories: dict[str, CategoryQuality] = {}
    rejected: tuple[Reject, ...] = ()
    from_pixels: tuple[FromPixels, ...] = ()
    modes: dict[str, int] = {}
    measures: dict[str, tuple[float, ...]] = {}
    recommendations: tuple[str, ...] = ()

    @property
    def rejects(self) -> dict[str, int]:
        """Files by the reason for which they were turned away."""
        return dict(Counter(r.reason for r in self.rejected))


Level = Literal["good", "info", "attention"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, in one or two sentences, and the numbers behind it."""

    level: Level
    text: str
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Usage(Part):
    """One resource over a run, in `unit`. limit: what there is of it, where that is known."""

    name: str
    unit: Literal["ratio", "bytes", "celsius", "watts", "count"]
    mean: float
    highest: float
    limit: float | None = None


class Resources(Part):
    """What a run took of its machine, from the samples of .tracewright/runs/RUN/resources.jsonl."""

    samples: int
    seconds: float
    usage: tuple[Usage, ...] = ()
    findings: tuple[Finding, ...] = ()
