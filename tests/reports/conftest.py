"""A project's folder as the stages leave it: figures drawn once from a seed, all files agreeing with each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.records import Pixels
from pipeline.reports.report import read_results
from pipeline.reports.results import Results
from pipeline.settings.params import load_settings
from tests.support.report_project import Project, make_project


@dataclass(frozen=True)
class Tools:
    """Stand-ins for the reader of images and the rasteriser."""

    @staticmethod
    def read(path: Path) -> Pixels:
        return np.asarray(Image.open(path).convert("RGBA"))

    @staticmethod
    def render(svg: str, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
        return np.full((height, width, 3), len(svg) % 256, dtype=np.uint8)


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
