from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from pipeline.core.errors import Mismatch, SettingsError
from pipeline.data.dataset import load_split, read_splits
from pipeline.settings.params import load_settings
from pipeline.stages import catalogue, samples, split
from tests.support.drawing import draw

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("root: data/samples", "root: logos")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    for n in range(24):
        folder = tmp_path / "logos" / ("simple_geometric" if n % 2 else "abstract")
        folder.mkdir(parents=True, exist_ok=True)
        draw(n).save(folder / f"brand{n}x.png")
    (tmp_path / "logos/broken.png").write_bytes(b"no")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_a_folder_to_splits_that_load(project: Path) -> None:
    catalogue.main()
    split.main()
    quality = json.loads((project / "data/quality.json").read_text())
    assert (quality["images"], [r["path"] for r in quality["rejected"]]) == (24, ["broken.png"])
    assert "broken.png" in (project / "data/quality.md").read_text()
    summary = json.loads((project / "data/splits.json").read_text())
    assert sum(summary[name]["images"] for name in ("train", "val", "test")) == 24
    loaded = load_split(project, load_settings(project / "params.yaml").data, ("train", "val", "test"))
    assert {name: len(logos) for name, logos in loaded.items()} == {
        name: summary[name]["images"] for name in ("train", "val", "test")
    }


def test_adding_an_image_moves_no_other(project: Path) -> None:
    catalogue.main()
    split.main()
    before = {entry.path: entry.split for entry in read_splits(project)}
    for n in range(100, 106):
        draw(n).save(project / f"logos/abstract/a{n}x.png")
    catalogue.main()
    split.main()
    after = {entry.path: entry.split for entry in read_splits(project)}
    assert len(after) == 30
    assert before.items() <= after.items()


def test_an_image_changed_since_is_noticed(project: Path) -> None:
    catalogue.main()
    split.main()
    path = next(entry.path for entry in read_splits(project) if entry.split == "test")
    draw(500).save(project / "logos" / path)
    with pytest.raises(Mismatch, match="changed since"):
        load_split(project, load_settings(project / "params.yaml").data, ("test",))


@pytest.mark.parametrize("stage", [samples, catalogue, split])
def test_settings_come_first(stage: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main: Callable[[], None] = stage.main  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match=r"params\.yaml"):
        main()
    assert not list(tmp_path.iterdir())


def test_errors_are_one_message_and_a_code(project: Path) -> None:
    shutil.rmtree(project / "logos")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.stages.catalogue"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 65
    assert done.stdout == ""
    assert done.stderr.startswith("catalogue: ")
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr


MANY = 6000


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_catalogue_that_is_stopped_keeps_what_it_read_and_leaves_no_process(
    number: signal.Signals, code: int, project: Path
) -> None:
    content = (project / "logos/abstract/brand0x.png").read_bytes()
    for n in range(MANY):  # enough for some seconds, on a busy machine too
        (project / f"logos/abstract/copy{n}x.png").write_bytes(content)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    stage = subprocess.Popen(
        [sys.executable, "-m", "pipeline.stages.catalogue"], env=environment, stderr=subprocess.PIPE
    )
    while kept(project) < 32:
        assert stage.poll() is None, "it ended before it could be stopped"
        time.sleep(0.05)
    started = psutil.Process(stage.pid).children(recursive=True)
    stage.send_signal(number)
    _, said = stage.communicate(timeout=600)
    assert stage.returncode == code
    assert b"Traceback" not in said
    assert psutil.wait_procs(started, timeout=120)[1] == []
    assert 32 <= kept(project) < MANY
    assert not (project / "data").exists()


def kept(project: Path) -> int:
    """How many answers are in the catalogue's cache."""
    count = 0
    for file in (project / ".tracewright/catalogue").glob("*.sqlite"):
        with closing(sqlite3.connect(file, timeout=20)) as connection, suppress(sqlite3.OperationalError):
            count += connection.execute("SELECT count(*) FROM stamped").fetchone()[0]
    return count
