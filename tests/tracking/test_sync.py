from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.core.errors import Unavailable
from pipeline.settings.params import Settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.journal import Journal
from pipeline.tracking.run import Run
from pipeline.tracking.sync import sync
from tests.support.logged_runs import in_mlflow


def outcome_of(root: Path, run: Run) -> str:
    return str(dict(sync(root))[run.run_id])


@pytest.fixture
def left(root: Path, settings: Settings) -> Run:
    """A run whose process died without a word."""
    run = Run.start(root, settings, stage=None)
    run.log_metrics({"a": 1.0}, 1)
    run.journal.close()
    run._lock.release()
    return run


def test_a_run_whose_process_died_is_sent_and_closed_as_killed(root: Path, left: Run) -> None:
    assert "bytes of its journal sent" in outcome_of(root, left)
    left.replica = type(left.replica)(root, left.folder)
    found = in_mlflow(left)
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"a": 1.0}
    assert found.data.tags["failure"] == "its process died"
    assert outcome_of(root, left) == "was complete"


def test_a_run_that_is_being_written_is_left_alone(root: Path, settings: Settings) -> None:
    with Run.start(root, settings, stage=None) as run:
        assert outcome_of(root, run) == "is being written; its own process sends it"
        assert run.journal.status is None


def test_one_that_cannot_be_sent_does_not_keep_the_others(root: Path, left: Run) -> None:
    damaged = mlflow_store.home(root) / mlflow_store.RUNS_FOLDER / "00000000-000000-damaged"
    damaged.mkdir(parents=True)
    (damaged / "journal.jsonl").write_text("{}\n")
    try:
        found = dict(sync(root))
        assert "is no record of this release" in str(found[damaged.name])
        assert "sent" in str(found[left.run_id])
    finally:
        (damaged / "journal.jsonl").unlink()
        (damaged / "lock").unlink()
        damaged.rmdir()


@pytest.mark.usefixtures("no_mlflow")
def test_without_mlflow_the_command_says_so_and_nothing_is_lost(
    root: Path, left: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "dvc.yaml").touch()
    monkeypatch.chdir(root)
    done = CliRunner().invoke(main, ["sync"])
    assert done.exit_code == Unavailable.exit_code
    assert "then run `tracewright sync` again" in done.output
    journal = Journal(left.folder)
    journal.close()
    assert journal.status == "KILLED"
