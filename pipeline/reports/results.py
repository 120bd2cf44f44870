"""Everything a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.core.facts.comparison import Comparison, ImageResult
from pipeline.core.facts.data import QualityReport
from pipeline.core.facts.decision import Decision
from pipeline.core.facts.training import CheckpointEntry, Progress, TrainReport
from pipeline.reports.parts import Resources
from pipeline.settings.params import Settings

MethodValues = Mapping[tuple[str, int], Mapping[str, float]]
"""(method, traces) -> image path -> natural log units, above 0 is better than the fair default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What is optional is empty or None when its stage did not run. images: ours with the most traces.

    size_gains: ln(fair default's bytes / bytes); `values` holds what the objective makes of bytes and damage.
    """

    settings: Settings
    training: TrainReport
    comparison: Comparison
    images: tuple[ImageResult, ...] = ()
    values: MethodValues = field(default_factory=dict)
    size_gains: MethodValues = field(default_factory=dict)
    progress: tuple[Progress, ...] = ()
    decision: Decision | None = None
    quality: QualityReport | None = None
    checkpoints: tuple[CheckpointEntry, ...] = ()
    resources: Resources | None = None
    commit: str | None = None
