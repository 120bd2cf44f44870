from __future__ import annotations

import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

from pipeline.errors import DataError, Stopped, Unavailable
from pipeline.settings import Settings
from pipeline.tracking import store
from pipeline.tracking.run import Run

SUMMARY = {
    "train": {"images": 14, "digest": "a" * 64},
    "val": {"images": 4, "digest": "b" * 64},
    "test": {"images": 2, "digest": "c" * 64},
    "by_category": {},
}


class FakeMlflow:
    """Takes what a client takes; the first `failures` sends fail. calls: the number of values in each send."""

    def __init__(self, failures: float = 0) -> None:
        self.failures = failures
        self.calls: list[int] = []
        self.metrics: list[Metric] = []
        self.tags: dict[str, str] = {}
        self.status = "RUNNING"
        self.sent = threading.Event()

    def log_batch(self, run_id: str, metrics: Sequence[Metric] = (), tags: Sequence[RunTag] = ()) -> None:
        self._fail()
        if metrics:
            self.calls.append(len(metrics))
            self.metrics += metrics
            self.sent.set()
        self.tags |= {tag.key: tag.value for tag in tags}

    def set_terminated(self, run_id: str, status: str) -> None:
        self._fail()
        self.status = status

    def _fail(self) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise MlflowException("the server is on fire")


def fake_run(folder: Path, fake: FakeMlflow, flush_seconds: float = 1000) -> Run:
    place = store.Store(cast(MlflowClient, fake), "http://fake", "1", folder)
    return Run(place, "run1", flush_seconds=flush_seconds)


def test_five_thousand_values_are_sent_in_five_calls(tmp_path: Path) -> None:
    fake = FakeMlflow()
    with fake_run(tmp_path, fake) as run:
        for step in range(2500):
            run.log_metrics({"a": step, "b": -step}, step)
        assert fake.calls == []
    assert fake.calls == [1000] * 5
    assert [m.value for m in fake.metrics if m.key == "a"] == list(range(2500))
    assert fake.status == "FINISHED"


def test_values_are_sent_in_the_background(tmp_path: Path) -> None:
    fake = FakeMlflow()
    with fake_run(tmp_path, fake, flush_seconds=0.01) as run:
        run.log_metrics({"a": 1.0}, 1)
        assert fake.sent.wait(5)


def test_a_failing_send_is_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeMlflow(failures=2)
    with fake_run(tmp_path, fake) as run:
        run.log_metrics({"a": 1.0}, 1)
        assert not run.flush()
        assert not run.flush()
        run.log_metrics({"a": 2.0}, 2)
    assert [m.value for m in fake.metrics] == [1.0, 2.0]
    assert fake.status == "FINISHED"
    assert not caplog.records


def test_what_could_not_be_sent_is_told_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with fake_run(tmp_path, FakeMlflow(failures=math.inf)) as run:
        run.log_metrics({"a": 1.0}, 1)
    assert "the server is on fire" in caplog.text
    assert str(run.journal.path) in caplog.text
    fake = FakeMlflow()
    with fake_run(tmp_path, fake):
        pass
    assert [m.value for m in fake.metrics] == [1.0]


def test_values_that_were_not_measured_are_counted_on_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeMlflow()
    with fake_run(tmp_path, fake) as run:
        run.log_metrics({"a": math.nan, "b": 1.0}, 1)
    assert [m.key for m in fake.metrics] == ["b"]
    assert fake.tags == {"refused.a": "1"}
    assert "no finite value" in caplog.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Stopped("stopped on request"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (DataError("no images"), "FAILED"),
        (ZeroDivisionError("x / 0"), "FAILED"),
    ],
)
def test_a_run_ends_as_it_ended(tmp_path: Path, error: BaseException, status: str) -> None:
    fake = FakeMlflow()
    run = fake_run(tmp_path, fake)
    run.log_metrics({"a": 1.0}, 1)
    with pytest.raises(type(error)), run:
        raise error
    assert fake.status == status
    assert fake.tags["failure"].startswith(type(error).__name__)
    assert fake.calls == [1]


def test_the_error_of_the_block_is_not_hidden_by_mlflows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with pytest.raises(DataError, match="no images"), fake_run(tmp_path, FakeMlflow(failures=math.inf)):
        raise DataError("no images")
    assert "not complete" in caplog.text


def test_a_run_says_what_it_was_made_from(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY, tags={"seed": "3"}, name="night") as run:
        run.log_metrics({"val/value": 0.25}, 64)
        run.log_artifact(root / "params.yaml")
        run.set_tags({"stage/simple": "passed"})
        assert run.store.client.get_run(run.run_id).info.status == "RUNNING"
    found = run.store.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "night"
    assert found.data.params["train.ppo.n_steps"] == str(settings.train.ppo.n_steps)
    assert found.data.tags["seed"] == "3"
    assert found.data.tags["version.vtracer"] == "0.6.15"
    assert found.data.tags["stage/simple"] == "passed"
    assert found.data.metrics == {"val/value": 0.25}
    assert found.inputs is not None
    inputs = {entry.tags[0].value: entry.dataset.digest for entry in found.inputs.dataset_inputs}
    assert inputs == {"train": "a" * 36, "val": "b" * 36, "test": "c" * 36}
    assert [f.path for f in run.store.client.list_artifacts(run.run_id)] == ["params.yaml"]


def test_runs_are_found_by_their_metrics_and_parents(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage=None) as parent:
        for value in (0.1, 0.4, 0.2):
            with Run.start(root, settings, stage=None, parent_run_id=parent.run_id) as run:
                run.log_metrics({"val/value": value}, 1)
    found = parent.store.client.search_runs(
        [parent.store.experiment_id], "metrics.`val/value` > 0.15", order_by=["metrics.`val/value` DESC"]
    )
    assert [r.data.metrics["val/value"] for r in found] == [0.4, 0.2]
    assert {r.data.tags["mlflow.parentRunId"] for r in found} == {parent.run_id}


def test_adding_to_a_finished_run_leaves_it_finished(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage="train") as run:
        pass
    again = Run.resume(root, run.run_id)
    again.log_metrics({"test/value": 0.3}, 0)
    with pytest.raises(DataError), again:
        raise DataError("the evaluation failed")
    found = run.store.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"test/value": 0.3}


def test_a_stopped_run_goes_on_and_ends_anew(root: Path, settings: Settings) -> None:
    with pytest.raises(Stopped), Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        raise Stopped("stopped on request")
    client = run.store.client
    assert client.get_run(run.run_id).info.status == "KILLED"
    with Run.resume(root, run.run_id) as again:
        assert client.get_run(run.run_id).info.status == "RUNNING"
    assert again.store.experiment_id == run.store.experiment_id
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_run_that_does_not_exist_cannot_be_resumed(root: Path, settings: Settings) -> None:
    with pytest.raises(Unavailable, match="not found"):
        Run.resume(root, "0" * 32)
