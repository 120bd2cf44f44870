"""No file that tracewright reads is unpickled: every process of a training, and of what uses it, has an audit hook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.armed import numpy_archive, pickled, torch_file
from tests.support.source import ROOT

AUDIT = Path(__file__).parent / "audit"

PLANTED = {
    "pickle.load": "import pickle; pickle.load(open({path!r}, 'rb'))",
    "an unpickler": "import pickle; pickle.Unpickler(open({path!r}, 'rb')).load()",
    "Python's own unpickler": "import pickle; pickle._Unpickler(open({path!r}, 'rb')).load()",
    "marshal": "import marshal; marshal.loads(marshal.dumps([1]))",
    "NumPy": "import numpy; numpy.load({archive!r}, allow_pickle=True)['weights']",
    "torch": "import torch; torch.load({torch!r}, weights_only=False)",
}


def audited(notes: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{AUDIT}:{ROOT}", "TRACEWRIGHT_UNPICKLED": str(notes)}
    return subprocess.run(
        [sys.executable, *(str(a) for a in arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_training_resuming_using_and_reporting_unpickle_nothing(tmp_path: Path) -> None:
    notes, folder = tmp_path / "notes", tmp_path / "project"
    folder.mkdir()
    done = audited(notes, "-m", "tests.support.readings", folder)
    assert done.returncode == 0, done.stderr
    lines = notes.read_text().splitlines()
    assert [line for line in lines if not line.startswith("hook in ")] == []
    assert any("tests.support.readings" in line for line in lines)
    assert any("pipeline.tracing.worker" in line for line in lines), "tracing processes have the hook too"


@pytest.mark.parametrize("source", PLANTED.values(), ids=PLANTED.keys())
def test_the_hook_sees_what_is_planted(tmp_path: Path, source: str) -> None:
    notes, canary = tmp_path / "notes", tmp_path / "code-ran"
    files = {"path": tmp_path / "a.pkl", "archive": tmp_path / "a.npz", "torch": tmp_path / "a.pt"}
    for path, make in zip(files.values(), (pickled, numpy_archive, torch_file), strict=True):
        path.write_bytes(make(canary))
    done = audited(notes, "-c", source.format(**{name: str(path) for name, path in files.items()}))
    assert done.returncode == 1
    assert "UnpicklingForbidden" in done.stderr
    assert not notes.read_text().splitlines()[-1].startswith("hook in ")
    assert not canary.exists()
