"""A project's folder as the stages leave it: figures drawn once from a seed, all files agreeing with each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.reports.report import read_results
from pipeline.reports.results import Results
from pipeline.settings.params import load_settings
from tests.support.report_project import Project, Tools, make_project


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


@pytest.fixture(scope="session", name="make_project")
def project_maker() -> Callable[..., Project]:
    return make_project


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """To be left as it is."""
    return make_project(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A copy of it to change."""
    return replace(made, root=Path(shutil.copytree(made.root, tmp_path / "project")))


@pytest.fixture(scope="session")
def results(made: Project) -> Results:
    return read_results(made.root, load_settings(made.root / "params.yaml"), commit="0123abcd" * 5)
