from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from pipeline.settings import Settings, load_settings
from pipeline.tracking import store

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture(scope="session", autouse=True)
def mlflow_environment() -> Iterator[None]:
    """No server of the developer's, and what the store sets is taken back at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in store.DEFAULTS.items():
            patch.setenv(name, value)
        event.listen(Engine, "connect", _unsynced)
        yield
        event.remove(Engine, "connect", _unsynced)


def _unsynced(connection: sqlite3.Connection, _: object) -> None:
    """Tests survive no power cut, and do not wait for the disk."""
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One project with one migrated database for all tests; each has an experiment of its own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PARAMS, folder)
    return folder


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    name = re.sub(r"[^A-Za-z0-9]", "-", request.node.name).strip("-")[-60:].strip("-")
    return load_settings(PARAMS).model_copy(update={"experiment": name})


@pytest.fixture
def agent_dir(tmp_path: Path) -> Path:
    return make_agent(tmp_path / "agent", b"weights")


def make_agent(folder: Path, weights: bytes) -> Path:
    """What looks like an agent to whoever only moves its files."""
    folder.mkdir(parents=True)
    (folder / "policy.safetensors").write_bytes(weights)
    (folder / "agent.json").write_text("{}")
    return folder
