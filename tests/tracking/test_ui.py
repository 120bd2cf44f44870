from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipeline.core.errors import Unavailable
from pipeline.tracking import mlflow_store, ui
from tests.support.fakes import ROOT


def test_the_pages_are_for_this_machine_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PORT", "0")
    line = ui.command(root)
    assert line[line.index("--host") + 1] == "127.0.0.1"
    assert line[line.index("--backend-store-uri") + 1] == mlflow_store.tracking_uri(root)
    assert mlflow_store.has_runs(root)


def test_a_port_that_is_taken_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("MLFLOW_PORT", str(taken.getsockname()[1]))
        with pytest.raises(Unavailable, match="name another: MLFLOW_PORT"):
            ui.command(root)


def test_a_server_has_pages_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:secret@tracking.example:5000")
    with pytest.raises(Unavailable, match=r"at http://tracking\.example:5000; open that address"):
        ui.command(root)


def test_the_address_leads_to_the_models(root: Path) -> None:
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    mlflow_store.connect(root, "another")
    experiment = mlflow_store.connect(root, "tracewright").experiment_id
    assert ui.address(root, "5000").startswith(f"http://127.0.0.1:5000/#/experiments/{experiment}/models?")
