from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dashboard import queries, registry
from tests.support import dashboard_project

TAGS = {"decision": "promoted", "reason": "promoted: better", "gain.mean": "0.03", "gain.low": "0.01",
        "gain.high": "0.05", "wins": "30", "losses": "5", "images": "40", "test_digest": "ab" * 32}  # fmt: skip


class Server(BaseHTTPRequestHandler):
    """As much of MLflow's REST API as is asked for."""

    hangs = False
    status = 200
    over: threading.Event

    def do_GET(self) -> None:
        if self.hangs:
            self.over.wait()
            return  # nobody listens any more; writing would print a traceback into another test's output
        body = json.dumps(self._answer()).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> dict[str, Any]:
        if "registered-models/get" in self.path:
            return {"registered_model": {"name": "tracewright", "aliases": [{"alias": "champion", "version": "2"}]}}
        tags = [{"key": key, "value": value} for key, value in TAGS.items()]
        return {
            "model_versions": [
                {"version": "1", "creation_timestamp": 1736241164000, "run_id": "a", "tags": []},
                {"version": "2", "creation_timestamp": 1736244764000, "run_id": "b", "tags": tags},
            ]
        }

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    class Own(Server):
        over = threading.Event()

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{httpd.server_port}")
    yield Own
    Own.over.set()
    httpd.shutdown()
    httpd.server_close()


def test_a_server_tells_versions_aliases_and_verdicts(finished: Path, server: type[Server]) -> None:
    known = registry.read(finished, queries.runs(finished))
    assert known.trouble is None
    assert known.source == "MLflow's server"
    assert [v.version for v in known.versions] == ["2", "1"]
    assert known.versions[0].aliases == ("champion",)
    assert known.versions[0].gain == (0.03, 0.01, 0.05)
    assert known.versions[0].wins == 30
    assert known.versions[1].gain is None


@pytest.mark.parametrize(("status", "hangs"), [(500, False), (404, False), (200, True)])
def test_a_server_that_fails_or_hangs_is_waited_for_seconds_only(
    finished: Path, server: type[Server], status: int, hangs: bool
) -> None:
    server.status, server.hangs = status, hangs
    started = time.monotonic()
    known = registry.read(finished, queries.runs(finished))
    assert time.monotonic() - started < 20
    assert known.trouble is not None
    assert "does not answer" in known.trouble
    assert [v.version for v in known.versions] == ["3"]
    assert known.versions[0].aliases == ("champion",)


def test_an_answer_of_another_form_is_trouble(finished: Path, server: type[Server]) -> None:
    server._answer = lambda self: {"registered_model": []}  # type: ignore[method-assign]
    assert registry.read(finished, queries.runs(finished)).trouble is not None


def test_names_and_passwords_of_an_address_are_sent_and_not_shown(
    finished: Path, server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str | None] = []
    plain = server.do_GET

    def do_get(self: Server) -> None:
        heard.append(self.headers["Authorization"])
        plain(self)

    monkeypatch.setattr(server, "do_GET", do_get)
    import os

    port = os.environ["MLFLOW_TRACKING_URI"].rpartition(":")[2]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
    known = registry.read(finished, queries.runs(finished))
    assert known.trouble is None
    assert heard == ["Basic bWU6c2VjcmV0", "Basic bWU6c2VjcmV0"]
    assert "secret" not in str(known.link)


def test_mlflows_own_database_is_read(project: Path, with_mlflow: Callable[[Path], None]) -> None:
    """One that MLflow itself made and wrote to; its schema is its own affair."""
    from pipeline.tracking import mlflow_store

    with_mlflow(project)
    client = mlflow_store.client(project)
    client.create_registered_model("tracewright")
    for _ in range(2):
        client.create_model_version("tracewright", source="file:///nowhere", run_id=None, tags=TAGS)
    client.set_registered_model_alias("tracewright", "challenger", "2")
    known = registry.read(project, queries.runs(project))
    assert known.trouble is None
    assert [(v.version, v.aliases) for v in known.versions] == [("2", ("challenger",)), ("1", ())]
    assert known.versions[0].gain == (0.03, 0.01, 0.05)
    assert known.versions[0].created_seconds == pytest.approx(time.time(), abs=120)


def test_without_mlflow_and_reports_nothing_is_wrong(empty: Path) -> None:
    known = registry.read(empty, queries.runs(empty))
    assert known.versions == ()
    assert known.trouble is None


def test_a_damaged_database_is_said(project: Path) -> None:
    (project / "mlruns").mkdir()
    (project / "mlruns/mlflow.db").write_bytes(b"SQLite format 3\0" + bytes(500))
    known = registry.read(project, queries.runs(project))
    assert known.trouble is not None
    assert [v.version for v in known.versions] == ["3"]
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(project / "mlruns/mlflow.db").execute("SELECT 1 FROM model_versions")


def test_of_those_promoted_the_newest_is_champion(project: Path) -> None:
    dashboard_project.copied(project, "20250109-later", hours_later=5)
    known = registry.read(project, queries.runs(project))
    assert [(v.version, v.aliases) for v in known.versions] == [("3", ("champion",))]
