"""Pictures that are drawn here; real logos where they are to be had."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.records import Pixels
from pipeline.data.images import ImageLimits
from tests.support.drawing import draw

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def picture() -> Pixels:
    return np.array(draw(1))


@pytest.fixture(scope="session")
def limits() -> ImageLimits:
    return ImageLimits(min_side_pixels=32, max_pixels=4_194_304, max_file_bytes=20_000_000, background="#ffffff")


@pytest.fixture
def logos(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of drawn logos, named by their paths."""

    def make(*paths: str) -> Path:
        root = tmp_path / "logos"
        for seed, path in enumerate(paths):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            draw(seed).save(root / path)
        return root

    return make


@pytest.fixture(scope="session")
def real_logos() -> Path:
    folder = Path(os.environ.get("TRACEWRIGHT_LOGOS", ROOT.parent / "shared" / "logos"))
    if not folder.is_dir():
        pytest.skip("no folder of real logos: set TRACEWRIGHT_LOGOS")
    return folder
