"""Everything a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.core.facts.comparison import Comparison, DamagedRegion, ImageResult
from pipeline.core.facts.data import QualityReport
from pipeline.core.facts.decision import Decision
from pipeline.core.facts.training import CheckpointEntry, Progress, TrainReport
from pipeline.reports.parts import Resources
from pipeline.settings.params import Settings


class ImageMeasurement(NamedTuple):
    """One method on one image. value: what the objective makes of it, natural log units. damage: in pixels.

    size_gain: ln(fair default's bytes / bytes).
    """

    value: float
    size_gain: float
    damage: float


Measures = Mapping[tuple[str, int], Mapping[str, ImageMeasurement]]
"""(method, traces) -> image path -> what was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What is optional is empty or None when its stage did not run. images: ours with the headline's traces.

    damaged: by path, where ours is visibly damaged, the worst region first; no region where it cannot be looked at.
    """

    settings: Settings
    training: TrainReport
    comparison: Comparison
    images: tuple[ImageResult, ...] = ()
    measures: Measures = field(default_factory=dict)
    damaged: Mapping[str, tuple[DamagedRegion, ...]] = field(default_factory=dict)
    progress: tuple[Progress, ...] = ()
    decision: Decision | None = None
    quality: QualityReport | None = None
    checkpoints: tuple[CheckpointEntry, ...] = ()
    resources: Resources | None = None
    commit: str | None = None
