"""The package as somebody installs it: outside the repository, without what training needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.fakes import ROOT
from tests.support.small_logos import drawn_logo

pytestmark = pytest.mark.slow

PARTS = ("pipeline", "monitoring", "dashboard", "tracewright", "pyproject.toml", "README.md", "LICENSE")
ONLY_FOR_TRAINING = (
    "gymnasium",
    "mlflow",
    "optuna",
    "pandas",
    "pyarrow",
    "scipy",
    "sqlalchemy",
    "stable_baselines3",
    "torch",
)
MOST_MEGABYTES = 400

LIGHT = f"""
import sys
for name in {ONLY_FOR_TRAINING}:
    sys.modules[name] = None  # an import of it fails
from pipeline.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for part in (ROOT / name for name in PARTS if (ROOT / name).exists()):
        if part.is_dir():
            shutil.copytree(part, source / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, source)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(output)!r})"
    run([sys.executable, "-c", code], source)
    [built] = output.glob("*.whl")
    return built


def run(command: list[str], folder: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")} | variables
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_it_holds_the_agent_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"pipeline/vectorizing/shipped/{name}" for name in ("agent.json", "policy.safetensors")} <= set(names)
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops <= {"pipeline", "monitoring", "dashboard", "tracewright"}
    assert wheel.stat().st_size < 2_000_000


def test_it_asks_for_nothing_that_only_training_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        [name] = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(content.read(name))
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    names = {r.name.replace("-", "_") for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})}
    assert names & set(ONLY_FOR_TRAINING) == set()
    assert {"numpy", "safetensors", "vtracer"} <= names


def test_it_vectorises_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "installed", tmp_path / "work"
    zipfile.ZipFile(wheel).extractall(installed)
    work.mkdir()
    drawn_logo("simple_geometric", 1).save(work / "logo.png")
    said = run(
        [sys.executable, "-P", "-c", LIGHT, "vectorize", "logo.png", "-o", "svg"], work, PYTHONPATH=str(installed)
    )
    assert "the agent shipped with tracewright" in said
    assert (work / "svg/logo.svg").read_text().startswith("<svg")


@pytest.mark.nightly
def test_an_empty_environment_stays_small(wheel: Path, tmp_path: Path) -> None:
    """Needs a package index. The first SVG took `seconds`, imports included."""
    home, work = tmp_path / "venv", tmp_path / "work"
    venv.create(home, with_pip=True)
    run([str(home / "bin/pip"), "install", "--quiet", str(wheel)], tmp_path)
    work.mkdir()
    drawn_logo("simple_geometric", 1).save(work / "logo.png")
    run([str(home / "bin/tracewright"), "vectorize", "logo.png", "-o", "svg"], work)
    started = time.perf_counter()
    run([str(home / "bin/tracewright"), "vectorize", "logo.png", "-o", "svg2"], work)
    seconds = time.perf_counter() - started
    megabytes = sum(path.stat().st_size for path in home.rglob("*") if not path.is_symlink()) / 1e6
    print(f"{megabytes:.0f} MB on disk, first SVG after {seconds:.2f} s")
    assert megabytes < MOST_MEGABYTES
