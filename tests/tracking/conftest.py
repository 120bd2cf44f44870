from __future__ import annotations

import re
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from pipeline.settings.params import Settings, load_settings
from pipeline.tracking import mlflow_store
from tests.support.logged_runs import PARAMS, make_agent


@pytest.fixture(scope="session", autouse=True)
def mlflow_environment() -> Iterator[None]:
    """No server of the developer's, and what the store sets is taken back at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in mlflow_store.DEFAULTS.items():
            patch.setenv(name, value)
        event.listen(Engine, "connect", _unsynced)
        yield
        event.remove(Engine, "connect", _unsynced)


def _unsynced(connection: object, _: object) -> None:
    """Tests survive no power cut, and do not wait for the disk."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory, with_mlflow: Callable[[Path], None]) -> Path:
    """One project with one migrated database for all tests; each has an experiment of its own."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PARAMS, folder)
    with_mlflow(folder)
    return folder


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Settings:
    name = re.sub(r"[^A-Za-z0-9]", "-", request.node.name).strip("-")[-60:].strip("-")
    return load_settings(PARAMS).model_copy(update={"experiment": name})


@pytest.fixture
def agent_dir(tmp_path: Path) -> Path:
    return make_agent(tmp_path / "agent", b"weights")


@pytest.fixture
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses every connection."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{probe.getsockname()[1]}")
