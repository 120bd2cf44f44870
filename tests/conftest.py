"""What holds for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

# No MLflow of the developer's.
os.environ.pop("MLFLOW_TRACKING_URI", None)

# A busy machine is no failure: no test is timed. `make test` takes the same examples each time; `make nightly` asks for
# more of them, and for others.
EXAMPLES = os.environ.get("TRACEWRIGHT_EXAMPLES")
settings.register_profile("here", deadline=None, max_examples=int(EXAMPLES or 20), derandomize=EXAMPLES is None)
settings.load_profile("here")


LONGEST = ("e2e/test_pipeline.py", "tuning/test_session.py", "faults/test_mlflow.py", "cli/test_runs.py")
"""The files that take longest, in that order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow files begin first, and the longest of them before the others: no worker waits for another at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    longest = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (longest.get(item.path, len(longest)), item.path not in slow))


@pytest.fixture(scope="session")
def agent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small agent, as it lies on disk."""
    from tests.support.agents import small_agent  # what most tests never load

    folder = tmp_path_factory.mktemp("agent")
    small_agent().save(folder)
    return folder


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow, to be copied: migrated once for all workers, since that takes seconds."""
    from pipeline.tracking import mlflow_store

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "migrated"
    with FileLock(f"{root}.lock"), pytest.MonkeyPatch.context() as patch:
        for name, value in mlflow_store.DEFAULTS.items():
            patch.setenv(name, value)
        mlflow_store.client(root)
    return root / "mlruns" / "mlflow.db"


@pytest.fixture(scope="session")
def with_mlflow(mlflow_database: Path) -> Callable[[Path], None]:
    """Gives a project's folder that database."""

    def copy(root: Path) -> None:
        (root / "mlruns").mkdir()
        shutil.copy(mlflow_database, root / "mlruns")

    return copy
