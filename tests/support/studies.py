"""Small studies of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.settings.params import Settings
from pipeline.tuning.study import Claim, Study
from tests.support.facts import split_summary
from tests.support.fakes import settings_with

SPACE = {"train.ppo.learning_rate": {"low": 0.0001, "high": 0.01}, "train.n_envs": {"low": 2, "high": 8}}
SPLIT = split_summary()


def settings(**changes: Any) -> Settings:
    return settings_with(**({"tune__space": SPACE, "tune__startup_trials": 2} | changes))


def opened(root: Path, url: str | None = None, **changes: Any) -> Study:
    return Study(root, settings(**changes), SPLIT, "s", url)


def done(study: Study, claimed: Claim, value: float = 0.5) -> None:
    study.optuna.tell(claimed.trial, value)
    claimed.lock.release()
