from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.source import ROOT

HEAVY = {
    "cv2",
    "gymnasium",
    "matplotlib",
    "mlflow",
    "optuna",
    "pandas",
    "PIL",
    "pyarrow",
    "pydantic",
    "scipy",
    "skia",
    "stable_baselines3",
    "streamlit",
    "torch",
    "vtracer",
}


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter: in this one everything has been imported already."""
    return subprocess.run(
        [sys.executable, *(["-c", code] if code else []), *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_"))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("module", ["pipeline.cli.main", "monitoring", "dashboard"])
def test_an_import_is_light(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = python(code)
    assert answer.returncode == 0, answer.stderr
    assert (HEAVY | {"numpy"}) & set(json.loads(answer.stdout)) == set()


def test_help_is_shown() -> None:
    answer = python("", "-m", "pipeline.cli.main", "--help")
    assert answer.returncode == 0, answer.stderr
    for command in ("vectorize", "use-data", "models"):
        assert command in answer.stdout


def test_a_tracing_process_is_light() -> None:
    """One starts per core, and again after every crash."""
    answer = python("import sys, json, pipeline.tracing.worker; print(json.dumps(sorted(sys.modules)))")
    assert answer.returncode == 0, answer.stderr
    allowed = {"cv2", "PIL", "skia", "vtracer"}
    assert (HEAVY - allowed) & set(json.loads(answer.stdout)) == set()
