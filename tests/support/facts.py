"""Records as the stages write them: a training of 20,480 timesteps, compared on 40 test images, promoted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.facts.comparison import (
    Comparison,
    CurvePoint,
    Difference,
    Duel,
    ImageResult,
    MethodKind,
    MethodResult,
    ObjectiveTerms,
    SecondRenderer,
    StoppingResult,
    StopPoint,
    TradeoffPoint,
)
from pipeline.core.facts.data import (
    CategoryQuality,
    GroupCounts,
    PixelCategory,
    QualityReport,
    RejectedFile,
    SplitContent,
    SplitSummary,
)
from pipeline.core.facts.decision import ChampionVersion, Decision
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.facts.training import (
    BestValidation,
    CheckpointEntry,
    PPODiagnostics,
    RolloutProgress,
    SeedResult,
    StageResult,
    TrainReport,
    Validation,
    ValidationSummary,
)
from pipeline.core.intervals import Bootstrap, Interval, Trend
from pipeline.core.records import CATEGORIES

TRACES = (1, 4, 8, 16)
TEST_IMAGES = {"simple": 13, "text": 11, "gradient": 9, "complex": 7}
DIFFICULTY = {"simple": 1.15, "text": 0.9, "gradient": 0.75, "complex": 1.1}

# method: label, kind, mean gain in log units at 1, 4, 8 and 16 traces
METHODS: dict[str, tuple[str, MethodKind, tuple[float, float, float, float]]] = {
    "agent": ("tracewright", "ours", (0.44, 0.55, 0.60, 0.635)),
    "untrained": ("untrained policy", "reference", (0.43, 0.52, 0.545, 0.565)),
    "default": ("VTracer's default", "reference", (0.0, 0.0, 0.0, 0.0)),
    "preset_bw": ("preset bw", "reference", (0.01, 0.01, 0.01, 0.01)),
    "preset_poster": ("preset poster", "reference", (0.03, 0.03, 0.03, 0.03)),
    "preset_photo": ("preset photo", "reference", (0.012, 0.012, 0.012, 0.012)),
    "fixed": ("best fixed per category", "rival", (0.43, 0.43, 0.43, 0.43)),
    "portfolio": ("portfolio per category", "rival", (0.43, 0.50, 0.53, 0.55)),
    "random": ("random search", "rival", (0.08, 0.27, 0.38, 0.48)),
    "tpe": ("Optuna TPE", "rival", (0.08, 0.29, 0.44, 0.56)),
}


BOOTSTRAP = Bootstrap(200, 0.95)
RUN = "6f1c2a90b7de4c0e8d5a3b1f0e9c7a24"
EVALUATIONS = EvaluationTotals(
    asked=900, found=210, failures={"panic": 3, "timeout": 1}, bit_comparable=True, versions={"tracer": "0.6.15"}
)


TRADEOFF = tuple(
    TradeoffPoint(max_damage=limit, ratio=Interval(ratio, ratio - 0.1, ratio + 0.1), damaged=Interval(hurt, 0.0, 0.6))
    for limit, ratio, hurt in ((0.0, 0.8, 0.05), (1.0, 0.7, 0.05), (3.0, 0.5, 0.2), (10.0, 0.46, 0.4))
)


def point(values: NDArray[np.float64], traces: int) -> CurvePoint:
    interval = BOOTSTRAP.mean(values)
    damaged = Interval(0.05, 0.0, 0.1)
    return CurvePoint(traces=traces, value=interval, ratio=interval.as_ratio(), damaged=damaged)


def comparison(values: dict[str, NDArray[np.float64]], categories: list[str]) -> Comparison:
    members = {c: [i for i, k in enumerate(categories) if k == c] for c in CATEGORIES}
    methods = tuple(
        MethodResult(
            name=name,
            label=label,
            kind=kind,
            curve=tuple(point(values[name][:, k], t) for k, t in enumerate(TRACES)),
            by_category={
                c: tuple(point(values[name][m, k], t) for k, t in enumerate(TRACES)) for c, m in members.items()
            },
        )
        for name, (label, kind, _) in METHODS.items()
    )
    duels = tuple(
        duel(name, t, values["agent"][:, k] - values[name][:, k])
        for name in METHODS
        if name != "agent"
        for k, t in enumerate(TRACES)
    )
    return comparison_of(methods=methods, duels=duels, images=len(categories))


def comparison_of(**changes: Any) -> Comparison:
    """Without any method, unless changed."""
    terms = ObjectiveTerms(name="faithful", max_damage=20.0, quality_weight=0.5, size_weight=0.5, work_weight=0.0)
    second = SecondRenderer(
        renderer="resvg-py 0.3.3", images=40, upheld=40, not_upheld=(),
        damage_difference=Difference(mean=0.4, max=3.5),
    )  # fmt: skip
    values: dict[str, Any] = {
        "run_id": RUN, "objective": terms, "images": 40, "test_digest": "ab" * 32, "traces": TRACES,
        "confidence": 0.95, "seconds": 431.5, "failures": {"panic": 3, "timeout": 1}, "methods": (), "duels": (),
        "evaluations": EVALUATIONS, "second_renderer": second, "tradeoff": TRADEOFF, "knee": 3.0,
        "stopping": stopping_of(),
    }  # fmt: skip
    return Comparison(**values | changes)


def stopping_of(low: float = 0.02, high: float = 0.08) -> StoppingResult:
    """low, high: of the interval of the gain."""

    def stop_point(traces: float, ratio: float) -> StopPoint:
        around = [Interval(mean=x, low=x * 0.9, high=x * 1.1) for x in (traces, ratio, 0.1)]
        return StopPoint(traces=around[0], ratio=around[1], damaged=around[2])

    gain = Interval(mean=(low + high) / 2, low=low, high=high)
    return StoppingResult(price=0.01, trained=stop_point(11.9, 0.6), plain=stop_point(20.3, 0.59), gain=gain)


def duel(against: str, traces: int, gains: NDArray[np.float64]) -> Duel:
    gain = BOOTSTRAP.mean(gains)
    better = True if gain.low > 0 else False if gain.high < 0 else None
    wins, losses = int((gains > 1e-9).sum()), int((gains < -1e-9).sum())
    ties = len(gains) - wins - losses
    return Duel(
        against=against, traces=traces, gain=gain, difference=gain, damaged=2, rival_damaged=30, better=better,
        wins=wins, losses=losses, ties=ties,
    )  # fmt: skip


# name, categories, difficulty, asked for, reached, timesteps; one row per attempt
STAGES = [
    ("simple", ("simple",), 0.1, 0.80, 0.91, 2048),
    ("text", ("simple", "text"), 0.3, 0.75, 0.69, 1536),
    ("text", ("simple", "text"), 0.3, 0.75, 0.83, 1536),
    ("gradient", ("simple", "text", "gradient"), 0.6, 0.70, 0.61, 4096),
    ("gradient", ("simple", "text", "gradient"), 0.6, 0.70, 0.64, 4096),
    ("complex", ("simple", "text", "gradient", "complex"), 1.0, 0.65, 0.78, 7168),
]


def train_report(seed: int = 3, **changes: Any) -> TrainReport:
    rng = np.random.default_rng(seed)
    stages = tuple(
        StageResult(
            name=n, categories=c, difficulty=d, goal=0.05, pass_rate=p, success_rate=s, passed=s >= p,
            attempts=[r[0] for r in STAGES[: k + 1]].count(n), timesteps=t, seconds=t / 41.0, mean_return=0.3 + 0.2 * s,
        )
        for k, (n, c, d, p, s, t) in enumerate(STAGES)
    )  # fmt: skip
    validations = tuple(validation(t, rng) for t in range(0, 20481, 2048))
    best = max(validations, key=lambda v: v.value.mean)
    values: dict[str, Any] = {
        "run_id": RUN, "experiment": "tracewright", "seed": 1, "tracking_uri": "sqlite:///.tracewright/mlflow.db",
        "started": "2025-01-07T09:12:44+00:00", "seconds": 612.0, "total_timesteps": 20480, "steps_per_second": 41.3,
        "peak_memory_bytes": 1_240_000_000, "stopped": None,
        "best": BestValidation(timesteps=best.timesteps, value=best.value.mean), "model": f"agent-{best.timesteps}",
        "time_shares": {
            "tracing": 0.61, "ppo": 0.17, "tracking": 0.01, "validation": 0.09,
            "portfolios": 0.02, "table": 0.08, "surrogate": 0.02,
        },
        "dataset": split_summary(), "failures": {"panic": 9, "timeout": 2, "empty": 14}, "evaluations": EVALUATIONS,
        "stages": stages, "seeds": (SeedResult(seed=1, run_id=RUN, best_value=best.value.mean),), "seed_spread": None,
        "validations": validations, "git_commit": None, "git_dirty": None,
    }  # fmt: skip
    return TrainReport(**values | changes)


def split_summary() -> SplitSummary:
    by_category = {c: {"train": 7 * n, "val": 2 * n, "test": n} for c, n in TEST_IMAGES.items()}
    train, val, test = (
        SplitContent(images=sum(n[s] for n in by_category.values()), groups=9, digest=s * 8)
        for s in ("train", "val", "test")
    )
    groups = GroupCounts(count=27, of_several=4, largest=12, largest_group="simple/logo-00.png")
    return SplitSummary(train=train, val=val, test=test, by_category=by_category, groups=groups, aside=())


def around(mean: float, half: float) -> Interval:
    return Interval(mean, mean - half, mean + half)


def validation(timesteps: int, rng: np.random.Generator) -> Validation:
    value = 0.50 + 0.08 * (1 - np.exp(-timesteps / 7000)) + float(rng.normal(0, 0.009))
    scores = {
        "damage": around(1.4, 0.9), "delta": around(0.82, 0.1),
        "ssim": around(0.9712, 0.006), "zoom_ssim": around(0.9633, 0.008), "skill": around(0.874, 0.02),
        "mse": around(48.0, 9.0), "psnr": around(32.1, 0.8),
    }  # fmt: skip
    by_category = {
        c: ValidationSummary(
            images=6, failures=0, value=around(value * d, 0.1), bytes_ratio=around(float(np.exp(-value * d)), 0.06),
            damaged_ratio=0.05, target_reached_ratio=0.8, **scores,
        )
        for c, d in DIFFICULTY.items()
    }  # fmt: skip
    return Validation(
        timesteps=timesteps, images=24, failures=0, value=around(value, 0.07),
        bytes_ratio=around(float(np.exp(-value)), 0.04), damaged_ratio=0.05, target_reached_ratio=0.79,
        seconds_per_image=0.21,
        stability=0.021, consistency=0.013, by_category=by_category, trend=Trend("improving", 0.0031, 0.0008, 0.0049),
        **scores,
    )  # fmt: skip


def decision() -> Decision:
    return Decision(
        decision="promoted", name="tracewright", version="3", alias="champion", run_id="6f1c",
        model_uri="models:/tracewright/3", against=ChampionVersion(version="2", run_id="77aa"),
        gain=around(0.031, 0.018), wins=25, losses=10, images=40, left_out=0, test_digest="ab" * 32,
        reason="promoted: better beyond chance; 3.1 % better than the champion in the objective, on 40 images",
    )  # fmt: skip


def quality() -> QualityReport:
    rejected = [("a/small.png", "too-small"), ("a/b|c`d.png", "undecodable"), ("e.png", "too-small")]
    categories = {
        str(c): CategoryQuality(images=100, from_folder=99, from_pixels=1, confidence_mean=0.8, quality_mean=0.87)
        for c in CATEGORIES
    }
    return QualityReport(
        root="data/samples", images=400, distinct_images=398, reject_ratio=0.0074, quality_mean=0.87,
        categories=categories, recommendations=("3 files were rejected; each is listed.",),
        rejected=tuple(RejectedFile(path=p, reason=r, detail="as it was drawn") for p, r in rejected),
        from_pixels=(PixelCategory(path="x.png", category="text", confidence=0.41),), modes={"RGBA": 400},
        measures={"sharpness": (0.1, 0.3, 0.5, 0.7, 0.9)},
    )  # fmt: skip


def image_result(**changes: Any) -> ImageResult:
    """One that kept the default."""
    values: dict[str, Any] = {
        "path": "a.png", "digest": "d", "category": "text", "value": 0.0, "ratio": 1.0, "bytes": 100,
        "default_bytes": 100, "traced_bytes": 180, "default_traced_bytes": 180, "gzip_bytes": 70,
        "default_gzip_bytes": 70, "damage": 0.0, "default_damage": 0.0,
        "delta": 0.6, "default_delta": 0.6, "ssim": 0.97, "default_ssim": 0.97, "zoom_ssim": 0.96,
        "default_zoom_ssim": 0.96,
        "skill": 0.87, "default_skill": 0.87, "params": "{}", "improved": False, "failures": 0,
    }  # fmt: skip
    return ImageResult(**values | changes)


def checkpoint_entry(number: int, timesteps: int, size: int = 1000) -> CheckpointEntry:
    return CheckpointEntry(
        name=f"{number:06d}-{timesteps}.ckpt", number=number, seed=1, timesteps=timesteps, phase="training",
        reason="validation", saved_seconds=1.7e9, bytes=size, metrics={"value": 0.5},
    )  # fmt: skip


def rollout_progress(**changes: Any) -> RolloutProgress:
    """After 64 of 512 timesteps, in the stage `text`."""
    values: dict[str, Any] = {
        "timesteps": 64, "total_timesteps": 512, "stage": "text", "return_mean": 0.4, "success_rate": 0.5,
        "seconds": 2.0, "steps_per_second": 32.0, "failures": {"panic": 2}, "memory_bytes": 10**9,
        "ppo": PPODiagnostics(
            approx_kl=0.01, clip_fraction=0.1, entropy=1.2, value_loss=0.3, explained_variance=0.5, kl_greedy=0.02
        ),
    }  # fmt: skip
    return RolloutProgress(**values | changes)


def stage_result(**changes: Any) -> StageResult:
    values: dict[str, Any] = {
        "name": "simple", "categories": ("simple",), "difficulty": 0.1, "goal": 0.05, "pass_rate": 0.8,
        "success_rate": 0.9, "passed": True, "attempts": 1, "timesteps": 100, "seconds": 2.0, "mean_return": 0.4,
    }  # fmt: skip
    return StageResult(**values | changes)
