"""What a training reports: to its callbacks while it runs, and in results/train/train.json when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from pipeline.core.facts.data import SplitSummary
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.intervals import Interval, Trend

LAST_SECONDS = 253_402_300_799  # the end of the year 9999

Phase = Literal["portfolios", "table", "surrogate", "searches", "stopping", "training"]
CheckpointPhase = Literal["surrogate", "training"]
CheckpointReason = Literal["prepared", "interval", "validation", "stopped", "failed", "finished"]
StopKind = Literal["no_improvement", "memory_limit", "stage_not_passed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparationProgress:
    """How far a phase before PPO is.

    done, total: traces, steps of the surrogate's fit, or of PPO on recorded searches. seconds: since the start of the
    first phase.
    """

    phase: Phase
    done: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PPODiagnostics:
    """Of one update of the policy, means over its minibatches; the first five as Stable-Baselines3 defines them.

    approx_kl: from the policy before the update. clip_fraction: share of the samples whose ratio was clipped. entropy:
    of the choice among candidates, nats. value_loss: mean squared error of the critic. explained_variance: of the
    returns, None where they do not differ. kl_greedy: divergence from greedy expected improvement, nats.
    """

    approx_kl: float
    clip_fraction: float
    entropy: float
    value_loss: float
    explained_variance: float | None
    kl_greedy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of results/train/progress.csv: a rollout.

    return_mean and success_rate: of the latest 200 episodes of the stage, None before one has ended. seconds: since the
    training began.
    """

    timesteps: int
    return_mean: float | None
    success_rate: float | None
    stage: str
    seconds: float
    steps_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutProgress(Progress):
    """failures: so far, by kind. memory_bytes: resident memory of the training and its tracing processes.

    ppo: of the update before this rollout, None before the first.
    """

    total_timesteps: int
    failures: dict[str, int]
    memory_bytes: int
    ppo: PPODiagnostics | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanScores:
    """Means over images of the fields of `Scores` and `Metrics` with the same names; docs/metrics.md defines each.

    A score that gets a field here is validated, logged, and written to train.json and validation.csv.
    """

    damage: Interval
    delta: Interval
    ssim: Interval
    zoom_ssim: Interval
    skill: Interval
    mse: Interval
    psnr: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSummary(MeanScores):
    """Over some images. value: natural log units, 0 is the default. failures: traces that gave no picture.

    bytes_ratio: to the fair default's. damaged_ratio: share of the images with visible damage.
    """

    images: int
    failures: int
    value: Interval
    bytes_ratio: Interval
    damaged_ratio: float
    target_reached_ratio: float

    def figures(self) -> dict[str, float]:
        """Every number but the timesteps by its field's name, the mean of each interval; None is left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "timesteps"}
        means = {name: value.mean if isinstance(value, Interval) else value for name, value in values.items()}
        return {name: float(value) for name, value in means.items() if isinstance(value, int | float)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(ValidationSummary):
    """One validation on held-out images. seconds_per_image: of one run. stability: None for a single image.

    consistency: None without stochastic runs. trend: of the value, over the validations so far.
    """

    timesteps: int
    seconds_per_image: float
    stability: float | None
    consistency: float | None
    by_category: dict[str, ValidationSummary]
    trend: Trend


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointProgress:
    """A checkpoint that was written. saved_seconds: since 1970. save_seconds: how long the training waited."""

    timesteps: int
    saved_seconds: float
    save_seconds: float
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointEntry:
    """What is known of a checkpoint without reading it.

    number: counts the saves of a run. seed: of the training. saved_seconds: since 1970. metrics: of the validation made
    at `timesteps`, empty when there was none.
    """

    name: str
    number: int
    seed: int
    timesteps: int
    phase: CheckpointPhase
    reason: CheckpointReason
    saved_seconds: Annotated[float, Field(ge=0, le=LAST_SECONDS)]
    bytes: int
    metrics: Mapping[str, FiniteFloat]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """One attempt at a stage of the curriculum. attempts: up to and with this one.

    Rates are shares of episodes; goal and mean_return are in natural log units. success_rate and mean_return are None
    when no episode ended.
    """

    name: str
    categories: tuple[str, ...]
    difficulty: float
    goal: float
    pass_rate: float
    success_rate: float | None
    passed: bool
    attempts: int
    timesteps: int
    seconds: float
    mean_return: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """Why a training ended before its last timestep. text: one sentence for people, without a full stop."""

    kind: StopKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BestValidation:
    timesteps: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    seed: int
    run_id: str
    best_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpread:
    """Of the best validation values; std: standard deviation."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """results/train/train.json, for the seed that was kept.

    model: name of the run's logged model that models/agent is. started: UTC, ISO 8601, of the first seed. seconds: of
    all seeds. failures: traces, by kind. seed_spread: None for one seed. git_commit, git_dirty: None without git.
    """

    run_id: str
    experiment: str
    tracking_uri: str
    model: str
    seed: int
    started: str
    seconds: float
    total_timesteps: int
    steps_per_second: float
    peak_memory_bytes: int
    stopped: EarlyStop | None
    best: BestValidation
    time_shares: dict[str, float]
    dataset: SplitSummary
    failures: dict[str, int]
    evaluations: EvaluationTotals
    stages: tuple[StageResult, ...]
    seeds: tuple[SeedResult, ...]
    seed_spread: SeedSpread | None
    validations: tuple[Validation, ...]
    git_commit: str | None
    git_dirty: bool | None

    @property
    def final_stages(self) -> tuple[StageResult, ...]:
        """The last attempt at each stage, which decides whether it was passed."""
        return tuple({stage.name: stage for stage in self.stages}.values())
