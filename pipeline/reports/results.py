"""What the stages wrote, parsed once; everything else in this package works on these values.

A value that a stage did not measure is None here. Keys that are not read are ignored, so stages may write more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, computed_field

from pipeline.core.intervals import Interval
from pipeline.core.records import Category, ObjectiveName
from pipeline.reports.parts import CheckpointEntry, Measured, Part, Quality, Resources, mean_of
from pipeline.settings.params import Settings

HEADLINE_TRACES = 8
"""The budget that headlines compare at: what `vectorize` and an episode spend by default."""

OURS, UNTRAINED, DEFAULT, FIXED, PORTFOLIO, RANDOM, TPE = (
    "agent", "untrained", "default", "fixed", "portfolio", "random", "tpe",
)  # fmt: skip


class TrendResult(Part):
    """slope and its limits: value per 1,000 timesteps."""

    direction: Literal["improving", "steady", "declining", "unknown"]
    slope: float | None = None
    low: float | None = None
    high: float | None = None


class CategoryValidation(Part):
    images: int | None = None
    value: Measured = None
    bytes_ratio: Measured = None
    skill: Measured = None
    target_reached_ratio: float | None = None


class Validation(Part):
    """One validation on held-out images. value: natural log units, 0 is the default."""

    timesteps: int
    images: int | None = None
    failures: int | None = None
    value: Measured = None
    bytes_ratio: Measured = None
    ssim: Measured = None
    zoom_ssim: Measured = None
    skill: Measured = None
    mse: Measured = None
    psnr: Measured = None
    seconds_per_image: Annotated[float | None, BeforeValidator(mean_of)] = None
    target_reached_ratio: float | None = None
    stability: float | None = None
    consistency: float | None = None
    by_category: dict[str, CategoryValidation] = Field(default_factory=dict)
    trend: TrendResult | None = None


class StageResult(Part):
    """One attempt at a stage of the curriculum. attempts: up to and with this one.

    Rates are shares of episodes; goal and mean_return are in natural log units.
    """

    name: str
    categories: tuple[str, ...] = ()
    difficulty: float | None = None
    goal: float | None = None
    pass_rate: float | None = None
    success_rate: float | None = None
    passed: bool | None = None
    attempts: int | None = None
    timesteps: int | None = None
    seconds: float | None = None
    mean_return: float | None = None


class Best(Part):
    timesteps: int | None = None
    value: float | None = None


class SplitImages(Part):
    images: int
    digest: str | None = None


class Dataset(Part):
    train: SplitImages | None = None
    val: SplitImages | None = None
    test: SplitImages | None = None
    by_category: dict[str, dict[str, int]] = Field(default_factory=dict)


class SeedResult(Part):
    seed: int
    run_id: str | None = None
    best_value: float | None = None


class Evaluations(Part):
    """Of one stage. found: without a trace. bit_comparable: whether another run must come to the same bits."""

    asked: int
    found: int
    bit_comparable: bool


class Difference(Part):
    mean: float
    max: float


class SecondRenderer(Part):
    """What another renderer said of the agent's choices. upheld: images on which the choice may stand."""

    renderer: str
    images: int
    upheld: int
    not_upheld: tuple[str, ...] = ()
    ssim_difference: Difference | None = None
    zoom_ssim_difference: Difference | None = None


class SeedSpread(Part):
    mean: float
    std: float


class Training(Part):
    """results/train/train.json"""

    run_id: str
    experiment: str | None = None
    tracking_uri: str | None = None
    git_commit: str | None = None
    git_dirty: bool | None = None
    seed: int | None = None
    started: str | None = None
    seconds: float | None = None
    total_timesteps: int | None = None
    steps_per_second: float | None = None
    peak_memory_bytes: int | None = None
    stopped: str | None = None
    best: Best | None = None
    model_id: str | None = None
    time_shares: dict[str, float] = Field(default_factory=dict)
    dataset: Dataset = Dataset()
    failures: dict[str, int] = Field(default_factory=dict)
    evaluations: Evaluations | None = None
    stages: tuple[StageResult, ...] = ()
    seeds: tuple[SeedResult, ...] = ()
    seed_spread: SeedSpread | None = None
    validations: tuple[Validation, ...] = ()

    @property
    def final_stages(self) -> tuple[StageResult, ...]:
        """The last attempt at each stage, which decides whether it was passed."""
        return tuple({s.name: s for s in self.stages}.values())


class CurvePoint(Part):
    """ratio: exp(-value); for `smaller` the geometric mean of bytes / the default's bytes, lower is better."""

    traces: int
    value: Measured = None
    ratio: Measured = None


def _at(points: tuple[CurvePoint, ...], traces: int) -> CurvePoint | None:
    reached = [p for p in points if p.traces <= traces]
    return max(reached, key=lambda p: p.traces) if reached else None


class Method(Part):
    name: str
    label: str
    kind: Literal["ours", "rival", "reference"]
    curve: tuple[CurvePoint, ...]
    by_category: dict[str, tuple[CurvePoint, ...]] = Field(default_factory=dict)

    def at(self, traces: int) -> Interval | None:
        """The ratio with at most so many traces; a method that stops earlier keeps what it had."""
        point = _at(self.curve, traces)
        return point.ratio if point else None

    def in_category(self, category: str, traces: int) -> Interval | None:
        point = _at(self.by_category.get(category, ()), traces)
        return point.ratio if point else None

    @property
    def is_flat(self) -> bool:
        """Whether more traces change nothing: a mark rather than a curve."""
        means = [p.ratio.mean for p in self.curve if p.ratio]
        return len(means) < 2 or max(means) - min(means) < 1e-9


class Duel(Part):
    """Ours against one rival, image by image. gain: natural log units, above 0 ours is better."""

    against: str
    traces: int
    gain: Interval
    wins: int | None = None
    losses: int | None = None
    ties: int | None = None
    better: bool | None = None


class ObjectiveResult(Part):
    name: ObjectiveName


class Comparison(Part):
    """results/evaluate/evaluate.json"""

    run_id: str | None = None
    objective: ObjectiveResult
    images: int
    test_digest: str | None = None
    traces: tuple[int, ...]
    confidence: float = 0.95
    seconds: float | None = None
    failures: dict[str, int] = Field(default_factory=dict)
    evaluations: Evaluations | None = None
    second_renderer: SecondRenderer | None = None
    methods: tuple[Method, ...]
    duels: tuple[Duel, ...] = ()

    def method(self, name: str) -> Method | None:
        return next((m for m in self.methods if m.name == name), None)

    def duel(self, against: str, traces: int) -> Duel | None:
        return next((d for d in self.duels if (d.against, d.traces) == (against, traces)), None)

    def label(self, name: str) -> str:
        method = self.method(name)
        return method.label if method else name

    @computed_field  # type: ignore[prop-decorator]
    @property
    def headline_traces(self) -> int:
        return HEADLINE_TRACES if HEADLINE_TRACES in self.traces else max(self.traces)

    @property
    def categories(self) -> tuple[str, ...]:
        ours = self.method(OURS)
        return tuple(ours.by_category) if ours else ()


class Opponent(Part):
    version: int | str
    run_id: str | None = None


class Decision(Part):
    """results/register.json"""

    decision: Literal["promoted", "refused", "first"]
    name: str
    wins: int | None = None
    losses: int | None = None
    version: int | str | None = None
    alias: str | None = None
    run_id: str | None = None
    model_uri: str | None = None
    against: Opponent | None = None
    gain: Measured = None
    images: int | None = None
    test_digest: str | None = None
    reason: str = ""

    @property
    def grounds(self) -> str:
        """The reason without the decision that it may begin with, and without a full stop."""
        return self.reason.removeprefix(f"{self.decision}: ").removeprefix("promoted: ").rstrip(".")


class Progress(Part):
    """One line of results/train/progress.csv."""

    timesteps: int
    return_mean: float | None = None
    success_rate: float | None = None
    stage: str | None = None
    steps_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """What ours made of one test image with the most traces.

    path: posix, relative to the data's root. digest: of its pixels, the name of its SVG. params: the setting chosen,
    as JSON. failures: traces of ours that failed on it.
    """

    path: str
    digest: str
    category: Category | str
    value: float
    ratio: float
    bytes: int | None = None
    default_bytes: int | None = None
    ssim: float | None = None
    default_ssim: float | None = None
    zoom_ssim: float | None = None
    default_zoom_ssim: float | None = None
    skill: float | None = None
    default_skill: float | None = None
    params: str | None = None
    failures: int | None = None

    @property
    def improved(self) -> bool:
        return self.value > 0


Values = Mapping[tuple[str, int], Mapping[str, float]]
"""(method, traces) -> image path -> value in natural log units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything a report is made of; what is optional is empty or None when its stage did not run."""

    settings: Settings
    training: Training
    comparison: Comparison
    images: tuple[ImageResult, ...] = ()
    values: Values = field(default_factory=dict)
    progress: tuple[Progress, ...] = ()
    decision: Decision | None = None
    quality: Quality | None = None
    checkpoints: tuple[CheckpointEntry, ...] = ()
    resources: Resources | None = None
    commit: str | None = None
