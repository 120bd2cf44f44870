"""Small stand-ins, and the values that tests of the agent and the searches share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.agent.agent import Agent
from pipeline.agent.candidates import CANDIDATE_FEATURES
from pipeline.agent.features import CONTEXT_SIZE, STATE_SIZE
from pipeline.agent.objectives import Objective
from pipeline.agent.policy import Policy
from pipeline.agent.screen import Screen
from pipeline.agent.surrogate import Surrogate, weight_shapes
from pipeline.agent.task import Task
from pipeline.core.records import (
    CATEGORIES,
    DEFAULT_PARAMS,
    VISIBLE_DAMAGE,
    Category,
    Evaluation,
    Failed,
    FailureKind,
    Job,
    Logo,
    Metrics,
    Pruned,
    Scored,
    Scores,
    TracerParams,
)
from pipeline.data.probe import measure
from pipeline.settings.params import Settings, parse_settings
from pipeline.tracing.evaluator import Pending
from pipeline.tracing.space import ParameterSpace

ROOT = Path(__file__).parents[2]

FAITHFUL = Objective(name="faithful", max_damage=20.0, quality_weight=0.5, size_weight=0.5, work_weight=0.0)
SMALLER = replace(FAITHFUL, name="smaller")

MUCH_MEMORY_BYTES = 2**40
"""A limit for trainings inside a test's process, which has grown by what other tests imported and made."""


def settings_with(**changes: Any) -> Settings:
    """params.yaml with some values changed; keys are dotted paths with `__` for the dots."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["compute"]["memory_limit_bytes"] = MUCH_MEMORY_BYTES
    for path, value in changes.items():
        *sections, key = path.split("__")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[key] = value
    return parse_settings(values, "params.yaml")


def space_of(settings: Settings | None = None) -> ParameterSpace:
    return ParameterSpace.from_settings((settings or settings_with()).tracing)


def metrics(**changes: float) -> Metrics:
    values: dict[str, Any] = {
        "gzip_bytes": 400,
        "ssim": 0.95,
        "skill": 0.8,
        "mse": 40.0,
        "psnr": 32.0,
        "zoom_ssim": 0.9,
    }
    return Metrics(**(values | changes))


def scores(**changes: Any) -> Scores:
    """Of a sound picture, and without metrics, unless other values are given."""
    values: dict[str, Any] = {
        "svg_bytes": 1000,
        "traced_bytes": 2500,
        "paths": 5,
        "nodes": 50,
        "damage": 0.5 * VISIBLE_DAMAGE,
        "delta": 1.0,
    }
    return Scores(**(values | changes))


def tiny_screen(space: ParameterSpace | None = None, size: int = 6) -> Screen:
    """Its surrogate has learnt nothing, its bank is random."""
    space = space or space_of()
    rng = np.random.default_rng(3)
    shapes = weight_shapes(CONTEXT_SIZE, space)
    drawn = {name: rng.uniform(-1, 1, shape) / np.sqrt(shape[-1]) for name, shape in shapes.items()}
    kernel = {f"{part}_std": np.full(3, -1.5) for part in ("place", "setting", "image", "noise")}
    kernel |= {f"{part}_scale": np.zeros(shapes[f"{part}_scale"]) for part in ("place", "setting")}
    norm = {"context_mean": np.zeros(CONTEXT_SIZE), "context_std": np.ones(CONTEXT_SIZE)}
    weights = {name: values.astype(np.float32) for name, values in (drawn | kernel | norm).items()}
    bank = rng.random((32, space.size)).astype(np.float32)
    return Screen(Surrogate(CONTEXT_SIZE, space, weights), space, {"faithful": bank, "smaller": bank.copy()}, size)


def tiny_agent(**changes: Any) -> Agent:
    """Untrained, with one setting in its portfolio; trained for its objective unless told otherwise."""
    objective = changes.get("objective", FAITHFUL)
    values: dict[str, Any] = {
        "policy": random_policy(0.0),
        "screen": tiny_screen(),
        "objective": objective,
        "trained_for": objective.name,
        "portfolios": {objective.name: {"simple": [replace(DEFAULT_PARAMS, color_precision=3)]}},
        "max_steps": 4,
        "stopping_rule": None,
        "trace_price": 0.01,
        "background": "#ffffff",
        "timeout_seconds": 20.0,
        "worker_memory_bytes": 2 * 10**9,
    } | changes
    return Agent(**values)


def random_policy(scale: float, seed: int = 3) -> Policy:
    """Its last layer draws from +-scale, so that it need not agree with the surrogate about what is promising."""
    rng = np.random.default_rng(seed)
    actor, score = "mlp_extractor.actor.0", "mlp_extractor.score"
    inputs = STATE_SIZE + len(CANDIDATE_FEATURES)
    drawn = {
        f"{actor}.weight": rng.normal(0, 1 / np.sqrt(inputs), (8, inputs)),
        f"{actor}.bias": np.zeros(8),
        f"{score}.weight": rng.normal(0, scale, (1, 8)),
        f"{score}.bias": np.zeros(1),
    }
    return Policy({name: values.astype(np.float32) for name, values in drawn.items()})


def rgba_of(seed: int, side: int = 32) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A coloured rectangle on white: not blank, and different for every seed."""
    rng = np.random.default_rng(seed)
    rgba = np.full((side, side, 4), 255, dtype=np.uint8)
    x, y = rng.integers(2, side // 2, 2)
    rgba[y : y + side // 3, x : x + side // 3, :3] = rng.integers(0, 200, 3)
    return rgba


def task_of(seed: int, category: Category | None = None) -> Task:
    rgba = rgba_of(seed)
    logo = Logo.of(f"logo-{seed}.png", rgba, category or CATEGORIES[seed % 4])
    default = Scored(logo.digest, DEFAULT_PARAMS, scores(metrics=metrics()), 0.01, "<svg/>")
    return Task(logo, measure(rgba).as_array(), default)


class Done:
    """Evaluations that were not waited for."""

    def __init__(self, evaluations: list[Evaluation]) -> None:
        self._evaluations = evaluations

    @property
    def done(self) -> bool:
        return True

    def collect(self) -> list[Evaluation]:
        return self._evaluations


class FakeEvaluator:
    """Scores by formula: fewer colours are smaller, a strong speckle filter damages. Keeps what it is asked."""

    def __init__(self, fails: Callable[[Job], bool] = lambda job: False, kind: FailureKind = "panic") -> None:
        self._fails, self._kind = fails, kind
        self.jobs: list[Job] = []

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        self.jobs += jobs
        return [self._one(job) for job in jobs]

    def submit(self, jobs: Sequence[Job]) -> Done:
        return Done(self.evaluate(jobs))

    def submit_each(self, jobs: Sequence[Job]) -> list[Done]:
        return [self.submit([job]) for job in jobs]

    def wait(self, pending: Sequence[Pending]) -> None:
        """All are done."""

    def _one(self, job: Job) -> Evaluation:
        if self._fails(job):
            return Failed(job.logo.digest, job.params, self._kind, "as asked", 0.01)
        found = formula(job.params)
        if found.svg_bytes > job.gate.max_bytes:
            return Pruned(job.logo.digest, job.params, found.svg_bytes, None, 0.01)
        if found.damage > job.gate.max_damage:
            return Pruned(job.logo.digest, job.params, found.svg_bytes, found.damage, 0.01)
        svg = f"<svg><!-- {job.params.layer_difference} --></svg>" if job.keep_svg else None
        measured = replace(found, metrics=metrics(ssim=1 - found.delta / 20)) if job.metrics else found
        return Scored(job.logo.digest, job.params, measured, 0.01, svg)


def formula(params: TracerParams) -> Scores:
    grid = 20 * min(params.steps_per_pixel, 10)
    size = round(300 + 40 * params.color_precision + 800 / params.layer_difference + grid - 200 * params.simplify)
    speckle = 0.75 * max(0, params.filter_speckle - 5)
    return scores(
        svg_bytes=size,
        traced_bytes=3 * size,
        damage=VISIBLE_DAMAGE * (0.25 + 0.0025 * params.layer_difference + speckle + params.simplify),
        delta=0.8 + 0.02 * params.filter_speckle + 0.002 * params.layer_difference,
    )
