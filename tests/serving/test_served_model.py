from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pipeline.core.errors import SettingsError
from pipeline.settings.params import load_settings
from pipeline.tracking import models
from pipeline.tracking.run import Run
from tests.support.fakes import tiny_agent
from tests.support.logged_runs import PARAMS, model_in_mlflow


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory, with_mlflow: Callable[[Path], None]) -> str:
    """An untrained agent, logged."""
    root = tmp_path_factory.mktemp("project")
    with_mlflow(root)
    shutil.copy(PARAMS, root)
    folder = tmp_path_factory.mktemp("agent")
    tiny_agent(max_steps=2, timeout_seconds=10.0).save(folder)
    settings = load_settings(PARAMS).model_copy(update={"experiment": "served"})
    with Run.start(root, settings, stage="train") as run:
        run.log_model(folder, "agent-1", 1, {}, {}, None)
    return str(model_in_mlflow(run, "agent-1").artifact_location)


@pytest.fixture(scope="module")
def served(location: str) -> Iterator[Any]:
    loaded = mlflow.pyfunc.load_model(location)
    yield loaded
    loaded.unwrap_python_model()._service.close()


def test_the_recorded_example_is_answered(served: Any) -> None:
    answer = served.predict(pd.DataFrame(models._example()))
    [row] = answer.to_dict(orient="records")
    assert row["svg"].startswith(("<?xml", "<svg"))
    assert row["bytes"] == len(row["svg"].encode()) <= row["default_bytes"]
    assert row["traces"] <= 4
    assert json.loads(row["params"])["mode"] == "spline"
    assert row["model"].startswith("sha256:")
    assert {c.name for c in served.metadata.signature.outputs.inputs} == {*row, "error"}


def test_objective_and_traces_may_be_left_out(served: Any) -> None:
    answer = served.predict(pd.DataFrame({"image": models._example()["image"]}))
    assert answer["status"][0] in ("improved", "default")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"image": "!"}, "row 0: image is not base64 text"),
        ({"image": base64.b64encode(b"no picture").decode()}, "row 0: image: undecodable"),
        (
            {"image": models._example()["image"][0], "objective": "prettiest"},
            'row 0: objective is "prettiest"; allowed',
        ),
        ({"image": models._example()["image"][0], "traces": 0}, "row 0: traces is 0; allowed is"),
        ({"image": models._example()["image"][0], "max_damage": 5.0}, "row 0: max_damage is for the objective target"),
    ],
)
def test_a_row_that_cannot_be_done_is_the_callers_mistake(served: Any, row: dict[str, Any], message: str) -> None:
    with pytest.raises(MlflowException, match=message) as caught:
        served.predict(pd.DataFrame([row]))
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"  # 400


def test_wrong_variables_are_told_before_anything_is_served(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEWRIGHT_SERVE_MAX_ROW", "3")
    with pytest.raises(SettingsError, match="did you mean TRACEWRIGHT_SERVE_MAX_ROWS"):
        mlflow.pyfunc.load_model(location)
