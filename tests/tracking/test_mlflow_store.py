from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pipeline.core.errors import Unavailable
from pipeline.tracking import mlflow_store


def test_the_embedded_store_is_the_default(tmp_path: Path) -> None:
    assert mlflow_store.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"


def test_the_users_address_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert mlflow_store.tracking_uri(tmp_path) == "http://127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/runs.db")
    assert mlflow_store.tracking_uri(tmp_path) == "sqlite:////elsewhere/runs.db"


@pytest.mark.parametrize("copy", ["standalone/tmpa1", "tmpb2"])
def test_a_temporary_copy_of_dvc_keeps_its_runs_in_the_main_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: str
) -> None:
    inside = tmp_path / ".dvc/tmp/exps" / copy
    assert mlflow_store.home(inside) == tmp_path
    assert mlflow_store.tracking_uri(inside) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///kept/runs.db")
    assert mlflow_store.tracking_uri(inside) == f"sqlite:///{tmp_path}/kept/runs.db"


def test_connect_makes_the_experiment_once_with_its_artifacts_beside(root: Path) -> None:
    first = mlflow_store.connect(root, "once")
    assert mlflow_store.connect(root, "once").experiment_id == first.experiment_id
    experiment = first.client.get_experiment(first.experiment_id)
    assert experiment.artifact_location == (root / "mlruns/artifacts").as_uri()
    assert {p.name for p in (root / "mlruns").iterdir()} <= {"mlflow.db", "mlflow.lock", "artifacts"}


def test_an_experiment_says_what_it_is_and_keeps_what_a_person_wrote(root: Path) -> None:
    made = mlflow_store.connect(root, "described")
    tags = made.client.get_experiment(made.experiment_id).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "traces" in tags["mlflow.note.content"]
    older = made.client.create_experiment("older", tags={"mlflow.note.content": "by a person"})
    mlflow_store.connect(root, "older")
    tags = made.client.get_experiment(older).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert tags["mlflow.note.content"] == "by a person"


def test_a_deleted_experiment_is_explained(root: Path) -> None:
    gone = mlflow_store.connect(root, "gone")
    gone.client.delete_experiment(gone.experiment_id)
    with pytest.raises(Unavailable, match=r"'gone' was deleted.*restore"):
        mlflow_store.connect(root, "gone")


@pytest.mark.parametrize("name", ["a#1", "a?b", "a%20b", "a%3Fb", "a b", "a:b", "grüße"])
def test_a_project_may_have_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    experiment = mlflow_store.connect(folder, "logos")
    found = experiment.client.get_experiment(experiment.experiment_id)
    assert found.artifact_location == (folder / "mlruns/artifacts").as_uri()
    assert (folder / "mlruns/mlflow.db").is_file()
    assert [path for path in tmp_path.rglob("*.db") if not path.is_relative_to(folder)] == []


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(Unavailable, match="rename the project's folder"):
        mlflow_store.connect(folder, "logos")


def test_nothing_is_made_by_looking(tmp_path: Path, root: Path) -> None:
    assert not mlflow_store.has_runs(tmp_path)
    assert not any(tmp_path.iterdir())
    mlflow_store.client(root)
    assert mlflow_store.has_runs(root)


def test_a_dead_server_is_refused_quickly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 cannot be used.*MLFLOW_TRACKING_URI") as caught:
        mlflow_store.connect(root, "dead")
    assert time.monotonic() - started < 200, "MLflow itself tries for 246 seconds"
    assert "secret" not in str(caught.value)


class Broken(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def broken_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_failing_server_is_refused_quickly(root: Path, monkeypatch: pytest.MonkeyPatch, broken_server: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", broken_server)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="answers 500"):
        mlflow_store.connect(root, "broken")
    assert time.monotonic() - started < 200, "MLflow itself tries for 246 seconds"


def test_a_file_store_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path))
    with pytest.raises(Unavailable, match="cannot be used"):
        mlflow_store.connect(root, "files")


def test_what_the_user_set_is_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    mlflow_store.client(root)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"


def test_mlflow_says_nothing_in_a_terminal_of_ours(tmp_path: Path) -> None:
    """As the sender of a run does: the first of MLflow that is imported are its errors, before any client."""
    program = """
import sys
from pathlib import Path
from pipeline.tracking import mlflow_store as store
with store.answering("sqlite://"):
    store.client(Path(sys.argv[1]))
"""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, env=clean, timeout=120, check=True
    )
    assert (tmp_path / "mlruns/mlflow.db").is_file()
    assert (done.stdout, done.stderr) == ("", "")
