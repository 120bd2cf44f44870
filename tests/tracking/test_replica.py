from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import DataError, Unavailable
from pipeline.settings.params import Settings
from pipeline.tracking import mlflow_store, replica
from pipeline.tracking.replica import Replica
from pipeline.tracking.run import Run
from tests.support.facts import split_summary
from tests.support.logged_runs import in_mlflow, make_agent, model_in_mlflow

SUMMARY = split_summary()


@pytest.fixture
def run(root: Path, settings: Settings, tmp_path: Path) -> Iterator[Run]:
    """One of everything that a journal can hold, not sent yet."""
    agent = make_agent(tmp_path / "agent", b"weights")
    unsent = Run.start(root, settings, stage=None, inputs=SUMMARY)
    unsent.log_metrics({"val/value": 0.5, "b": 1.0}, 64)
    unsent.log_model(agent, "agent-64", 64, {"note": "x"}, {"val/value": 0.5}, "val")
    unsent.log_artifact(agent / "agent.json", "files")
    unsent.set_tags({"stage/simple": "passed"})
    unsent.journal.end("KILLED", "Stopped: x")
    yield unsent
    unsent.journal.close()
    unsent._lock.release()


def everything(run: Run) -> dict[str, Any]:
    """All that MLflow has of a run, each metric's whole history too."""
    experiment, found = run.replica.experiment(), in_mlflow(run)
    models = experiment.client.search_logged_models([experiment.experiment_id])
    return {
        "runs": [r.info.run_id for r in experiment.client.search_runs([experiment.experiment_id])],
        "status": found.info.status,
        "end": found.info.end_time,
        "params": found.data.params,
        "tags": found.data.tags,
        "metrics": {
            name: [
                (m.step, m.timestamp, m.value) for m in experiment.client.get_metric_history(found.info.run_id, name)
            ]
            for name in found.data.metrics
        },
        "inputs": [entry.dataset.digest for entry in found.inputs.dataset_inputs] if found.inputs else [],
        "outputs": [output.model_id for output in found.outputs.model_outputs] if found.outputs else [],
        "models": [(m.model_id, m.status, [(x.key, x.value, x.dataset_name) for x in m.metrics or []]) for m in models],
        "artifacts": [f.path for f in experiment.client.list_artifacts(found.info.run_id, "files")],
    }


def test_what_is_sent_again_from_the_start_doubles_nothing(run: Run) -> None:
    run.deliver()
    before = everything(run)
    assert before["status"] == "KILLED"
    assert before["metrics"]["val/value"][0][2] == 0.5
    assert [status for _, status, _ in before["models"]] == ["READY"]
    assert before["outputs"] == [before["models"][0][0]]
    (run.folder / replica.STATE).unlink()
    run.deliver()
    assert everything(run) == before


def test_a_send_that_was_cut_off_after_any_record_goes_on_there(run: Run) -> None:
    """Each record is applied, then the send dies before it is written down that it was; the next applies it again."""

    class Cut(Exception):
        pass

    class Dies(Replica):
        def __init__(self, applied: int) -> None:
            super().__init__(run.replica._root, run.folder)
            self.left = applied

        def _apply(self, group: list[dict[str, Any]]) -> None:
            super()._apply(group)
            self.left -= 1
            if not self.left:
                raise Cut

    for _ in range(5):
        with pytest.raises(Cut):
            Dies(2).send()  # one that was left before, and the next
    run.deliver()
    found = everything(run)
    assert len(found["runs"]) == len(found["models"]) == len(found["outputs"]) == 1
    assert len(found["inputs"]) == 3
    assert {name: len(history) for name, history in found["metrics"].items()} == {"val/value": 1, "b": 1}


def test_a_model_whose_upload_was_cut_off_is_gone_on_with(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = run.replica.experiment()
    with monkeypatch.context() as patch:
        patch.setattr(
            type(experiment.client), "log_model_artifacts", lambda *_: (_ for _ in ()).throw(ConnectionError())
        )
        with pytest.raises(ConnectionError):
            run.deliver()
    run.deliver()
    [(_, status, metrics)] = everything(run)["models"]
    assert status == "READY"
    assert metrics == [("val/value", 0.5, "val")]


def test_a_kept_file_that_rotted_is_named_and_the_rest_is_sent(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    damaged = run.folder / "models/agent-64/policy.safetensors"
    damaged.write_bytes(b"rotten")
    run.deliver()
    assert f"{damaged}: has changed since it was written" in caplog.text
    found = everything(run)
    assert found["models"] == []
    assert found["artifacts"] == ["files/agent.json"]
    assert found["status"] == "KILLED"
    with pytest.raises(DataError, match="has no model 'agent-64'"):
        run.model_id("agent-64")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uri": "sqlite://elsewhere", "run_id": "x", "sent_bytes": 5}'])
def test_a_garbled_state_or_another_server_means_nothing_was_sent(run: Run, content: str) -> None:
    run.deliver()
    before = everything(run)
    (run.folder / replica.STATE).write_text(content)
    run.deliver()
    assert everything(run) == before


def test_another_server_gets_all_of_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.deliver()
    other = tmp_path / "other.db"
    shutil.copy(mlflow_store.home(run.replica._root) / "mlruns/mlflow.db", other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    elsewhere = Replica(run.replica._root, run.folder)
    elsewhere.send()
    assert elsewhere.sent.uri == f"sqlite:///{other}"
    assert elsewhere.sent.sent_bytes == run.journal.size


def test_a_password_in_the_address_is_not_written_down(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://name:secret@127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        Replica(run.replica._root, run.folder).send()
    assert "secret" not in str(caught.value)
    assert not (run.folder / replica.STATE).exists() or "secret" not in (run.folder / replica.STATE).read_text()


def test_a_model_links_what_it_achieved(run: Run) -> None:
    run.deliver()
    model = model_in_mlflow(run, "agent-64")
    assert model.params["note"] == "x"
    assert model.source_run_id == run.replica.sent.run_id


def test_a_journal_without_a_start_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps({"kind": "tags", "tags": {}}) + "\n")
    with pytest.raises(DataError, match="does not begin with the start of a run"):
        Replica(root, tmp_path).send()


def test_thousands_of_values_are_few_calls(root: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.start(root, settings, stage=None) as run:
        for step in range(2500):
            run.journal._waiting += [{"kind": "metrics", "step": step, "time": step, "values": {"a": step, "b": step}}]
        run.journal._append()
        experiment = run.replica.experiment()
        sizes: list[int] = []
        log_batch = type(experiment.client).log_batch

        def counted(client: Any, run_id: str, metrics: Any = (), **rest: Any) -> None:
            sizes.append(len(metrics))
            log_batch(client, run_id, metrics=metrics, **rest)

        monkeypatch.setattr(type(experiment.client), "log_batch", counted)
        run.deliver()
    assert [size for size in sizes if size] == [1000] * 5
