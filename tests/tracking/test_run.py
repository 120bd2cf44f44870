from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from pipeline.core.errors import DataError, Stopped, Unavailable
from pipeline.core.records import SPLITS
from pipeline.settings.params import Settings, load_settings
from pipeline.tracking.run import Run, new_run_id
from tests.support.facts import split_summary
from tests.support.logged_runs import in_mlflow

SUMMARY = split_summary()


def kinds(run: Run) -> list[str]:
    return [json.loads(line)["kind"] for line in run.journal.path.read_text().splitlines()]


def test_a_run_says_what_it_was_made_from(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage="train", inputs=SUMMARY, tags={"seed": "3"}, name="night") as run:
        run.log_metrics({"val/value": 0.25}, 64)
        run.log_artifact(root / "params.yaml", "copy")
        run.set_tags({"stage/simple": "passed"})
        run.deliver()
        assert in_mlflow(run).info.status == "RUNNING"
    found = in_mlflow(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "night"
    assert found.data.params["train.ppo.n_steps"] == str(settings.train.ppo.n_steps)
    assert found.data.tags["seed"] == "3"
    assert len(found.data.tags) <= 12
    assert found.data.tags["stage/simple"] == "passed"
    assert found.data.tags["tracewright.run"] == run.run_id
    assert found.data.metrics == {"val/value": 0.25}
    assert found.inputs is not None
    inputs = {entry.tags[0].value: entry.dataset.digest for entry in found.inputs.dataset_inputs}
    assert inputs == {name: SUMMARY.content(name).digest[:36] for name in SPLITS}
    client = run.replica.experiment().client
    assert [f.path for f in client.list_artifacts(found.info.run_id)] == ["copy", "lineage.json", "params.yaml"]
    kept = load_settings(Path(client.download_artifacts(found.info.run_id, "params.yaml")))
    assert kept == settings
    origin = json.loads(Path(client.download_artifacts(found.info.run_id, "lineage.json")).read_text())
    assert origin["versions"]["version.vtracer"] == "0.6.15"


def test_runs_are_found_by_their_metrics_and_parents(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage=None) as parent:
        parent.deliver()
        for value in (0.1, 0.4, 0.2):
            with Run.start(root, settings, stage=None, parent_run_id=parent.run_id) as run:
                run.log_metrics({"val/value": value}, 1)
    experiment = parent.replica.experiment()
    found = experiment.client.search_runs(
        [experiment.experiment_id], "metrics.`val/value` > 0.15", order_by=["metrics.`val/value` DESC"]
    )
    assert [r.data.metrics["val/value"] for r in found] == [0.4, 0.2]
    assert {r.data.tags["mlflow.parentRunId"] for r in found} == {parent.replica.sent.run_id}


def test_values_reach_mlflow_while_the_run_goes_on(root: Path, settings: Settings) -> None:
    run = Run.start(root, settings, stage=None)
    run._flush_seconds = 0.01
    with run:
        run.log_metrics({"a": 1.0}, 1)
        until = time.monotonic() + 120
        while run.unsent_bytes and time.monotonic() < until:
            time.sleep(0.01)
        assert run.behind()[0] == 0
        assert in_mlflow(run).data.metrics == {"a": 1.0}


@pytest.mark.usefixtures("no_mlflow")
def test_without_mlflow_a_run_begins_goes_on_and_ends(
    root: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        run.log_metrics({"a": 1.0}, 1)
        run.log_metrics({"a": 2.0}, 2)
        waiting, oldest_seconds = run.behind()
        assert waiting == 4
        assert oldest_seconds >= 0
    assert time.monotonic() - started < 200, "MLflow itself tries for 246 seconds"
    assert kinds(run) == ["start", "artifact", "artifact", "metrics", "metrics", "end"]
    assert run.journal.status == "FINISHED"
    assert "MLflow lacks a part of run" in caplog.text
    assert "`tracewright sync` sends it" in caplog.text


def test_values_that_were_not_measured_are_counted_on_the_run(
    root: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with Run.start(root, settings, stage=None) as run:
        run.log_metrics({"a": math.nan, "b": 1.0}, 1)
    found = in_mlflow(run)
    assert found.data.metrics == {"b": 1.0}
    assert found.data.tags["refused.a"] == "1"
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
def test_a_run_ends_as_it_ended(root: Path, settings: Settings, error: BaseException, status: str) -> None:
    run = Run.start(root, settings, stage=None)
    run.log_metrics({"a": 1.0}, 1)
    with pytest.raises(type(error)), run:
        raise error
    run.deliver()
    found = in_mlflow(run)
    assert found.info.status == status
    assert found.data.tags["failure"].startswith(type(error).__name__)
    assert found.data.metrics == {"a": 1.0}


@pytest.mark.usefixtures("no_mlflow")
def test_a_stopped_run_does_not_wait_for_mlflow(root: Path, settings: Settings) -> None:
    started = time.monotonic()
    with pytest.raises(Stopped), Run.start(root, settings, stage=None):
        raise Stopped("stopped on request")
    assert time.monotonic() - started < 200, "MLflow itself tries for 246 seconds"


def test_adding_to_a_finished_run_leaves_it_finished(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage="train") as run:
        run.log_metrics({"test/value": 0.2}, 0)
    again = Run.resume(root, run.run_id)
    again.log_metrics({"test/value": 0.3}, 0)
    with pytest.raises(DataError), again:
        raise DataError("the evaluation failed")
    again.deliver()
    found = in_mlflow(again)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"test/value": 0.3}
    assert kinds(again) == ["start", "artifact", "artifact", "metrics", "end", "metrics"]


def test_a_stopped_run_goes_on_and_ends_anew(root: Path, settings: Settings) -> None:
    with pytest.raises(Stopped), Run.start(root, settings, stage="train", inputs=SUMMARY) as run:
        raise Stopped("stopped on request")
    run.deliver()
    assert in_mlflow(run).info.status == "KILLED"
    with Run.resume(root, run.run_id) as again:
        again.deliver()
        assert in_mlflow(run).info.status == "RUNNING"
    assert again.replica.sent.run_id == run.replica.sent.run_id
    assert in_mlflow(run).info.status == "FINISHED"


def test_a_run_that_does_not_exist_cannot_be_resumed(root: Path) -> None:
    with pytest.raises(DataError, match="there is no run"):
        Run.resume(root, "0" * 32)


def test_two_cannot_write_one_run(root: Path, settings: Settings) -> None:
    with (
        Run.start(root, settings, stage=None) as run,
        pytest.raises(Unavailable, match=r"is being written by process \d+"),
    ):
        Run.resume(root, run.run_id)
    with Run.resume(root, run.run_id):
        pass


def test_a_damaged_journal_does_not_keep_the_lock(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage=None) as run:
        pass
    run.journal.path.write_text("{}\n")
    for _ in range(2):
        with pytest.raises(DataError, match="is no record of this release"):
            Run.resume(root, run.run_id)


def test_ids_sort_by_time() -> None:
    first = new_run_id()
    assert first[:15] <= new_run_id()[:15]
    assert first != new_run_id()
