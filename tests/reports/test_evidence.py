from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.reports.archive import read_report
from pipeline.reports.evidence import description, log_evidence
from pipeline.settings.params import load_settings
from pipeline.stages import report
from pipeline.tracking.run import Run
from tests.support.logged_runs import in_mlflow


@pytest.fixture
def reported(project: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder after the report stage."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project.root)
    report.main()
    return Path(project.root)


def test_a_run_gets_its_verdict_its_report_and_pairs_of_svgs_once(
    reported: Path, with_mlflow: Callable[[Path], None]
) -> None:
    with_mlflow(reported)
    found = read_report(reported / "reports")
    settings = load_settings(reported / "params.yaml")
    with Run.start(reported, settings, stage=None) as run:
        log_evidence(reported, run, found)
        before = run.journal.path.read_text()
        log_evidence(reported, run, found)
    again = [json.loads(line)["kind"] for line in run.journal.path.read_text()[len(before) :].splitlines()]
    assert again == ["tags", "end"]
    logged = in_mlflow(run)
    assert found.headline in logged.data.tags["mlflow.note.content"]
    client = run.replica.experiment().client
    pages = {Path(f.path).name for f in client.list_artifacts(logged.info.run_id, "report")}
    assert {"report.html"} < pages
    pairs = client.list_artifacts(logged.info.run_id, "svg")
    assert 0 < len(pairs) <= 4
    for pair in pairs:
        assert {Path(f.path).name for f in client.list_artifacts(logged.info.run_id, pair.path)} == {
            "default.svg",
            "tracewright.svg",
        }


def test_without_svgs_and_decision_the_rest_is_there(reported: Path) -> None:
    found = read_report(reported / "reports")
    assert found.registry is not None
    assert f"--model {found.registry.model_uri}" in description(found)
    shutil.rmtree(reported / "results/evaluate/svg")
    (reported / "results/register.json").unlink()
    report.main()
    assert "--model" not in description(read_report(reported / "reports"))
