from __future__ import annotations

import pytest

from pipeline.core.errors import SettingsError
from pipeline.serving.limits import ServeSettings, settings_from
from pipeline.serving.middleware import WORDS
from tests.support.fakes import ROOT


def test_without_variables_there_are_defaults() -> None:
    assert settings_from({"PATH": "/bin"}) == ServeSettings()


def test_variables_set_them() -> None:
    settings = settings_from(
        {
            "TRACEWRIGHT_SERVE_MAX_ROWS": "4",
            "TRACEWRIGHT_SERVE_DEADLINE_SECONDS": "2",
            "TRACEWRIGHT_SERVE_FOLLOW": "challenger",
        }
    )
    assert (settings.max_rows, settings.deadline_seconds, settings.follow) == (4, 2.0, "challenger")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("MAX_ROWS", "0", "TRACEWRIGHT_SERVE_MAX_ROWS: 0 is not allowed; allowed is 1 to 1000"),
        ("MAX_ROWS", "many", "TRACEWRIGHT_SERVE_MAX_ROWS: 'many' is not allowed; allowed is a whole number, 1 to 1000"),
        ("MAX_ROWS", "[", "TRACEWRIGHT_SERVE_MAX_ROWS: '\\[' is not allowed"),
        ("DEADLINE_SECONDS", ".nan", "TRACEWRIGHT_SERVE_DEADLINE_SECONDS: nan is not allowed"),
        ("MAX_ROW", "3", "TRACEWRIGHT_SERVE_MAX_ROW: unknown key; did you mean TRACEWRIGHT_SERVE_MAX_ROWS?"),
        ("DEADLINE_SECONDS", "60", "DEADLINE_SECONDS is 60; it must be below MLflow's own limit of 60 seconds"),
    ],
)
def test_a_wrong_one_is_named(name: str, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        settings_from({f"TRACEWRIGHT_SERVE_{name}": text})


def test_all_wrong_ones_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings_from({"TRACEWRIGHT_SERVE_LANES": "-1", "TRACEWRIGHT_SERVE_WAITING": "x"})
    assert "TRACEWRIGHT_SERVE_LANES" in str(caught.value)
    assert "TRACEWRIGHT_SERVE_WAITING" in str(caught.value)


def test_the_deadline_may_be_longer_where_mlflows_is() -> None:
    longer = {"TRACEWRIGHT_SERVE_DEADLINE_SECONDS": "90", "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "120"}
    assert settings_from(longer).deadline_seconds == 90


def test_every_variable_is_documented_with_its_default() -> None:
    documented = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    for name, field in ServeSettings.model_fields.items():
        assert f"| `{name.upper()}` | {field.default} |" in documented


def test_every_status_is_documented() -> None:
    documented = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    for status in WORDS:
        assert f"\n| {status} | " in documented
