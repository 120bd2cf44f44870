"""The objectives: what one SVG is worth against the fair default (VTracer's command-line default, minified).

Values are in natural log units and 0 is the default itself, so a gain of 0.69 in `smaller` is half the bytes.

| objective | value | allowed only when |
|---|---|---|
| faithful | standing within the limit `VISIBLE_DAMAGE`, less the default's | always |
| target | the same within the limit that the user names | always |
| smaller | ln(default bytes / bytes) | damage <= the default's, held between `VISIBLE_DAMAGE` and `BROKEN` |
| sharper | ln(default error / error), error = delta + `ERROR_FLOOR` | bytes <= the default's, damage as above |
| balanced | quality x ln(error ratio) + size x ln(bytes ratio) - work x ln(pixels traced / pixels) | always |

Damage is that of `tracing.fidelity`, in pixels; from `VISIBLE_DAMAGE` on a person sees it. The *standing* of a picture
within a limit is ln(default bytes / bytes), at least -3; that of any other is -3 - 2 ln(damage / limit). So the
smallest of the sound pictures wins, and where none is sound the least damaged: one more trace never adds visible
damage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.core.records import (
    EVERYTHING,
    VISIBLE_DAMAGE,
    Evaluation,
    Gate,
    ObjectiveName,
    Pruned,
    Scored,
    Scores,
    TracerParams,
)

if TYPE_CHECKING:
    from pipeline.settings.params import ObjectiveSettings

BROKEN = 10 * VISIBLE_DAMAGE  # a default with more damage is broken, and licenses no more than this
ERROR_FLOOR = 0.02  # keeps the logarithm finite for a perfect copy; OKLab distance x 100
SIZE_LIMIT = 3.0  # an unsound picture ranks below any sound one within e^3 of the default's bytes
DAMAGE_SLOPE = 2.0


@dataclass(frozen=True, slots=True)
class Goal:
    """An objective on one image in terms of outcomes (`agent.outcome`): its value is linear in them, within limits.

    value = offset - size_weight * size - error_weight * error - work_weight * ln(pixels traced / pixels); limits: the
    highest size, error and damage that are allowed, infinite where any is. damage_slope: what damage costs beyond
    its limit, where the value is offset - SIZE_LIMIT - damage_slope * (damage - limit); 0 if that is not allowed.
    """

    size_weight: float
    error_weight: float
    work_weight: float
    offset: float
    limits: tuple[float, float, float]
    damage_slope: float = 0.0

    def damage_at(self, value: float) -> float:
        """The damage of a picture that is not allowed and has this value; minus infinity where it is allowed."""
        over = self.offset - SIZE_LIMIT - value
        return self.limits[2] + over / self.damage_slope if self.damage_slope and over > 0 else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is sought. max_damage: the limit of `target`. The weights are those of `balanced`."""

    name: ObjectiveName
    max_damage: float
    quality_weight: float
    size_weight: float
    work_weight: float

    def value(self, params: TracerParams, scores: Scores, default: Scores) -> float | None:
        """The value of a picture, or None when it may not replace the default."""
        size_gain = math.log(default.svg_bytes / scores.svg_bytes)
        allowed = scores.damage <= self.limit(default)
        match self.name:
            case "faithful" | "target":
                return self._standing(size_gain, scores.damage) - self._standing(0.0, default.damage)
            case "smaller":
                return size_gain if allowed else None
            case "sharper":
                return error_gain(scores, default) if allowed and size_gain >= 0 else None
            case "balanced":
                work = 2 * math.log(params.prescale)
                quality = self.quality_weight * error_gain(scores, default)
                return quality + self.size_weight * size_gain - self.work_weight * work

    def limit(self, default: Scores) -> float:
        """The damage from which a picture may not replace the default, or ranks below all that are sound."""
        match self.name:
            case "faithful":
                return VISIBLE_DAMAGE
            case "target":
                return self.max_damage
            case "smaller" | "sharper":
                return min(max(default.damage, VISIBLE_DAMAGE), BROKEN)
            case "balanced":
                return math.inf

    def graded(self, params: TracerParams, scores: Scores, default: Scores) -> float:
        """Like `value`, but what is not allowed is graded by how far off it is: for searches that need a slope."""
        value = self.value(params, scores, default)
        if value is not None:
            return value
        size_gain = math.log(default.svg_bytes / scores.svg_bytes)
        over = DAMAGE_SLOPE * self._over(scores.damage, self.limit(default))
        if self.name == "sharper":
            return error_gain(scores, default) + min(0.0, size_gain) - over
        return size_gain - over

    def graded_evaluation(self, evaluation: Evaluation, default: Scores) -> float:
        """The same of any evaluation; minus infinity for one that failed."""
        match evaluation:
            case Scored(params=params, scores=scores):
                return self.graded(params, scores, default)
            case Pruned():
                return self._graded_lost(evaluation, default)
            case _:
                return -math.inf

    def _graded_lost(self, lost: Pruned, default: Scores) -> float:
        """The same for what did not pass the gate, from what is known of it."""
        size_gain = math.log(default.svg_bytes / lost.svg_bytes)
        damage = lost.damage or 0.0  # what is not known is taken to be well
        if self.name in ("faithful", "target"):
            return self._standing(size_gain, damage) - self._standing(0.0, default.damage)
        over = DAMAGE_SLOPE * self._over(damage, self.limit(default))
        return min(0.0, size_gain) - over if self.name == "sharper" else size_gain - over

    def goal(self, default: Scores) -> Goal:
        """What `value` says of a picture, of outcomes that are only predicted."""
        damage = math.log(self.limit(default) / VISIBLE_DAMAGE)
        match self.name:
            case "faithful" | "target":
                offset = -self._standing(0.0, default.damage)
                return Goal(1.0, 0.0, 0.0, offset, (math.inf, math.inf, damage), DAMAGE_SLOPE)
            case "smaller":
                return Goal(1.0, 0.0, 0.0, 0.0, (math.inf, math.inf, damage))
            case "sharper":
                return Goal(0.0, 1.0, 0.0, 0.0, (0.0, math.inf, damage))
            case "balanced":
                return Goal(self.size_weight, self.quality_weight, self.work_weight, 0.0, (math.inf,) * 3)

    def gate(self, best_value: float, default: Scores) -> Gate:
        """Which candidates can still beat `best_value` (>= 0): the others need not be measured to the end."""
        limit = self.limit(default)
        match self.name:
            case "faithful" | "target":
                standing = best_value + self._standing(0.0, default.damage)
                if standing < -SIZE_LIMIT:
                    return Gate(max_damage=limit * math.exp(-(standing + SIZE_LIMIT) / DAMAGE_SLOPE))
                return Gate(default.svg_bytes * math.exp(-standing), limit)
            case "smaller":
                return Gate(default.svg_bytes * math.exp(-best_value), limit)
            case "sharper":
                return Gate(default.svg_bytes, limit)
            case "balanced":
                return EVERYTHING

    def _standing(self, size_gain: float, damage: float) -> float:
        limit = VISIBLE_DAMAGE if self.name == "faithful" else self.max_damage
        if damage > limit:
            return -SIZE_LIMIT - DAMAGE_SLOPE * math.log(damage / limit)
        return max(-SIZE_LIMIT, size_gain)

    @staticmethod
    def _over(damage: float, limit: float) -> float:
        return math.log(damage / limit) if damage > limit else 0.0


def error_gain(scores: Scores, default: Scores) -> float:
    """ln of how many times smaller the mean colour error is than the default's."""
    return -error_ratio(scores.delta, default.delta)


def error_ratio(delta: float, default_delta: float) -> float:
    """ln of how many times larger the mean colour error is than the default's."""
    return math.log((delta + ERROR_FLOOR) / (default_delta + ERROR_FLOOR))


def value_of(objective: Objective, evaluation: Evaluation, default: Scores) -> float | None:
    """The value of an evaluation; None when it failed or is not allowed."""
    if isinstance(evaluation, Scored):
        return objective.value(evaluation.params, evaluation.scores, default)
    return None


def objective_from(settings: ObjectiveSettings) -> Objective:
    """What params.yaml asks for."""
    return Objective(
        name=settings.name,
        max_damage=settings.max_damage,
        quality_weight=settings.weights.quality,
        size_weight=settings.weights.size,
        work_weight=settings.weights.work,
    )
