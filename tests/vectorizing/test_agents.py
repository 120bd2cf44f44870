"""The agent that vectorises: which one is taken, and what the shipped one says of itself."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.agent.agent import TRAINED, load_agent
from pipeline.core.errors import DataError, Mismatch, SettingsError, Unavailable
from pipeline.core.facts.comparison import MethodResult
from pipeline.core.json_records import to_json
from pipeline.tracking.models import AGENT_FILES, file_digests
from pipeline.vectorizing.agents import CARD, SHIPPED, find_agent, ship
from tests.support import facts
from tests.support.fakes import ROOT
from tests.support.logged_runs import make_agent
from tests.support.registered_model import promote, register


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without runs, with the results of its trained agent, and the current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "a project #1"
    make_agent(root / TRAINED, b"trained")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root)
    methods = tuple(
        MethodResult(name=name, label=name, kind="ours", curve=(facts.point(np.full(3, value), 8),), by_category={})
        for name, value in (("agent", 1.0), ("default", 0.0))
    )
    comparison = facts.comparison_of(methods=methods)
    records = {"train/train.json": facts.train_report(), "evaluate/evaluate.json": comparison}
    for name, record in records.items():
        path = root / "results" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(to_json(record)))
    (root / "deep/down").mkdir(parents=True)
    monkeypatch.chdir(root / "deep/down")
    return root


def test_the_shipped_agent_can_be_used() -> None:
    agent = load_agent(SHIPPED)
    assert agent.objective.name == agent.trained_for == "faithful"
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 600_000


def test_card_weights_and_results_of_the_shipped_agent_belong_together() -> None:
    assert (SHIPPED / CARD).is_file(), f"{SHIPPED / CARD} is missing: train with `make repro`, then `make agent`"
    card = json.loads((SHIPPED / CARD).read_text(encoding="utf-8"))
    assert {name: card[name] for name in file_digests(SHIPPED)} == file_digests(SHIPPED)
    assert card["objective"]["name"] == load_agent(SHIPPED).trained_for
    ours, default = card["results"]["agent"], card["results"]["vtracer_default"]
    assert ours["ratio"]["low"] <= ours["ratio"]["mean"] <= ours["ratio"]["high"]
    assert ours["damaged"]["mean"] < default["damaged"]["mean"]
    assert min(card["images"].values()) > 0
    assert len(card["commit"]) == 40
    assert card["licence"].startswith("MIT")


def test_without_a_project_or_a_champion_it_is_the_shipped_agent(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_agent(None).folder == SHIPPED
    monkeypatch.chdir(tmp_path)
    assert find_agent(None).folder == SHIPPED
    assert "shipped" in find_agent(None).name


def test_the_projects_champion_comes_first_and_needs_no_mlflow_once_it_is_kept(project: Path, tmp_path: Path) -> None:
    register(project, [project / TRAINED, make_agent(tmp_path / "other", b"other")])
    folder = find_agent(None).folder
    assert file_digests(folder) == file_digests(project / TRAINED)
    imported = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "mlflow"}
    try:
        assert find_agent(None).folder == folder
        assert "mlflow" not in sys.modules
    finally:
        sys.modules.update(imported)
    promote(project, "2")
    assert file_digests(find_agent(None).folder) == file_digests(tmp_path / "other")


def test_a_kept_champion_that_was_changed_is_not_used(project: Path) -> None:
    register(project, [project / TRAINED])
    (find_agent(None).folder / AGENT_FILES[0]).write_bytes(b"changed")
    with pytest.raises(DataError, match="changed or damaged"):
        find_agent(None)


def test_what_was_asked_for_comes_before_all_else(project: Path, tmp_path: Path) -> None:
    register(project, [project / TRAINED])
    other = make_agent(tmp_path / "other", b"other")
    assert find_agent(str(other)).folder == other
    assert find_agent("tracewright").folder == find_agent("models:/tracewright/1").folder == find_agent(None).folder
    with pytest.raises(Unavailable, match="there is no model models:/nobody/7"):
        find_agent("nobody/7")


def test_the_champion_is_shipped_with_its_card(project: Path, tmp_path: Path) -> None:
    register(project, [project / TRAINED])
    report = facts.train_report()
    folder = ship(project, tmp_path / "shipped")
    card = json.loads((folder / CARD).read_text())
    assert file_digests(folder) == file_digests(project / TRAINED)
    assert {name: card[name] for name in file_digests(folder)} == file_digests(folder)
    assert (card["run_id"], card["commit"]) == (report.run_id, report.git_commit)
    assert card["results"]["agent"]["traces"] == 8
    assert card["results"]["agent"]["ratio"]["mean"] == pytest.approx(np.exp(-1))
    assert card["results"]["vtracer_default"]["ratio"]["mean"] == 1


def test_what_does_not_belong_together_is_not_shipped(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shipped"
    with pytest.raises(Unavailable, match="no champion"):
        ship(project, folder)
    register(project, [project / TRAINED])
    (project / TRAINED / AGENT_FILES[0]).write_bytes(b"trained again")
    with pytest.raises(Mismatch, match="not those of the champion"):
        ship(project, folder)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("root: data/samples", "root: my-logos"))
    with pytest.raises(SettingsError, match="my-logos"):
        ship(project, folder)
    assert not folder.exists()
