"""A training of a second, on images that are scored by formula."""

from __future__ import annotations

from typing import Any

from pipeline.settings.params import Settings
from tests.support.fakes import settings_with, task_of

TRAIN, VAL = [task_of(seed) for seed in range(12)], [task_of(seed) for seed in range(100, 108)]


def tiny(**changes: Any) -> Settings:
    small: dict[str, Any] = {
        "train__total_timesteps": 256,
        "train__n_envs": 4,
        "train__max_steps": 4,
        "train__table_traces": 12,
        "train__simulated_timesteps": 0,
        "train__surrogate_steps": 30,
        "train__shortlist": 6,
        "train__portfolio_candidates": 8,
        "train__other_portfolio_candidates": 2,
        "train__eval_every_timesteps": 128,
        "checkpoints__every_timesteps": 64,
        "train__ppo__n_steps": 8,
        "train__ppo__batch_size": 32,
        "train__ppo__n_epochs": 2,
        "train__ppo__hidden_units": [16, 16],
        "validation__images_per_category": 1,
        "validation__stochastic_runs": 1,
        "evaluate__bootstrap_samples": 100,
    }
    return settings_with(**(small | changes))
