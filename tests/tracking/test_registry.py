from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.entities.model_registry import ModelVersion

from pipeline.core.errors import Unavailable
from pipeline.settings.params import Settings
from pipeline.tracking import models, registry
from pipeline.tracking.registry import Registry
from pipeline.tracking.run import Run


@pytest.fixture
def model_ids(root: Path, settings: Settings, agent_dir: Path) -> list[str]:
    with Run.start(root, settings, stage="train") as run:
        for step in (1, 2, 3):
            run.log_model(agent_dir, f"agent-{step}", step, {}, {}, None)
        run.deliver()
        return [run.model_id(f"agent-{step}") for step in (1, 2, 3)]


@pytest.fixture
def opened(root: Path, settings: Settings) -> Registry:
    return registry.open_registry(root, settings.experiment)


def held(opened: Registry) -> dict[str, str]:
    aliases = (models.CHAMPION, registry.CHALLENGER, registry.PREVIOUS)
    return {alias: str(v.version) for alias in aliases if (v := opened.holder(alias)) is not None}


def add(opened: Registry, model_id: str) -> ModelVersion:
    return opened.add(opened.client.get_logged_model(model_id))


def test_a_model_is_registered_once(opened: Registry, model_ids: list[str]) -> None:
    first = add(opened, model_ids[0])
    assert add(opened, model_ids[0]).version == first.version
    assert add(opened, model_ids[1]).version != first.version
    assert [models.model_id_of(v) for v in opened.versions()] == [model_ids[1], model_ids[0]]
    assert len(first.tags["sha256.policy.safetensors"]) == 64
    assert first.run_id


def test_aliases_move_with_the_decisions(opened: Registry, model_ids: list[str], root: Path) -> None:
    one, two, three = (add(opened, model_id) for model_id in model_ids)
    assert held(opened) == {}
    opened.promote(one)
    assert held(opened) == {"champion": "1"}
    opened.challenge(two)
    assert held(opened) == {"champion": "1", "challenger": "2"}
    opened.promote(two)
    assert held(opened) == {"champion": "2", "previous": "1"}
    opened.promote(two)
    assert held(opened) == {"champion": "2", "previous": "1"}
    opened.promote(three)
    assert held(opened) == {"champion": "3", "previous": "2"}
    champion = models.download(f"models:/{opened.name}@champion", root)
    assert champion.name == model_ids[2]
    assert models.download(f"models:/{opened.name}/1", root).name == model_ids[0]


def test_rollback_swaps_and_swaps_back(opened: Registry, model_ids: list[str], root: Path) -> None:
    one, two, _ = (add(opened, model_id) for model_id in model_ids)
    opened.promote(one)
    with pytest.raises(Unavailable, match="no champion before this one"):
        registry.rollback(root, opened.name)
    opened.promote(two)
    assert "version 1 is champion again; version 2" in registry.rollback(root, opened.name)
    assert held(opened) == {"champion": "1", "previous": "2"}
    registry.rollback(root, opened.name)
    assert held(opened) == {"champion": "2", "previous": "1"}


def test_rollback_fills_an_empty_place(opened: Registry, model_ids: list[str], root: Path) -> None:
    one, two, _ = (add(opened, model_id) for model_id in model_ids)
    opened.promote(one)
    opened.promote(two)
    opened.client.delete_registered_model_alias(opened.name, models.CHAMPION)
    registry.rollback(root, opened.name)
    assert held(opened) == {"champion": "1"}


def test_versions_are_listed_newest_first(opened: Registry, model_ids: list[str], root: Path) -> None:
    one, two, _ = (add(opened, model_id) for model_id in model_ids)
    opened.tag(one, {"reason": "promoted: better"})
    opened.promote(one)
    opened.challenge(two)
    found = registry.list_versions(root, opened.name)
    assert [(v.version, v.aliases) for v in found] == [("3", ()), ("2", ("challenger",)), ("1", ("champion",))]
    assert found[2].reason == "promoted: better"


@pytest.mark.parametrize("act", [registry.list_versions, registry.rollback])
def test_an_empty_registry_says_what_to_run(root: Path, tmp_path: Path, act: object) -> None:
    assert callable(act)
    with pytest.raises(Unavailable, match="make repro"):
        act(tmp_path, "nobody")
    assert not any(tmp_path.iterdir())
    with pytest.raises(Unavailable):
        act(root, "nobody")
