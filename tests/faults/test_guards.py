"""Each guard proven: with it taken out, in a copy of the source, the test that watches it fails.

All of tests/support/guards.py where TRACEWRIGHT_GUARDS is 1, else one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.guards import GUARDS, Guard
from tests.support.source import ROOT
from tests.support.tally import tally

IN_FULL = os.environ.get("TRACEWRIGHT_GUARDS") == "1"
CHOSEN = list(GUARDS) if IN_FULL else ["the folder is synced"]
FAILED = 1  # pytest's exit code when tests were run and some failed


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The packages and their tests, never the tree itself."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("pipeline", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    yield folder
    tally("guards taken out", guards=len(CHOSEN), unnoticed=0)


def outcome_of(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Without compiled files: a change within the same second would not be seen."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRACEWRIGHT_"))
    }
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-n", "0", *" ".join(tests).split(" ")]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not IN_FULL, reason="the tests themselves run beside it")
def test_with_every_guard_in_place_the_tests_pass(copy: Path) -> None:
    tests = dict.fromkeys(GUARDS[name].test.split(" ")[0] for name in CHOSEN)
    done = outcome_of(copy, *tests)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", CHOSEN)
def test_without_it_a_test_fails(copy: Path, name: str) -> None:
    guard = GUARDS[name]
    path = copy / guard.file
    source = path.read_text(encoding="utf-8")
    assert source.count(guard.before) == 1, f"{guard.file} has changed: tests/support/guards.py must follow"
    path.write_text(source.replace(guard.before, guard.after), encoding="utf-8")
    try:
        done = outcome_of(copy, guard.test)
    finally:
        path.write_text(source, encoding="utf-8")
    assert done.returncode == FAILED, done.stdout
    assert " failed" in done.stdout


def test_every_guard_is_where_it_is_said_to_be() -> None:
    """So that a change of the source is noticed in the short form too."""
    wrong = [
        name
        for name, guard in GUARDS.items()
        if (ROOT / guard.file).read_text(encoding="utf-8").count(guard.before) != 1
    ]
    assert wrong == []


def test_what_is_named_is_there() -> None:
    def there(guard: Guard) -> bool:
        file, _, test = guard.test.split(" ")[0].partition("::")
        return f"def {test}(" in (ROOT / file).read_text(encoding="utf-8") if test else (ROOT / file).is_file()

    assert [name for name, guard in GUARDS.items() if not there(guard)] == []
