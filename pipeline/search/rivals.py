"""The rivals: what a person could use instead of the agent, each at full strength in the same space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from pipeline.records import TracerParams
from pipeline.rl.episode import Episode


class Listed:
    """Tries given settings in order: the presets, the best fixed setting of a category, a portfolio."""

    def __init__(self, settings: Sequence[TracerParams]) -> None:
        self._settings = settings

    def propose(self, episode: Episode) -> TracerParams | None:
        return self._settings[episode.spent] if episode.spent < len(self._settings) else None


class RandomSearch:
    """Uniform over the space."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def propose(self, episode: Episode) -> TracerParams:
        return episode.space.decode(self._rng.random(episode.space.size))


class TPESearch:
    """Optuna's multivariate tree-structured Parzen estimator on the unit cube of the space.

    It is told the default's value for free, and graded values where a picture is not allowed, so that it has a slope.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._trial: optuna.trial.Trial | None = None

    def propose(self, episode: Episode) -> TracerParams:
        axes: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in episode.space.names}
        if self._trial is None:
            self._tell_default(episode, axes)
        else:
            self._tell_last(episode)
        self._trial = self._study.ask(axes)
        unit = [self._trial.params[name] for name in episode.space.names]
        return episode.space.decode(np.asarray(unit, dtype=np.float64))

    def _tell_default(self, episode: Episode, axes: dict[str, BaseDistribution]) -> None:
        unit = episode.space.encode(episode.task.default.params)
        params = {name: float(u) for name, u in zip(episode.space.names, unit, strict=True)}
        self._study.add_trial(optuna.trial.create_trial(params=params, distributions=axes, value=0.0))

    def _tell_last(self, episode: Episode) -> None:
        assert self._trial is not None
        if episode.last is None or episode.last.scores is None:
            self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(self._trial, episode.last.graded)
