from __future__ import annotations

from typing import Any

import optuna
import pytest

from pipeline.core.errors import SettingsError
from pipeline.settings.params import Settings
from pipeline.tuning.space import SearchSpace
from tests.support.fakes import settings_with


def searching(**space: Any) -> Settings:
    return settings_with(tune__space={key.replace("__", "."): value for key, value in space.items()})


def test_what_params_yaml_searches_can_be_searched() -> None:
    space = SearchSpace.of(settings_with())
    assert "train.ppo.learning_rate" in space.freedoms
    assert "train.ppo.n_epochs" in space.whole
    assert not space.changes_what_is_measured


def test_everything_that_cannot_be_searched_is_told_at_once() -> None:
    settings = searching(
        train__ppo__learning_rat={"low": 0.1, "high": 0.2},
        train__ppo__gamma={"low": 0.9, "high": 1.5},
        train__n_envs={"low": 1.5, "high": 4},
        train__seed={"choices": [1, 2]},
        data__root={"choices": ["a", "b"]},
        objective__name={"choices": ["smaller"]},
        train__vary_budget={"choices": [True, 3]},
    )
    with pytest.raises(SettingsError) as raised:
        SearchSpace.of(settings)
    lines = str(raised.value).splitlines()
    assert lines[0] == "tune.space in params.yaml has 7 errors:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "train.ppo.learning_rat",
        "train.ppo.gamma",
        "train.n_envs",
        "train.seed",
        "data.root",
        "objective.name",
        "train.vary_budget",
    ]
    assert "did you mean learning_rate?" in lines[1]
    assert "1.5 is not allowed; allowed is above 0, at most 1" in lines[2]


def test_what_only_another_setting_forbids_is_for_the_trial_to_find_out() -> None:
    SearchSpace.of(searching(train__ppo__batch_size={"choices": [64, 4096]}))


@pytest.mark.parametrize("tune", [{"objectives": ["value", "seconds"]}, {"objectives": ["seconds"]}])
def test_nobody_prunes_by_what_no_validation_measures(tune: dict[str, Any]) -> None:
    changes = {f"tune__{key}": value for key, value in tune.items()}
    with pytest.raises(SettingsError, match="pruner must be none"):
        settings_with(**changes)
    settings_with(**changes, tune__pruner="none")


def test_a_suggestion_has_the_kinds_that_the_settings_have() -> None:
    settings = searching(
        train__ppo__learning_rate={"low": 0.001, "high": 0.1, "log": True},
        train__n_envs={"low": 2, "high": 8},
        train__ppo__hidden_units={"choices": [[8], [16, 16]]},
        train__vary_budget={"choices": [True, False]},
    )
    space = SearchSpace.of(settings)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(8):
        trial = study.ask()
        suggested = space.suggest(trial)
        assert 0.001 <= suggested["train.ppo.learning_rate"] <= 0.1
        assert isinstance(suggested["train.n_envs"], int)
        assert suggested["train.ppo.hidden_units"] in ([8], [16, 16])
        assert isinstance(suggested["train.vary_budget"], bool)
        assert space.overrides(trial.params) == suggested


@pytest.mark.parametrize("key", ["objective.weights.size", "train.max_steps"])
def test_a_space_that_changes_what_validations_measure_says_so(key: str) -> None:
    freedom = {"low": 0.1, "high": 1.0} if key == "objective.weights.size" else {"low": 2, "high": 4}
    assert SearchSpace.of(settings_with(tune__space={key: freedom})).changes_what_is_measured
