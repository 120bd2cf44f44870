"""The agent against its rivals on the test images: results/evaluate/evaluate.json and images.parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.intervals import Interval
from pipeline.core.records import ObjectiveName

HEADLINE_TRACES = 8
"""The budget that headlines compare at: what `vectorize` and an episode spend by default."""

OURS, UNTRAINED, DEFAULT, FIXED, PORTFOLIO, RANDOM, TPE = (
    "agent", "untrained", "default", "fixed", "portfolio", "random", "tpe",
)  # fmt: skip
"""Names of methods."""

MethodKind = Literal["ours", "rival", "reference"]

DamageKind = Literal["colour", "detail", "edge", "transparency", "artefact"]
"""What a damaged region shows: a colour of the image that the drawing has nowhere; a detail that is gone; an edge that
moved; what was transparent and is opaque; or something that the image does not have."""


def headline_traces(traces: Sequence[int]) -> int:
    """Of the numbers compared, the one that headlines, pictures and SVGs are of."""
    return HEADLINE_TRACES if HEADLINE_TRACES in traces else max(traces)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """ratio: geometric mean of bytes / the fair default's bytes, lower is better. damaged: share of the images."""

    traces: int
    value: Interval
    ratio: Interval
    damaged: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    name: str
    label: str
    kind: MethodKind
    curve: tuple[CurvePoint, ...]
    by_category: dict[str, tuple[CurvePoint, ...]]

    def point_at(self, traces: int) -> CurvePoint | None:
        """What it reached with at most so many traces; a method that stops earlier keeps what it had."""
        return _reached(self.curve, traces)

    def at(self, traces: int) -> Interval | None:
        """The ratio with at most so many traces; a method that stops earlier keeps what it had."""
        point = _reached(self.curve, traces)
        return point.ratio if point else None

    def damaged_at(self, traces: int) -> Interval | None:
        point = _reached(self.curve, traces)
        return point.damaged if point else None

    def in_category(self, category: str, traces: int) -> Interval | None:
        point = _reached(self.by_category.get(category, ()), traces)
        return point.ratio if point else None

    @property
    def is_flat(self) -> bool:
        """Whether more traces change nothing: a mark rather than a curve."""
        means = [point.ratio.mean for point in self.curve]
        return len(means) < 2 or max(means) - min(means) < 1e-9


def _reached(points: tuple[CurvePoint, ...], traces: int) -> CurvePoint | None:
    return max((p for p in points if p.traces <= traces), key=lambda p: p.traces, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """Ours against one rival, image by image. gain: in value, natural log units, above 0 ours is better.

    difference: what reports show, natural log units: in bytes where the objective seeks few bytes, else the gain.
    damaged, rival_damaged: images with visible damage. better: None where the interval of the gain holds zero.
    """

    against: str
    traces: int
    gain: Interval
    difference: Interval
    damaged: int
    rival_damaged: int
    wins: int
    losses: int
    ties: int
    better: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveTerms:
    """What was sought: the fields of `pipeline.agent.objectives.Objective`."""

    name: ObjectiveName
    max_damage: float
    quality_weight: float
    size_weight: float
    work_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of absolute values."""

    mean: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondRenderer:
    """What another renderer said of the agent's choices. upheld: images on which the choice may stand.

    not_upheld: paths of the others. damage_difference: in pixels, None when it drew nothing.
    """

    renderer: str
    images: int
    upheld: int
    not_upheld: tuple[str, ...]
    damage_difference: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeoffPoint:
    """What the smallest of ours within a limit of damage would come to; where none is within it, the least damaged.

    max_damage: the limit, in pixels. ratio and damaged: as in CurvePoint.
    """

    max_damage: float
    ratio: Interval
    damaged: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class StopPoint:
    """What a stopping rule comes to. traces: made per image. ratio and damaged: as in CurvePoint."""

    traces: Interval
    ratio: Interval
    damaged: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingResult:
    """What `--traces auto` comes to, by the rule that PPO learnt (None without one) and by the plain rule.

    price: of a trace, natural log units. gain: how much more the learnt rule is worth than the plain one: all gains in
    value, each at most 1, less the price of all traces; natural log units.
    """

    price: float
    trained: StopPoint | None
    plain: StopPoint
    gain: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """results/evaluate/evaluate.json. failures: traces of all methods, by kind. second_renderer: None without one.

    left_out: images whose default failed, with the kind. withdrawn: images for which a choice could not be made again:
    the default stands for it.

    tradeoff: size against damage over ours' traces, those of the headline's number, by rising limit. knee: the limit
    where the curve bends most, None where it does not bend. stopping: None where it was not compared.
    """

    run_id: str
    objective: ObjectiveTerms
    images: int
    test_digest: str
    traces: tuple[int, ...]
    confidence: float
    seconds: float
    failures: dict[str, int]
    left_out: dict[str, str] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()
    evaluations: EvaluationTotals
    second_renderer: SecondRenderer | None
    methods: tuple[MethodResult, ...]
    duels: tuple[Duel, ...]
    tradeoff: tuple[TradeoffPoint, ...]
    knee: float | None
    stopping: StoppingResult | None

    def method(self, name: str) -> MethodResult | None:
        return next((m for m in self.methods if m.name == name), None)

    def duel(self, against: str, traces: int) -> Duel | None:
        return next((d for d in self.duels if (d.against, d.traces) == (against, traces)), None)

    def label(self, name: str) -> str:
        method = self.method(name)
        return method.label if method else name

    @property
    def headline_traces(self) -> int:
        return headline_traces(self.traces)

    @property
    def categories(self) -> tuple[str, ...]:
        ours = self.method(OURS)
        return tuple(ours.by_category) if ours else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """One method on one test image at a number of traces: a row of results/evaluate/images.parquet.

    path: posix, relative to the data's root. digest: of its pixels, the name of its SVG. bytes: minified, those of
    VTracer's own text are traced_bytes. params: the setting chosen, as JSON. failures: traces of the method that failed
    on it.
    """

    path: str
    digest: str
    category: str
    value: float
    ratio: float
    bytes: int
    default_bytes: int
    traced_bytes: int
    default_traced_bytes: int
    gzip_bytes: int
    default_gzip_bytes: int
    damage: float
    default_damage: float
    delta: float
    default_delta: float
    ssim: float
    default_ssim: float
    zoom_ssim: float
    default_zoom_ssim: float
    skill: float
    default_skill: float
    params: str
    improved: bool
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedRegion:
    """Part of a drawing that is visibly damaged: its bounds in pixels of the image, and the pixels of damage in it."""

    x: int
    y: int
    width: int
    height: int
    damage: float
    kind: DamageKind
