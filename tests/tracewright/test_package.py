from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tracewright
from pipeline.core.errors import ImageRejected
from tests.support.fakes import rgba_of


def test_a_path_its_bytes_and_a_pillow_image_give_the_same(tmp_path: Path, agent_folder: Path) -> None:
    image = Image.fromarray(rgba_of(1))
    image.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    answers = [
        tracewright.vectorize(given, traces=2, model=agent_folder)
        for given in (str(tmp_path / "a.png"), tmp_path / "a.png", content, image)
    ]
    assert len({answer.svg for answer in answers}) == 1
    [first, *_] = answers
    assert first.svg.startswith("<svg ")
    assert first.bytes == len(first.svg.encode())
    assert first.damage >= 0
    first.save(tmp_path / "deep" / "a.svg")
    assert (tmp_path / "deep/a.svg").read_text() == first.svg


def test_the_options_are_those_of_the_command(agent_folder: Path) -> None:
    image = Image.fromarray(rgba_of(1))
    answer = tracewright.vectorize(image, traces=1, budget_bytes=1, background="white", model=agent_folder)
    assert (answer.note or "").startswith("no trace has 1 bytes or fewer")
    with pytest.raises(ImageRejected, match="blank"):
        tracewright.vectorize(Image.fromarray(np.zeros((20, 20, 3), np.uint8)), model=agent_folder)


def test_the_import_is_light() -> None:
    script = "import sys, tracewright; sys.exit(any(m in sys.modules for m in ('numpy', 'PIL', 'pipeline.search')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
