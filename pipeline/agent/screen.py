"""The screening of settings: hundreds are imagined, the surrogate foresees each, and a few go to the policy.

The expected improvement of the objective (Jones et al., 1998), times the probability that the picture is allowed
(Gardner et al., 2014), says how promising a setting is. While the best picture so far is damaged, a less damaged one is
an improvement too. Some of the shortlist are chosen as if permission mattered less, some as if it mattered more, so
that the policy decides how careful to be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.agent.candidates import CANDIDATE_FEATURES, Points, Shortlist, mutated
from pipeline.agent.episode import Episode
from pipeline.agent.features import context_of
from pipeline.agent.normal import cdf, density, log_cdf
from pipeline.agent.objectives import Goal
from pipeline.agent.outcome import BENT_FROM, DAMAGE, ERROR, SIZE, default_outcome, soft_clip
from pipeline.agent.surrogate import Surrogate
from pipeline.agent.task import Task, Vector
from pipeline.core.records import DEFAULT_PARAMS, ObjectiveName, TracerParams
from pipeline.tracing.space import ParameterSpace

Banks = Mapping[ObjectiveName, Points]

CAUTIONS = (1.0, 0.5, 2.0)  # weights of the probability that a picture is allowed
DRAWN = 128  # candidates of each kind
PARENTS = 4  # best settings of the image that are mutated
REFINED = 12  # most promising candidates that are mutated once more
LEAST_LOG = -12.0
LEAST_RELIEF = math.exp(4 * LEAST_LOG)
FEATURE_LIMIT = 12.0


@dataclass(frozen=True, slots=True, eq=False)
class Screen:
    """banks: by objective, settings that were the best on a training image, as points (n, axes)."""

    surrogate: Surrogate
    space: ParameterSpace
    banks: Banks
    size: int

    def context(self, task: Task) -> Vector:
        """What is known of an image before any trace, float32 (CONTEXT_SIZE,), each in [-5, 5]."""
        return self.surrogate.normalised(context_of(task))

    def shortlist(self, episode: Episode) -> Shortlist:
        """The `size` most promising settings at this point of an episode."""
        rng = np.random.default_rng([episode.seed, episode.spent])
        goal = episode.objective.goal(episode.task.scores)
        tried = np.concatenate([self.space.encode(DEFAULT_PARAMS)[np.newaxis], episode.points])
        outcomes = np.concatenate([default_outcome(episode.task.scores)[np.newaxis], episode.outcomes])
        posterior = self.surrogate.given(episode.context, tried, outcomes)

        def forecast(points: Points) -> Forecast:
            mean, std = posterior(points)
            return predict(goal, mean, std, self._log_work(points), episode.best_value)

        points = self.space.centred(self._imagined(episode, rng))
        first = forecast(points)
        best = points[np.argsort(-first.promise)[:REFINED]]
        more = self.space.centred(mutated(best, DRAWN, rng))
        every = np.concatenate([points, more])
        promising = first.concatenated(forecast(more))
        chosen = self._choose(every, promising, set(episode.tried))
        return self._described(chosen, every, promising, episode)

    def _imagined(self, episode: Episode, rng: np.random.Generator) -> Points:
        bank = self.banks.get(episode.objective.name)
        if bank is None or not len(bank):
            bank = rng.random((DRAWN, self.space.size)).astype(np.float32)
        known = bank[rng.permutation(len(bank))[:DRAWN]]
        kinds = [known, mutated(known, DRAWN, rng)]
        if len(episode.points):
            kinds.append(mutated(episode.points[np.argsort(-episode.graded)[:PARENTS]], DRAWN, rng))
        return np.concatenate(kinds)

    def _choose(self, points: Points, forecast: Forecast, tried: set[TracerParams]) -> dict[TracerParams, int]:
        """Different settings that were not tried, and their rows; each degree of caution has its share."""
        cells = self.space.cells(points)
        settings: dict[bytes, TracerParams] = {}  # by their cells: many points are one setting
        chosen: dict[TracerParams, int] = {}
        for number, caution in enumerate(CAUTIONS, 1):
            wanted = math.ceil(self.size * number / len(CAUTIONS))
            for row in np.argsort(-forecast.promise_at(caution), kind="stable").tolist():
                if len(chosen) >= wanted:
                    break
                key = cells[row].tobytes()
                if key not in settings:
                    settings[key] = self.space.setting(cells[row].tolist())
                if (params := settings[key]) not in tried:
                    chosen.setdefault(params, row)
        best = int(forecast.promise.argmax())
        return chosen or {self.space.setting(cells[best].tolist()): best}

    def _described(
        self, chosen: Mapping[TracerParams, int], points: Points, forecast: Forecast, episode: Episode
    ) -> Shortlist:
        """The most promising first; where a small space has too few settings, the last one fills the places left."""
        ranked = sorted(chosen, key=lambda params: -forecast.promise[chosen[params]])
        ranked += [ranked[-1]] * (self.size - len(ranked))
        rows = [chosen[params] for params in ranked]
        best = self.space.encode(episode.best.params) if episode.best else None
        distance = np.abs(points[rows] - best).sum(axis=1) if best is not None else np.zeros(len(rows))
        promise = forecast.promise[rows]
        features = np.stack(
            [
                promise - promise[0],
                forecast.gain[rows],
                forecast.spread[rows],
                forecast.feasible[rows],
                distance,
                self._log_work(points[rows]),
            ],
            axis=1,
        )
        assert features.shape[1] == len(CANDIDATE_FEATURES)
        limited = np.clip(features, -FEATURE_LIMIT, FEATURE_LIMIT).astype(np.float32)
        return Shortlist(ranked, limited, float(max(promise[0], 2 * LEAST_LOG)))

    def _log_work(self, points: Points) -> NDArray[np.float64]:
        """ln of the pixels traced against the image's, (n,)."""
        if "prescale" not in self.space.names:
            return np.full(len(points), 2 * math.log(float(dict(self.space.fixed)["prescale"])))
        index = self.space.names.index("prescale")
        logs: NDArray[np.float64] = 2 * np.log(np.array(self.space.axes[index].values, dtype=np.float64))
        return logs[self.space.cells_of(index, points)]


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Of n settings, each (n,): gain over the best so far and its spread, ln of the expected improvement where
    allowed, ln of the probability of that, and ln of the improvement expected of damage that is still not allowed.
    """

    gain: NDArray[np.float64]
    spread: NDArray[np.float64]
    gain_promise: NDArray[np.float64]
    feasible: NDArray[np.float64]
    relief: NDArray[np.float64]

    @property
    def promise(self) -> NDArray[np.float64]:
        return self.promise_at(1.0)

    def promise_at(self, caution: float) -> NDArray[np.float64]:
        """caution: weight of the probability that a picture is allowed."""
        promise: NDArray[np.float64] = np.logaddexp(self.gain_promise + caution * self.feasible, self.relief)
        return promise

    def concatenated(self, other: Forecast) -> Forecast:
        return Forecast(*(np.concatenate([getattr(f, n.name) for f in (self, other)]) for n in fields(self)))


def predict(
    goal: Goal, mean: NDArray[np.float64], std: NDArray[np.float64], log_work: NDArray[np.float64], best_value: float
) -> Forecast:
    """What outcomes, known as independent normals (n, 3), are worth over the best value so far."""
    value = goal.offset - goal.size_weight * mean[:, SIZE] - goal.error_weight * mean[:, ERROR]
    gain = value - goal.work_weight * log_work - best_value
    spread = np.hypot(goal.size_weight * std[:, SIZE], goal.error_weight * std[:, ERROR])
    z = gain / spread
    improvement = np.log(np.maximum(spread * (z * cdf(z) + density(z)), math.exp(LEAST_LOG)))
    # Outcomes that are bent can hardly be told apart: a limit among them is taken as where the bend begins.
    limits = np.minimum(goal.limits, BENT_FROM)
    feasible = np.where(np.isfinite(goal.limits), log_cdf((limits - mean) / std), 0.0).sum(axis=1)
    relief = _relief(mean[:, DAMAGE], std[:, DAMAGE], limits[DAMAGE], goal.damage_at(best_value))
    return Forecast(gain, spread, improvement, feasible, np.log(np.maximum(goal.damage_slope * relief, LEAST_RELIEF)))


def _relief(
    mean: NDArray[np.float64], std: NDArray[np.float64], limit: float, best_damage: float
) -> NDArray[np.float64]:
    """E[best - damage] over damage between the limit and the best so far, (n,); 0 where the best is allowed."""
    best = float(soft_clip([0.0, 0.0, best_damage])[DAMAGE])
    if best <= limit:
        return np.zeros(len(mean))
    low, high = (limit - mean) / std, (best - mean) / std
    relief: NDArray[np.float64] = (best - mean) * (cdf(high) - cdf(low)) + std * (density(high) - density(low))
    return relief
