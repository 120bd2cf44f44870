"""One image being worked on: the state behind an episode of training and behind `vectorize` alike.

An action is a vector of -1 to 1, one number per free parameter. 0 keeps the anchor; -1 and 1 reach the ends of the
parameter's range, in two straight pieces, so that every action means a different setting and none is clipped away.
The anchor is the next opening (settings found good on the training images of the category) and, once those are used
up, the best setting so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import (
    DEFAULT_PARAMS,
    EVERYTHING,
    Category,
    Evaluation,
    Job,
    Logo,
    Lost,
    Scored,
    Scores,
    TracerParams,
)
from pipeline.rl import features
from pipeline.rl.features import Attempt, Vector
from pipeline.rl.reward import Baseline, Objective
from pipeline.tracing.space import ParameterSpace

Openings = Mapping[Category, Sequence[TracerParams]]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """An image with what is known before the first counted trace. measures: float32, in the order of MEASURE_NAMES."""

    logo: Logo
    measures: Vector
    default: Scored
    baseline: Baseline

    @property
    def scores(self) -> Scores:
        """The command-line default's scores, zoom SSIM included."""
        return self.default.scores


class Episode:
    """Up to `max_steps` traces of one image, and the best of them.

    trained_steps: the most traces of an episode in the policy's training; None where it is this one's.
    best_value never falls and starts at 0, the value of the default, so the rewards add up to what was achieved.
    """

    def __init__(
        self,
        task: Task,
        objective: Objective,
        space: ParameterSpace,
        openings: Sequence[TracerParams],
        max_steps: int,
        trained_steps: int | None = None,
    ) -> None:
        self.task = task
        self.objective = objective
        self.space = space
        self.max_steps = max_steps
        self._trained_steps = trained_steps or max_steps
        self.openings = openings
        self.spent = 0
        self.best_value = 0.0
        self.best: Scored | None = None
        self.last: Attempt | None = None
        self._still = np.concatenate(
            [
                features.image_part(task.measures, task.logo.category),
                features.goal_part(objective.name, objective.target),
                features.default_part(task.baseline.bar),
            ]
        )

    @property
    def done(self) -> bool:
        return self.spent >= self.max_steps

    @property
    def opening_due(self) -> bool:
        return self.spent < len(self.openings)

    @property
    def anchor(self) -> TracerParams:
        if self.opening_due:
            return self.openings[self.spent]
        return self.best.params if self.best else (self.openings[0] if self.openings else DEFAULT_PARAMS)

    def params_for(self, action: Vector) -> TracerParams:
        """The setting that an action of shape (space.size,) in [-1, 1] stands for at this point."""
        return self.space.decode(move(self.space.encode(self.anchor), action))

    def job(self, params: TracerParams, *, keep_svg: bool = False, every_score: bool = False) -> Job:
        """The evaluation of a setting; unless told otherwise, what cannot become the best is measured no further."""
        gate = EVERYTHING if every_score else self.objective.gate(self.best_value, self.task.baseline)
        return Job(self.task.logo, params, gate, keep_svg)

    def record(self, evaluation: Evaluation) -> float:
        """Take in one result; returns the reward, the gain in the best value (0 or more)."""
        self.spent += 1
        self.last = self._attempt(evaluation)
        if not isinstance(evaluation, Scored):
            return 0.0
        params, scores = evaluation.params, evaluation.scores
        value = self.objective.value(params, scores, self.task.baseline)
        if value is None or value <= self.best_value:
            return 0.0
        gain, self.best_value, self.best = value - self.best_value, value, evaluation
        return gain

    def _shown_budget(self) -> tuple[int, int]:
        """Traces spent and traces in all, as the policy is shown them.

        What it was never trained on would be noise to it. So in an episode longer than any of its training, every
        refinement is shown as the first of one in the longest: openings done, much still to come.
        """
        if self.max_steps <= self._trained_steps:
            return self.spent, self.max_steps
        return min(self.spent, len(self.openings), self._trained_steps - 1), self._trained_steps

    def _attempt(self, evaluation: Evaluation) -> Attempt:
        unit, baseline = self.space.encode(evaluation.params), self.task.baseline
        match evaluation:
            case Scored(params=params, scores=scores):
                graded = self.objective.graded(params, scores, baseline)
                return Attempt(unit, graded, scores.svg_bytes, scores.ssim, scores.zoom_ssim)
            case Lost(svg_bytes=svg_bytes, ssim=ssim):
                return Attempt(unit, self.objective.graded_lost(evaluation, baseline), svg_bytes, ssim)
            case _:
                return Attempt(unit)

    def observation(self) -> Vector:
        """float32 of shape (observation_size,), not yet normalised."""
        bar = self.task.baseline.bar
        return np.concatenate(
            [
                self._still,
                features.budget_part(*self._shown_budget(), self.opening_due),
                self.space.encode(self.anchor),
                features.best_part(self.best_value, self.best.scores if self.best else None, bar),
                features.last_part(self.last, self.space.size, bar),
            ]
        ).astype(np.float32)


def move(anchor: Vector, action: Vector) -> Vector:
    """From `anchor` in [0, 1] towards 0 or 1: -1 arrives at 0, 1 at 1, 0 stays; each side is linear."""
    action = np.clip(action, -1.0, 1.0)
    return np.where(action < 0, anchor * (1 + action), anchor + (1 - anchor) * action).astype(np.float32)
