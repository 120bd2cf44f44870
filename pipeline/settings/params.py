"""params.yaml as frozen, typed, checked values.

Defaults live once, in params.yaml: no field here has one. `load_settings` reports every error at once, each with its
key, its value and what is allowed, before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from pipeline.core.errors import SettingsError
from pipeline.core.records import CATEGORIES, Category, ObjectiveName
from pipeline.settings.ranges import Search, TracingSettings, refuse_repeated
from pipeline.settings.schema import Section, error_lines, read_yaml

Ratio = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


class DataSettings(Section):
    root: Annotated[str, Field(min_length=1)]
    sample_images: Annotated[int, Field(ge=20, le=2000)]
    sample_seed: Seed
    folders: dict[str, Category]
    min_side_pixels: Annotated[int, Field(ge=8, le=1024)]
    max_pixels: Annotated[int, Field(ge=1024, le=2**28)]
    max_file_bytes: Annotated[int, Field(ge=1024, le=2**32)]
    max_reject_ratio: Ratio
    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$", description='a colour, "#rrggbb"')]


class SplitSettings(Section):
    train_ratio: Annotated[float, Field(gt=0, lt=1)]
    val_ratio: Annotated[float, Field(gt=0, lt=1)]
    test_ratio: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)]

    @model_validator(mode="after")
    def _add_up(self) -> SplitSettings:
        total = self.train_ratio + self.val_ratio + self.test_ratio
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train_ratio + val_ratio + test_ratio is {total:g}; they must add up to 1")
        return self


Backend = Literal["local", "ray"]


class ComputeSettings(Section):
    backend: Backend
    workers: Annotated[int, Field(ge=0, le=1024)]
    timeout_seconds: Annotated[float, Field(ge=1, le=600)]
    worker_memory_bytes: Annotated[int, Field(ge=500_000_000)]
    memory_limit_bytes: Annotated[int, Field(ge=500_000_000)]
    store_bytes: Annotated[int, Field(ge=10_000_000, le=2**40)]


class Weights(Section):
    quality: Ratio
    size: Ratio
    work: Ratio

    @model_validator(mode="after")
    def _some(self) -> Weights:
        if not self.quality and not self.size and not self.work:
            raise ValueError("all weights are 0; at least one must be above 0")
        return self


class ObjectiveSettings(Section):
    name: ObjectiveName
    max_damage: Annotated[float, Field(gt=0, le=100)]
    weights: Weights


class PPOSettings(Section):
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    n_steps: Annotated[int, Field(ge=2)]
    batch_size: Annotated[int, Field(ge=2)]
    n_epochs: Positive
    gamma: Annotated[float, Field(gt=0, le=1)]
    gae_lambda: Ratio
    clip_range: Annotated[float, Field(gt=0, le=1)]
    ent_coef: Annotated[float, Field(ge=0, le=1)]
    kl_coef: Annotated[float, Field(ge=0, le=10)]
    hidden_units: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)]


class TrainSettings(Section):
    seed: Seed
    n_seeds: Annotated[int, Field(ge=1, le=100)]
    simulated_timesteps: Annotated[int, Field(ge=0)]
    total_timesteps: Positive
    max_steps: Annotated[int, Field(ge=1, le=200)]
    vary_budget: bool
    trace_price: Annotated[float, Field(gt=0, le=1)]
    stopping_images: Annotated[int, Field(ge=0)]
    n_envs: Annotated[int, Field(ge=1, le=1024)]
    table_traces: Annotated[int, Field(ge=4)]
    surrogate_steps: Annotated[int, Field(ge=10)]
    shortlist: Annotated[int, Field(ge=2, le=256)]
    portfolio_images: Positive
    portfolio_candidates: Annotated[int, Field(ge=2)]
    other_portfolio_candidates: Annotated[int, Field(ge=0)]
    eval_every_timesteps: Positive
    early_stopping_patience: Annotated[int, Field(ge=0)]
    ppo: PPOSettings

    @model_validator(mode="after")
    def _batch_fits(self) -> TrainSettings:
        rollout = self.n_envs * self.ppo.n_steps
        if self.ppo.batch_size > rollout:
            raise ValueError(
                f"ppo.batch_size {self.ppo.batch_size} is more than one rollout, n_envs x ppo.n_steps = {rollout}"
            )
        return self


class CheckpointSettings(Section):
    every_timesteps: Positive
    every_seconds: Annotated[float, Field(gt=0)]
    keep_last: Annotated[int, Field(ge=1, le=1000)]
    keep_every: Annotated[int, Field(ge=0)]
    best_metric: Annotated[str, Field(min_length=1)]
    best_mode: Literal["max", "min"]
    compress: bool
    max_bytes: Annotated[int, Field(ge=10**6)]


class MonitoringSettings(Section):
    sample_every_seconds: Annotated[float, Field(ge=0, le=3600)]


class StageSettings(Section):
    name: Annotated[str, Field(min_length=1)]
    categories: Annotated[tuple[Category, ...], Field(min_length=1, strict=False)]
    difficulty: Ratio
    timesteps_ratio: Annotated[float, Field(gt=0, le=1)]
    pass_rate: Ratio
    goal: float
    retries: Annotated[int, Field(ge=0, le=10)]

    @model_validator(mode="after")
    def _different(self) -> StageSettings:
        refuse_repeated(self.categories, "categories")
        return self


class CurriculumSettings(Section):
    enabled: bool
    stages: Annotated[tuple[StageSettings, ...], Field(min_length=1, strict=False)]
    on_failure: Literal["continue", "stop"]

    @model_validator(mode="after")
    def _different(self) -> CurriculumSettings:
        refuse_repeated((stage.name for stage in self.stages), "the names of stages")
        return self


class ValidationSettings(Section):
    images_per_category: Positive
    sampling: Literal["round_robin", "random", "least_evaluated"]
    stochastic_runs: Annotated[int, Field(ge=0, le=20)]
    target_skill: dict[Category, Ratio]

    @model_validator(mode="after")
    def _all_categories(self) -> ValidationSettings:
        missing = [c for c in CATEGORIES if c not in self.target_skill]
        if missing:
            raise ValueError(f"target_skill has no value for {', '.join(missing)}")
        return self


class EvaluateSettings(Section):
    seed: Seed
    traces: Annotated[tuple[Positive, ...], Field(min_length=1, strict=False)]
    tpe_startup_trials: Positive
    bootstrap_samples: Annotated[int, Field(ge=100)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]

    @model_validator(mode="after")
    def _ascending(self) -> EvaluateSettings:
        if any(a >= b for a, b in pairwise(self.traces)):
            raise ValueError(f"traces {list(self.traces)} must ascend, each number once")
        return self


class RegisterSettings(Section):
    min_improvement: Annotated[float, Field(ge=0)]


TuneObjective = Literal["value", "bytes_ratio", "damaged_ratio", "delta", "seconds"]


class TuneSettings(Section):
    trials: Positive
    seed: Seed
    objectives: Annotated[tuple[TuneObjective, ...], Field(min_length=1, strict=False)]
    pruner: Literal["median", "none"]
    startup_trials: Positive
    space: Annotated[
        dict[str, Search],
        Field(min_length=1, description="settings of train, objective and curriculum by their dotted names"),
    ]

    @model_validator(mode="after")
    def _prunable(self) -> TuneSettings:
        refuse_repeated(self.objectives, "objectives")
        if self.pruner != "none" and (len(self.objectives) > 1 or self.objectives[0] == "seconds"):
            raise ValueError(
                "pruner must be none with several objectives, or with seconds: there is no one to prune by"
            )
        return self


EXECUTION = (
    "checkpoints",
    "compute.backend",
    "compute.memory_limit_bytes",
    "compute.store_bytes",
    "compute.workers",
    "monitoring",
)
"""Settings that every stage may read without declaring them: they decide when a training is saved and sampled, and
where and by how many processes the work is done. The result is the same to the bit."""


class Settings(Section):
    """The whole of params.yaml."""

    _recorded: Settings | None = PrivateAttr(default=None)

    experiment: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
            description="1 to 64 letters, digits, - and _, the first a letter or digit",
        ),
    ]
    data: DataSettings
    split: SplitSettings
    compute: ComputeSettings
    objective: ObjectiveSettings
    tracing: TracingSettings
    train: TrainSettings
    checkpoints: CheckpointSettings
    monitoring: MonitoringSettings
    curriculum: CurriculumSettings
    validation: ValidationSettings
    evaluate: EvaluateSettings
    register_: Annotated[RegisterSettings, Field(alias="register")]
    tune: TuneSettings

    def to_json(self) -> dict[str, Any]:
        """As params.yaml has it; `parse_settings` takes it back. All of it, after `only` as well: runs record it."""
        return (self._recorded or self).model_dump(mode="json", by_alias=True)

    def only(self, keys: Iterable[str]) -> Settings:
        """These settings limited to dotted keys and EXECUTION: reading another one raises AttributeError.

        A stage takes its settings through this, so that it reads nothing that dvc.yaml does not list among its params.
        """
        limited = _limited(self, [*keys, *EXECUTION])
        limited._recorded = self
        return limited


S = TypeVar("S", bound=Section)


def _limited(section: S, keys: Sequence[str]) -> S:
    values: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        inner = [rest for first, _, rest in (key.partition(".") for key in keys) if first == (field.alias or name)]
        if inner:
            value = getattr(section, name)
            values[field.alias or name] = value if "" in inner else _limited(value, inner)
    return type(section).model_construct(**values)


def load_settings(path: Path) -> Settings:
    """Read and check params.yaml.

    Raises SettingsError naming every unknown or repeated key and every value out of range.
    """
    try:
        values, repeated = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); run from the project's folder") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not valid YAML: {error}") from error
    return parse_settings(values, str(path), repeated)


def parse_settings(values: Any, source: str, wrong: Sequence[str] = ()) -> Settings:
    """Check settings already read from YAML or JSON.

    source: names them in the message. wrong: errors found before, told with the others. Raises SettingsError.
    """
    lines = list(wrong)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines += error_lines(Settings, error.errors(include_url=False))
    if lines:
        count = f"{len(lines)} errors" if len(lines) > 1 else "an error"
        raise SettingsError(f"{source} has {count}:\n  " + "\n  ".join(lines))
    return settings
