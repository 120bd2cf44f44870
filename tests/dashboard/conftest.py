from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import queries
from tests.support import dashboard_project
from tests.support.app_pages import Open


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one finished run, whose names and SVGs mean harm; to be left as it is."""
    folder = tmp_path_factory.mktemp("finished")
    return dashboard_project.reported(
        folder, names=dashboard_project.HOSTILE_NAMES, svg=dashboard_project.HOSTILE_SVG
    ).root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


@pytest.fixture
def empty(tmp_path: Path, finished: Path) -> Path:
    """A project in which nothing was run."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(finished / name, tmp_path / name)
    return tmp_path


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MLflow of the developer's, and nothing that another test cached."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a page of the app on a project, with what the address says after the question mark."""

    def opened(root: Path, page: str, **query: str) -> AppTest:
        monkeypatch.setenv(queries.PROJECT, str(root))
        app = AppTest.from_string(f"from dashboard.app import main\nmain({page!r})\n", default_timeout=120)
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    return opened


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """AppTest leaves a page as `__main__`, and processes that are started later would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
