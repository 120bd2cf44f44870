from __future__ import annotations

import pytest

from pipeline.core.errors import SettingsError
from pipeline.settings.overrides import as_assignments, overridden, value_at, with_overrides
from tests.support.fakes import settings_with


def test_a_value_is_read_as_yaml_and_checked_as_params_yaml_is() -> None:
    texts = [
        "train.seed=2",
        "train.ppo.learning_rate=1e-4",
        "train.ppo.hidden_units=[32, 32]",
        "objective.name=sharper",
    ]
    settings, overrides = overridden(settings_with(), texts)
    assert (settings.train.seed, settings.train.ppo.learning_rate) == (2, 1e-4)
    assert (settings.train.ppo.hidden_units, settings.objective.name) == ((32, 32), "sharper")
    assert overrides["train.ppo.hidden_units"] == [32, 32]


def test_the_rest_stays_as_it_was() -> None:
    settings, _ = overridden(settings_with(), ["train.seed=2"])
    assert settings == settings_with(train__seed=2)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = ["train.sed=3", "train.n_envs=0", "train.seed.x=1", "seed", "train.seed=1", "train.seed=2", "a=[1"]
    with pytest.raises(SettingsError) as raised:
        overridden(settings_with(), wrong)
    lines = str(raised.value).splitlines()
    assert lines[0] == "params.yaml with --set has 6 errors:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "seed",
        "train.seed=2",
        "a=[1",
        "train.seed.x",
        "train.n_envs",
        "train.sed",
    ]
    assert "did you mean seed?" in str(raised.value)


def test_what_is_written_for_dvc_comes_back_to_the_same_values() -> None:
    overrides = {"train.ppo.learning_rate": 0.0028108, "train.ppo.hidden_units": [128, 64], "train.vary_budget": False}
    assert overridden(settings_with(), as_assignments(overrides))[1] == overrides
    changed = with_overrides(settings_with(), overrides, "the test")
    assert {key: value_at(changed, key) for key in overrides} == overrides
