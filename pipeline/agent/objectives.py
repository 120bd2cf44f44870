"""The objectives: what one evaluation is worth against VTracer's command-line default on the same image.

Values are in natural log units and 0 is the default itself, so a gain of 0.69 in `smaller` is half the bytes.

| objective | value | allowed only when |
|---|---|---|
| smaller | ln(default bytes / bytes) | SSIM and zoom SSIM at most `tolerance` below the bar |
| sharper | ln(default error / error), error = 1.001 - SSIM | bytes <= default's, zoom SSIM as above |
| target | ln(default bytes / bytes) where skill >= target, else -3 - 50 x shortfall; less the default's own | always |
| balanced | quality x ln(error ratio) + size x ln(bytes ratio) - work x ln(pixels traced / pixels) | always |

The bar is how the default looks. Where VTracer's default is broken by transparency (it can hatch what should be empty),
looking no worse would allow anything, so there the bar is that of a sound trace less `SOUND_SLACK`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pipeline.core.records import EVERYTHING, Evaluation, Gate, Lost, ObjectiveName, Scored, Scores, TracerParams
from pipeline.settings.params import ObjectiveSettings

ERROR_FLOOR = 0.001  # keeps the logarithm finite for a perfect copy; that of the independent scorer
SHORTFALL_LIMIT = 3.0  # a picture that misses the target ranks below any within e^3 of the default's bytes
SHORTFALL_SLOPE = 50.0  # log units per unit of quality missing: 0.02 of SSIM weighs as much as 2.7 x the bytes


SOUND_SLACK = 0.1  # of SSIM; ordinary defaults lie within it of a sound trace, broken ones far below


@dataclass(frozen=True, slots=True)
class Baseline:
    """What every candidate is held against. default: VTracer's. bar: the same, its looks perhaps raised."""

    default: Scores
    bar: Scores

    @classmethod
    def of(cls, default: Scores, sound: Scores | None) -> Baseline:
        """sound: the default's settings on the image with hard alpha; None where the image has no transparency."""
        if sound is None:
            return cls(default, default)
        ssim = max(default.ssim, sound.ssim - SOUND_SLACK)
        zoom = max(default.zoom_ssim, sound.zoom_ssim - SOUND_SLACK)
        return cls(default, replace(default, ssim=ssim, zoom_ssim=zoom))


@dataclass(frozen=True, slots=True)
class Goal:
    """An objective on one image in terms of outcomes (`rl.outcome`): its value is linear in them, within limits.

    value = offset - size_weight * size - error_weight * error - work_weight * ln(pixels traced / pixels); limits: the
    highest size, error and zoom error that are allowed, infinite where any is.
    """

    size_weight: float
    error_weight: float
    work_weight: float
    offset: float
    limits: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is sought. target: skill, 0 to 1. tolerance: of SSIM. The weights are those of `balanced`."""

    name: ObjectiveName
    target: float
    tolerance: float
    quality_weight: float
    size_weight: float
    work_weight: float

    def value(self, params: TracerParams, scores: Scores, baseline: Baseline) -> float | None:
        """The value of a picture, or None when it may not replace the default."""
        default, bar = baseline.default, baseline.bar
        size_gain = math.log(default.svg_bytes / scores.svg_bytes)
        match self.name:
            case "smaller":
                return size_gain if self._looks_as_good(scores, bar) else None
            case "sharper":
                fits = scores.svg_bytes <= default.svg_bytes and self._zoom_as_good(scores, bar)
                return error_gain(scores, default) if fits else None
            case "target":
                return self._towards_target(size_gain, scores) - self._towards_target(0.0, default)
            case "balanced":
                work = 2 * math.log(params.prescale)
                quality = self.quality_weight * error_gain(scores, default)
                return quality + self.size_weight * size_gain - self.work_weight * work

    def graded(self, params: TracerParams, scores: Scores, baseline: Baseline) -> float:
        """Like `value`, but what is not allowed is graded by how far off it is: for searches that need a slope."""
        value = self.value(params, scores, baseline)
        if value is not None:
            return value
        size_gain = math.log(baseline.default.svg_bytes / scores.svg_bytes)
        zoom_short = max(0.0, self._floor(baseline.bar.zoom_ssim) - scores.zoom_ssim)
        if self.name == "sharper":
            return error_gain(scores, baseline.default) + min(0.0, size_gain) - SHORTFALL_SLOPE * zoom_short
        ssim_short = max(0.0, self._floor(baseline.bar.ssim) - scores.ssim)
        return size_gain - SHORTFALL_SLOPE * max(ssim_short, zoom_short)

    def graded_evaluation(self, evaluation: Evaluation, baseline: Baseline) -> float:
        """The same of any evaluation; minus infinity for one that failed."""
        match evaluation:
            case Scored(params=params, scores=scores):
                return self.graded(params, scores, baseline)
            case Lost():
                return self.graded_lost(evaluation, baseline)
            case _:
                return -math.inf

    def graded_lost(self, lost: Lost, baseline: Baseline) -> float:
        """The same for what did not pass the gate, from what is known of it."""
        size_gain = math.log(baseline.default.svg_bytes / lost.svg_bytes)
        if lost.ssim is None:
            return size_gain
        if self.name == "sharper":
            return -error_ratio(lost.ssim, baseline.default.ssim)
        return size_gain - SHORTFALL_SLOPE * (self._floor(baseline.bar.ssim) - lost.ssim)

    def goal(self, baseline: Baseline) -> Goal:
        """What `value` says of a picture, of outcomes that are only foreseen."""
        default, bar = baseline.default, baseline.bar
        error = error_ratio(self._floor(bar.ssim), default.ssim)
        zoom_error = error_ratio(self._floor(bar.zoom_ssim), default.zoom_ssim)
        match self.name:
            case "smaller":
                return Goal(1.0, 0.0, 0.0, 0.0, (math.inf, error, zoom_error))
            case "sharper":
                return Goal(0.0, 1.0, 0.0, 0.0, (0.0, math.inf, zoom_error))
            case "target":
                reached = error_ratio(self._target_ssim(default), default.ssim)
                offset = -self._towards_target(0.0, default)
                return Goal(1.0, 0.0, 0.0, offset, (math.inf, reached, math.inf))
            case "balanced":
                return Goal(self.size_weight, self.quality_weight, self.work_weight, 0.0, (math.inf,) * 3)

    def _target_ssim(self, default: Scores) -> float:
        """The SSIM at which skill is the target: both grow alike, from a blank's SSIM and 0 to 1 and 1."""
        blank_lacks = (1 - default.ssim) / (1 - default.skill) if default.skill < 1 else 1.0
        return 1 - (1 - self.target) * blank_lacks

    def gate(self, best_value: float, baseline: Baseline) -> Gate:
        """Which candidates can still beat `best_value` (>= 0): the others need not be measured to the end."""
        default = baseline.default
        match self.name:
            case "smaller":
                return Gate(default.svg_bytes * math.exp(-best_value), self._floor(baseline.bar.ssim))
            case "sharper":
                error = (1 + ERROR_FLOOR - default.ssim) * math.exp(-best_value)
                return Gate(default.svg_bytes, 1 + ERROR_FLOOR - error)
            case _:
                return EVERYTHING

    def _floor(self, score: float) -> float:
        return score - self.tolerance

    def _looks_as_good(self, scores: Scores, bar: Scores) -> bool:
        return scores.ssim >= self._floor(bar.ssim) and self._zoom_as_good(scores, bar)

    def _zoom_as_good(self, scores: Scores, bar: Scores) -> bool:
        return scores.zoom_ssim >= self._floor(bar.zoom_ssim)

    def _towards_target(self, size_gain: float, scores: Scores) -> float:
        shortfall = self.target - scores.skill
        if shortfall > 0:
            return -SHORTFALL_LIMIT - SHORTFALL_SLOPE * shortfall
        return max(-SHORTFALL_LIMIT, size_gain)


def error_gain(scores: Scores, default: Scores) -> float:
    """ln of how many times smaller the SSIM error is than the default's."""
    return -error_ratio(scores.ssim, default.ssim)


def error_ratio(ssim: float, default_ssim: float) -> float:
    """ln of how many times larger the SSIM error is than the default's; of zoom SSIM likewise."""
    return math.log((1 + ERROR_FLOOR - ssim) / (1 + ERROR_FLOOR - default_ssim))


def value_of(objective: Objective, evaluation: Evaluation, baseline: Baseline) -> float | None:
    """The value of an evaluation; None when it failed or is not allowed."""
    if isinstance(evaluation, Scored):
        return objective.value(evaluation.params, evaluation.scores, baseline)
    return None


def objective_from(settings: ObjectiveSettings) -> Objective:
    """What params.yaml asks for."""
    return Objective(
        name=settings.name,
        target=settings.target,
        tolerance=settings.tolerance,
        quality_weight=settings.weights.quality,
        size_weight=settings.weights.size,
        work_weight=settings.weights.work,
    )
