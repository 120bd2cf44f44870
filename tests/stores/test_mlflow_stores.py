"""MLflow on PostgreSQL with its files in S3: a small training logs to it, and its model comes back from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipeline.core.errors import Unavailable
from pipeline.tracking import mlflow_store
from tests.support import postgres
from tests.support.small_project import small_project
from tests.support.source import ROOT
from tests.support.store_servers import S3, mlflow_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not postgres.IS_INSTALLED, reason="no PostgreSQL: apt install postgresql, pip install psycopg"),
]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres.postgres_server() as address:
        yield address


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    small_project(root, train__total_timesteps=128, curriculum__enabled=False)
    return root


def elsewhere(what: str, root: Path, environment: Mapping[str, str]) -> str:
    """What a process of its own says that logs a model in `root` and takes it from the registry.

    In a process of its own because MLflow leaves connections to a database open until the end.
    """
    script = f"from tests.support.small_training import {what}; {what}({str(root)!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_training_on_a_server_with_postgresql_and_s3(database: str, s3: S3, root: Path) -> None:
    """The training itself knows neither the database nor the bucket's keys: all goes through the server."""
    with mlflow_server(database, s3, root.parent) as address:
        keyless = {"MLFLOW_TRACKING_URI": address}
        said = elsewhere("train_and_register", root, keyless)
    assert "status FINISHED, timesteps 128, at mlflow-artifacts:/" in said
    assert " val/value" in said
    assert any(name.endswith("agent/policy.safetensors") for name in s3.names())
    assert not (root / "mlruns").exists()


def test_a_run_on_postgresql_itself(database: str, root: Path) -> None:
    """Without a server: runs go to the database, files stay in the project's folder."""
    said = elsewhere("log_and_register", root, {"MLFLOW_TRACKING_URI": another(database)})
    assert f"status FINISHED, timesteps 128, at {root}/mlruns/" in said
    assert " val/value" in said


def another(database: str) -> str:
    """An empty database on the same server."""
    engine = create_engine(database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE another"))
    engine.dispose()
    return database.rpartition("/")[0] + "/another"


def test_a_postgresql_that_is_not_there_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://mlflow:secret@127.0.0.1:9/mlflow")
    started = time.monotonic()
    with pytest.raises(
        Unavailable, match=r"127\.0\.0\.1:9/mlflow cannot be used: .*correct MLFLOW_TRACKING_URI"
    ) as told:
        mlflow_store.connect(root, "tracewright")
    assert time.monotonic() - started < 90, "MLflow itself tries for 100 seconds"
    assert "secret" not in str(told.value)
