"""The order in which the images come, and whether a stage was passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.records import Category
from pipeline.settings.params import CurriculumSettings, StageSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage as it will be trained. timesteps: a multiple of the rollout, at least one."""

    settings: StageSettings
    timesteps: int


def plan(settings: CurriculumSettings, total_timesteps: int, rollout: int) -> list[Stage]:
    """Share the timesteps out over the stages in proportion, in whole rollouts of `rollout` timesteps.

    Switched off, the last stage's images are trained on for the whole time.
    """
    stages = settings.stages if settings.enabled else settings.stages[-1:]
    total = sum(s.timesteps_ratio for s in stages)
    rollouts = max(len(stages), total_timesteps // rollout)
    ends, reached = [0], 0.0
    for stage in stages:
        reached += stage.timesteps_ratio / total
        ends.append(max(ends[-1] + 1, round(rollouts * reached)))
    return [Stage(s, (end - start) * rollout) for s, start, end in zip(stages, ends, ends[1:], strict=False)]


def stage_images(stage: StageSettings, categories: Sequence[Category], complexities: Sequence[float]) -> list[int]:
    """Indices of the images a stage trains on: of its categories, the `difficulty` share that is least complex.

    At least one image of each of its categories that has any.
    """
    chosen: list[int] = []
    for category in stage.categories:
        members = sorted((i for i, c in enumerate(categories) if c == category), key=lambda i: complexities[i])
        chosen += members[: max(1, math.ceil(stage.difficulty * len(members)))]
    return chosen


def success_rate(returns: Sequence[float], goal: float) -> float | None:
    """The share of episodes whose return reached the goal; None when no episode ended."""
    return sum(r >= goal for r in returns) / len(returns) if returns else None
