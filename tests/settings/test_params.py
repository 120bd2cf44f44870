from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from pipeline.core.errors import SettingsError
from pipeline.settings.limits import ALLOWED
from pipeline.settings.params import Settings, load_settings, parse_settings
from pipeline.settings.ranges import Choices, FixedValue, Range
from pipeline.settings.schema import leaves, read_yaml
from tests.support.fakes import ROOT

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
VALUES = yaml.safe_load(TEXT)

CATEGORY = "simple | text | gradient | complex"
SEED = "a whole number, 0 to 2147483647"
FORMS = "write `fixed: value`, `choices: [...]`, or `low:` and `high:`, of"


def settings_with(**changes: Any) -> Settings:
    values = copy.deepcopy(VALUES)
    for path, value in changes.items():
        *sections, key = path.split("__")
        inner = values
        for section in sections:
            inner = inner[section]
        inner[key] = value
    return parse_settings(values, "params.yaml")


def lines_of(**changes: Any) -> list[str]:
    """The lines of the refusal, without its heading."""
    with pytest.raises(SettingsError) as caught:
        settings_with(**changes)
    heading, *lines = str(caught.value).split("\n  ")
    count = "an error" if len(lines) == 1 else f"{len(lines)} errors"
    assert heading == f"params.yaml has {count}:"
    return lines


def test_the_file_in_the_repository_is_accepted_and_complete() -> None:
    settings = load_settings(ROOT / "params.yaml")
    assert settings.model_dump(mode="json", by_alias=True).keys() == VALUES.keys()
    assert isinstance(settings.tracing.mode, FixedValue)
    assert isinstance(settings.tracing.simplify, Choices)
    assert isinstance(settings.tracing.filter_speckle, Range)


def test_nothing_has_a_default_of_its_own() -> None:
    """Whatever line is taken out of params.yaml, the rest is not accepted."""
    for place in leaves(Settings):
        if "[]" in place.key:
            continue
        values = copy.deepcopy(VALUES)
        *sections, key = place.key.split(".")
        inner = values
        for section in sections:
            inner = inner[section]
        del inner[key]
        with pytest.raises(SettingsError, match=re.escape(f"{place.key}: is missing; allowed is")):
            parse_settings(values, "params.yaml")


def test_all_errors_are_told_at_once() -> None:
    lines = lines_of(
        train__n_envs=0,
        train__ppo__gamma=1.5,
        data__background="white",
        objective__name="smallest",
        split__seed="one",
        tracing__palette={"fixed": 1},
        evaluate__traces=[4, 1],
    )
    assert sorted(lines) == [
        "data.background: 'white' is not allowed; allowed is a colour, \"#rrggbb\"",
        "evaluate: traces [4, 1] must ascend, each number once",
        "objective.name: 'smallest' is not allowed; allowed is faithful | smaller | sharper | target | balanced",
        "split.seed: 'one' is not allowed; allowed is a whole number, 0 to 2147483647",
        "tracing.palette: 1 is not allowed; allowed is 0 or 2 to 256, whole numbers",
        "train.n_envs: 0 is not allowed; allowed is 1 to 1024",
        "train.ppo.gamma: 1.5 is not allowed; allowed is above 0, at most 1",
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"train__seed": 1.5}, f"train.seed: 1.5 is not allowed; allowed is {SEED}"),
        ({"train__seed": True}, f"train.seed: true is not allowed; allowed is {SEED}"),
        ({"train__seed": None}, f"train.seed: an empty value is not allowed; allowed is {SEED}"),
        ({"train__total_timesteps": 0}, "train.total_timesteps: 0 is not allowed; allowed is 1 or more"),
        ({"curriculum__enabled": "no"}, "curriculum.enabled: 'no' is not allowed; allowed is true | false"),
        ({"data__root": ""}, "data.root: '' is not allowed; allowed is text, not empty"),
        (
            {"evaluate__traces": []},
            "evaluate.traces: [] is not allowed; allowed is a list of one or more, each 1 or more",
        ),
        ({"objective__max_damage": 0}, "objective.max_damage: 0 is not allowed; allowed is above 0, at most 100"),
        ({"objective__max_damage": 101}, "objective.max_damage: 101 is not allowed; allowed is above 0, at most 100"),
        ({"evaluate__traces": [0, 4]}, "evaluate.traces[0]: 0 is not allowed; allowed is 1 or more"),
        (
            {"compute": 2},
            "compute: 2 is not allowed; allowed is a section with backend, workers, timeout_seconds, "
            "worker_memory_bytes, memory_limit_bytes, store_bytes",
        ),
        (
            {"data__folders": {"logos": "plain"}},
            f"data.folders.logos: 'plain' is not allowed; allowed is {CATEGORY}",
        ),
        ({"data__folders": {7: "text"}}, "data.folders: 7 is not allowed as a name; allowed is text"),
        ({"register__min_improvement": -0.1}, "register.min_improvement: -0.1 is not allowed; allowed is 0 or more"),
        ({"split__train_ratio": 0.5}, "split: train_ratio + val_ratio + test_ratio is 0.8; they must add up to 1"),
        ({"evaluate__traces": [1, 4, 4]}, "evaluate: traces [1, 4, 4] must ascend, each number once"),
        (
            {"objective__weights": {"quality": 0.0, "size": 0.0, "work": 0.0}},
            "objective.weights: all weights are 0; at least one must be above 0",
        ),
        (
            {"validation__target_skill": {"text": 0.5}},
            "validation: target_skill has no value for simple, gradient, complex",
        ),
        (
            {"validation__target_skill": {"plain": 0.5}},
            f"validation.target_skill: 'plain' is not allowed as a name; allowed is {CATEGORY}",
        ),
        (
            {"experiment": "my runs"},
            "experiment: 'my runs' is not allowed; allowed is 1 to 64 letters, digits, - and _, "
            "the first a letter or digit",
        ),
    ],
)
def test_a_value_out_of_range_is_told_with_what_is_allowed(change: dict[str, Any], line: str) -> None:
    assert lines_of(**change) == [line]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"train__n_env": 4}, "train.n_env: unknown key; did you mean n_envs?"),
        ({"train__total": 4}, "train.total: unknown key; did you mean total_timesteps?"),
        ({"n_envs": 4}, "n_envs: unknown key; did you mean train.n_envs?"),
        ({"zebra": 4}, "zebra: unknown key"),
        ({"objective__tolerance": 0.001}, "objective.tolerance: unknown key"),
        ({"objective__target": 0.9}, "objective.target: unknown key"),
        ({"register_": {"min_improvement": 0.0}}, "register_: unknown key; did you mean register?"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(change: dict[str, Any], line: str) -> None:
    assert lines_of(**change) == [line]


def test_inside_a_list_of_sections_the_place_is_named() -> None:
    stages = copy.deepcopy(VALUES)["curriculum"]["stages"]
    stages[0]["nmae"] = stages[0].pop("name")
    stages[1]["categories"] = ["text", "plain"]
    stages[2]["goal"] = float("inf")
    assert sorted(lines_of(curriculum__stages=stages)) == [
        "curriculum.stages[0].name: is missing; allowed is text, not empty",
        "curriculum.stages[0].nmae: unknown key; did you mean name?",
        "curriculum.stages[1].categories[1]: 'plain' is not allowed; allowed is simple | text | gradient | complex",
        "curriculum.stages[2].goal: inf is not allowed; allowed is a finite number",
    ]


def test_names_of_stages_and_their_categories_do_not_repeat() -> None:
    stages = copy.deepcopy(VALUES)["curriculum"]["stages"]
    stages[1]["name"] = stages[0]["name"]
    assert lines_of(curriculum__stages=stages) == ["curriculum: the names of stages hold 'simple' more than once"]
    stages[1] |= {"name": "text", "categories": ["text", "text"]}
    assert lines_of(curriculum__stages=stages) == ["curriculum.stages[1]: categories hold 'text' more than once"]


def test_a_batch_is_no_larger_than_a_rollout() -> None:
    assert settings_with(train__n_envs=2, train__ppo__n_steps=64, train__ppo__batch_size=128)
    lines = lines_of(train__n_envs=2, train__ppo__n_steps=64, train__ppo__batch_size=129)
    assert lines == ["train: ppo.batch_size 129 is more than one rollout, n_envs x ppo.n_steps = 128"]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused_everywhere(number: str) -> None:
    """No field may let one through: every number of the file is tried."""
    value = float(number)
    for place in leaves(Settings):
        if place.annotation in (int, float) and "[]" not in place.key:
            lines = lines_of(**{place.key.replace(".", "__"): value})
            assert any(line.startswith(f"{place.key}: {value!r} is not allowed") for line in lines), place.key
    for freedom in ({"fixed": value}, {"choices": [1, value]}, {"low": 0, "high": value}):
        [line] = lines_of(tracing__filter_speckle=freedom)
        assert "is not allowed; allowed is 0 to 16, whole numbers" in line


@pytest.mark.parametrize(
    ("name", "freedom", "line"),
    [
        ("prescale", {"lo": 1}, f": {{'lo': 1}} is not allowed; {FORMS} 1.0 to 3.0"),
        ("prescale", 1.5, f": 1.5 is not allowed; {FORMS} 1.0 to 3.0"),
        ("prescale", None, f": an empty value is not allowed; {FORMS} 1.0 to 3.0"),
        ("mode", {}, f": {{}} is not allowed; {FORMS} spline | polygon | none"),
        (
            "palette",
            {"fixed": 2, "low": 2},
            f": {{'fixed': 2, 'low': 2}} is not allowed; {FORMS} 0 or 2 to 256, whole numbers",
        ),
        ("prescale", {"low": 1}, ".high: is missing; allowed is 1.0 to 3.0"),
        ("prescale", {"low": 2, "high": 1}, ": low 2 must be below high 1; to hold a value use `fixed`"),
        ("filter_speckle", {"low": 0, "high": 9, "log": True}, ": low 0 must be above 0 on a log scale"),
        ("filter_speckle", {"low": 1, "high": 9, "log": 2}, ".log: 2 is not allowed; allowed is true | false"),
        ("filter_speckle", {"low": 0.5, "high": 17}, ": 0.5, 17 is not allowed; allowed is 0 to 16, whole numbers"),
        ("filter_speckle", {"low": "a", "high": 9}, ".low: 'a' is not allowed; allowed is 0 to 16, whole numbers"),
        ("hierarchical", {"choices": ["stacked", "stack"]}, ": 'stack' is not allowed; allowed is stacked | cutout"),
        (
            "hierarchical",
            {"choices": ["cutout", True]},
            ".choices[1]: true is not allowed; allowed is stacked | cutout",
        ),
        ("hierarchical", {"low": 0, "high": 1}, ": 0, 1 is not allowed; allowed is stacked | cutout"),
        (
            "path_precision",
            {"choices": []},
            ".choices: [] is not allowed; allowed is a list of one or more, each 0 to 8, whole numbers",
        ),
        ("path_precision", {"choices": [1, 2, 1]}, ": choices hold 1 more than once"),
        ("refit", {"choices": [0, 2]}, ": 2 is not allowed; allowed is 0 to 1, whole numbers"),
        ("steps_per_pixel", {"low": 0.5, "high": 10}, ": 0.5 is not allowed; allowed is 1 to 100, whole numbers"),
        ("simplify", {"fixed": -0.1}, ": -0.1 is not allowed; allowed is 0.0 to 2.0"),
        ("mode", {"fixed": None}, ".fixed: an empty value is not allowed; allowed is spline | polygon | none"),
        ("mode", {"fixed": 3}, ": 3 is not allowed; allowed is spline | polygon | none"),
    ],
)
def test_a_freedom_that_is_wrong_gets_one_plain_line(name: str, freedom: Any, line: str) -> None:
    assert lines_of(**{f"tracing__{name}": freedom}) == [f"tracing.{name}{line}"]


@pytest.mark.parametrize("name", ALLOWED)
def test_both_ends_of_every_tracing_parameter_are_allowed(name: str) -> None:
    low, *_, high = ALLOWED[name]
    for value in (low, high):
        assert getattr(settings_with(**{f"tracing__{name}": {"fixed": value}}).tracing, name) == FixedValue(fixed=value)
    if not isinstance(high, str):
        assert "is not allowed" in lines_of(**{f"tracing__{name}": {"fixed": high + 1}})[0]


def test_a_freedom_survives_json() -> None:
    """An agent carries them in its agent.json."""
    tracing = settings_with().tracing
    assert type(tracing).model_validate(tracing.model_dump(mode="json")) == tracing
    assert type(tracing).model_validate(tracing.model_dump()) == tracing


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_key_given_twice_is_refused_with_its_lines(tmp_path: Path) -> None:
    twice = re.sub(r"^(  seed: 7\b.*)$", r"\1\n  seed: 8", TEXT, flags=re.MULTILINE)
    twice = twice.replace("{name: text,", "{name: text, name: txt,")
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, twice + "experiment: again\n"))
    lines = str(caught.value).split("\n  ")[1:]
    assert [re.sub(r"\d+", "N", line) for line in lines] == [
        "curriculum.stages[N].name: is given twice, in lines N and N; keep one of them",
        "evaluate.seed: is given twice, in lines N and N; keep one of them",
        "experiment: is given twice, in lines N and N; keep one of them",
    ]
    seed = twice.splitlines().index("  seed: 8") + 1
    assert f"in lines {seed - 1} and {seed};" in lines[1]


def test_repeated_keys_are_told_with_the_other_errors(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, TEXT.replace("n_envs: 16 ", "n_envs: 0 ") + "experiment: again\n"))
    assert "has 2 errors" in str(caught.value)
    assert "train.n_envs: 0 is not allowed" in str(caught.value)


NUMBERS = "3e-4 3.0e-4 1E+3 -2.5e2 12 -1 0 0x1F 0.5 .5 5. 1_000 .inf -.inf"
WORDS = "3e e4 '3e4' yes no on off y none 12:30 '#1' 1.2.3"


@pytest.mark.parametrize("written", [*NUMBERS.split(), *WORDS.split(), "true", "False", "null", "~", "", "a b"])
def test_values_are_read_as_dvc_reads_them(written: str) -> None:
    """YAML 1.1, which PyYAML follows, takes 3e-4 for a word and `yes` for a boolean; DVC's parser follows 1.2."""
    theirs = YAML(typ="safe", pure=True).load(f"key: {written}\n")
    ours, _ = read_yaml(f"key: {written}\n")
    assert (ours, type(ours["key"])) == (theirs, type(theirs["key"]))


@pytest.mark.parametrize("text", ["", "# nothing\n", "just words", "- a\n- list\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"the file: .* is not allowed; allowed is a section with experiment, data"):
        load_settings(write(tmp_path, text))


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe\x00", b"a: 1\n--- \nb: 2\n", b"a: !!python/name:os.system\n"])
def test_what_is_not_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"params\.yaml: is not valid YAML"):
        load_settings(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file or directory.*; run from the project's folder"):
        load_settings(tmp_path / "params.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings_with().train.seed = 2
