"""The rivals: what a person could use instead of the agent, each at full strength in the same space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler

from pipeline.agent.episode import Episode
from pipeline.core.records import Failed, TracerParams

GP_STARTUP_TRIALS = 4  # before the first fit: the default and three at random
CMAES_SIGMA = 0.3  # of the first generation, on axes from 0 to 1
CMAES_POPULATION = 6  # ten generations in 64 traces; 11, its own choice for as many axes, gives five


class FixedSequence:
    """Tries given settings in order: the presets, the best fixed setting of a category, a portfolio."""

    needs_every_score = False

    def __init__(self, settings: Sequence[TracerParams]) -> None:
        self._settings = settings

    def propose(self, episode: Episode) -> TracerParams | None:
        return self._settings[episode.spent] if episode.spent < len(self._settings) else None


class RandomSearch:
    """Uniform over the space."""

    needs_every_score = False

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def propose(self, episode: Episode) -> TracerParams:
        return episode.space.decode(self._rng.random(episode.space.size))


class StudySearch:
    """An Optuna sampler by ask and tell: it proposes a point of the unit cube and learns its value, trace by trace.

    It gets the default's value for free, and graded values where a picture is not allowed, so that it has a slope;
    a failed evaluation counts as a failed trial. make_sampler: from the default's place in the cube, by axis name.
    told: maps graded values to what the sampler sees; it may bend values, not change their order.
    """

    needs_every_score = True

    def __init__(
        self, make_sampler: Callable[[Mapping[str, float]], BaseSampler], told: Callable[[float], float] = float
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._make_sampler = make_sampler
        self._told = told
        self._study: optuna.Study | None = None
        self._trial: optuna.trial.Trial | None = None

    def propose(self, episode: Episode) -> TracerParams:
        study = self._study = self._study or self._start(episode)
        if self._trial is not None:
            self._tell(study, self._trial, episode)
        self._trial = study.ask(_axes(episode))
        unit = [self._trial.params[name] for name in episode.space.names]
        return episode.space.decode(np.asarray(unit, dtype=np.float64))

    def _start(self, episode: Episode) -> optuna.Study:
        unit = episode.space.encode(episode.task.default.params)
        default = {name: float(u) for name, u in zip(episode.space.names, unit, strict=True)}
        study = optuna.create_study(direction="maximize", sampler=self._make_sampler(default))
        study.add_trial(optuna.trial.create_trial(params=default, distributions=_axes(episode), value=0.0))
        return study

    def _tell(self, study: optuna.Study, trial: optuna.trial.Trial, episode: Episode) -> None:
        if episode.last is None or isinstance(episode.last, Failed):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, self._told(float(episode.graded[-1])))


def _axes(episode: Episode) -> dict[str, BaseDistribution]:
    return {name: FloatDistribution(0.0, 1.0) for name in episode.space.names}


class TPESearch(StudySearch):
    """Optuna's multivariate tree-structured Parzen estimator."""

    def __init__(self, seed: int, startup_trials: int) -> None:
        super().__init__(lambda _: TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True))


class GPSearch(StudySearch):
    """Optuna's Gaussian process with log expected improvement, told that the same setting gives the same value.

    The other two go by the order of the values. A Gaussian process takes them as they are, and the cliffs where a
    picture is not allowed would be all it sees; so values worse than the default's are on a logarithmic scale.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(lambda _: _gp_sampler(seed), told=compress_negative)


class CMAESSearch(StudySearch):
    """Optuna's CMA-ES, which sets out from the default."""

    def __init__(self, seed: int) -> None:
        super().__init__(lambda default: _cmaes_sampler(seed, default))


def compress_negative(graded: float) -> float:
    """Values of 0 or more as they are, those below ever closer together: -1 becomes -0.69, -10 becomes -2.4."""
    return graded if graded >= 0 else -math.log1p(-graded)


def _gp_sampler(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Argument ``deterministic_objective``", ExperimentalWarning)
        return GPSampler(seed=seed, n_startup_trials=GP_STARTUP_TRIALS, deterministic_objective=True)


def _cmaes_sampler(seed: int, default: Mapping[str, float]) -> BaseSampler:
    """Optuna warns from 4.9 on that 6 will not take a start from the caller; without one it is the cube's middle."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`(x0|sigma0)` has been deprecated", FutureWarning)
        return CmaEsSampler(seed=seed, x0=dict(default), sigma0=CMAES_SIGMA, popsize=CMAES_POPULATION)
