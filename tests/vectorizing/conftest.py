"""A trained agent's folder and images that are small enough for real traces to take milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.support.fakes import rgba_of


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Seven images in two folders, one of them broken."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for seed in range(6):
        Image.fromarray(rgba_of(seed)).save(folder / ("deep" if seed % 2 else "") / f"{seed}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder
