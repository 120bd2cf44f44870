"""`mlflow models serve -m models:/NAME@champion`, as its users have it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.serving.alias_watcher import AliasWatcher
from pipeline.serving.limits import ServeSettings
from pipeline.serving.service import Model, PredictionService
from pipeline.tracking import mlflow_store
from tests.support.fakes import ROOT, tiny_agent
from tests.support.registered_model import NAME, promote, register
from tests.support.serving_requests import BAD, BAD_IMAGES, GOOD, busy_png, png, records, row, text
from tests.support.serving_server import Server

DEADLINE_SECONDS = 6


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, with_mlflow: Callable[[Path], None]) -> Iterator[Path]:
    """Versions 1, the champion, 2 and 3, of which the weights are damaged."""
    root = tmp_path_factory.mktemp("project")
    with_mlflow(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in mlflow_store.DEFAULTS.items():
            patch.setenv(name, value)
        agents = [root / f"agent-{steps}" for steps in (3, 4, 5)]
        for steps, folder in zip((3, 4, 5), agents, strict=True):
            tiny_agent(max_steps=steps).save(folder)
        *_, last = register(root, agents)
        damaged = root / "mlruns/artifacts/models" / last / "artifacts/artifacts/agent/policy.safetensors"
        damaged.write_bytes(b"not " + damaged.read_bytes())
        yield root


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    serving = Server(
        project, f"models:/{NAME}@champion", lanes=2, deadline_seconds=DEADLINE_SECONDS, follow_seconds=0.2
    )
    try:
        serving.wait()
        yield serving
    finally:
        serving.stop(signal.SIGKILL)


def predictions(answer: tuple[int, bytes]) -> list[dict[str, Any]]:
    assert answer[0] == 200, answer
    content = json.loads(answer[1])
    assert list(content) == ["predictions"]
    return list(content["predictions"])


def refused(answer: tuple[int, bytes], status: int, sentence: str) -> None:
    content = json.loads(answer[1])
    assert (answer[0], set(content)) == (status, {"error_code", "message"}), answer
    assert sentence in content["message"]
    assert "Traceback" not in content["message"]


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_an_image_is_answered_with_an_svg_and_its_scores(server: Server, body: bytes) -> None:
    [answer] = predictions(server.invoke(body))
    assert answer["svg"].startswith(("<?xml", "<svg"))
    assert answer["bytes"] == len(answer["svg"].encode()) <= answer["default_bytes"]
    assert json.loads(answer["params"])["mode"] == "spline"
    assert answer["model"] == f"{NAME}/1"


def test_the_example_that_mlflow_keeps_with_a_model_is_answered(server: Server, project: Path) -> None:
    [example, *_] = (project / "mlruns").glob("**/serving_input_example.json")
    assert predictions(server.invoke(example.read_bytes()))


@pytest.mark.parametrize(("body", "status", "sentence"), (BAD | BAD_IMAGES).values(), ids=BAD | BAD_IMAGES)
def test_what_is_bad_is_refused_with_a_sentence(server: Server, body: bytes, status: int, sentence: str) -> None:
    refused(server.invoke(body), status, sentence)


@pytest.mark.parametrize("kind", [None, "text/plain", "text/csv", "application/vnd.apache.parquet"])
def test_only_json_is_read(server: Server, kind: str | None) -> None:
    refused(server.invoke(records(row()), kind), 415, f"the Content-Type is {kind or 'missing'}; it must be")


def test_only_utf_8_is_read(server: Server) -> None:
    assert predictions(server.invoke(records(row()), "application/json; charset=UTF-8"))
    refused(server.invoke(records(row()), "application/json; charset=latin-1"), 415, "UTF-8")


def test_a_huge_body_is_never_held(server: Server) -> None:
    before = sum(p.memory_info().rss for p in server.family)
    refused(server.invoke(b" " * 300_000_000), 413, "more than the 20000000 bytes allowed")
    assert sum(p.memory_info().rss for p in server.family) - before < 60_000_000


def test_a_body_that_does_not_come_is_not_waited_for(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
        slow.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        assert predictions(server.invoke(records(row())))
        said = b""
        while part := slow.recv(1000):  # to the end: the connection is closed, since half a body is of no use
            said += part
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not come within 6 seconds" in said


def test_a_deadline_is_kept_and_the_next_request_answered(server: Server) -> None:
    long = records(*[row(image=text(busy_png(512)), traces=64)] * 16)
    began = time.monotonic()
    refused(server.invoke(long), 503, "not done within 6 seconds")
    assert time.monotonic() - began >= DEADLINE_SECONDS
    assert predictions(server.invoke(records(row(traces=1))))


def test_a_swap_drops_no_request(server: Server, project: Path) -> None:
    """Two clients that never pause, while the alias moves there and back again."""

    def client(number: int) -> list[tuple[int, str]]:
        answers = []
        for seed in range(100):
            status, body = server.invoke(records(row(image=text(png(1000 * number + seed)), traces=1)))
            answers.append((status, json.loads(body)["predictions"][0]["model"] if status == 200 else body.decode()))
        return answers

    with ThreadPoolExecutor(2) as clients:
        running = [clients.submit(client, number) for number in (1, 2)]
        for version in ("2", "1", "2"):
            promote(project, version)
            time.sleep(1.5)
        answers = [answer for future in running for answer in future.result()]
    promote(project, "1")
    assert Counter(status for status, _ in answers) == {200: 200}, answers
    assert {model for _, model in answers} == {f"{NAME}/1", f"{NAME}/2"}


def test_a_version_that_cannot_be_used_is_not_taken(server: Server, project: Path) -> None:
    _wait_for(server, "1")
    promote(project, "3")
    _wait_until(lambda: "version 1 of tracewright stays: model m-" in server.log.read_text())
    assert predictions(server.invoke(records(row())))[0]["model"] == f"{NAME}/1"
    time.sleep(1)
    said = [line for line in server.log.read_text().splitlines() if "stays: " in line]
    assert all(line != following for line, following in pairwise(said)), "it is said once, not at every look"
    promote(project, "2")
    _wait_for(server, "2")
    promote(project, "1")
    _wait_for(server, "1")


def _wait_for(server: Server, version: str) -> None:
    _wait_until(lambda: predictions(server.invoke(records(row(traces=1))))[0]["model"] == f"{NAME}/{version}")


def _wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_tracing_processes_that_are_killed_cost_no_request(server: Server) -> None:
    answers: list[int] = []

    def client() -> None:
        for seed in range(12):
            answers.append(server.invoke(records(row(image=text(png(seed)))))[0])

    with ThreadPoolExecutor(1) as running:
        done = running.submit(client)
        for answered in (1, 4, 7):
            while len(answers) < answered and not done.done():
                time.sleep(0.005)
            time.sleep(0.02)  # the next request is being worked on
            for tracer in server.tracers:
                tracer.send_signal(signal.SIGKILL)
        done.result()
    assert answers == [200] * 12


def test_sigterm_ends_all_of_it(server: Server) -> None:
    assert predictions(server.invoke(records(row())))
    assert len(server.tracers) >= 1
    assert server.stop() == []


def test_a_version_named_by_its_number_stays(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = PredictionService(Model(tiny_agent(), f"{NAME}/2"), ServeSettings(follow_seconds=0.01))
    AliasWatcher(service, project, NAME, "2", "champion").start()
    _wait_until(lambda: f"version 2 of {NAME} stays: it is not the champion" in caplog.text)
    assert service.model.name == f"{NAME}/2"
    service.close()


def test_the_command_above_tells_whether_the_alias_was_asked_for() -> None:
    """MLflow's server is a child of `mlflow models serve` and may be a grandchild."""
    asked = "from pipeline.serving.alias_watcher import named_in_a_command as n"
    asked += "; print(n('models:/x@' + 'y'), n('models:/x@' + 'z'))"
    above = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    command = [sys.executable, "-c", above, asked, "--model-uri=models:/x@y"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "True False\n"


def test_nothing_is_left_of_any_server(project: Path) -> None:
    mine = [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.info["cwd"] == str(project)]
    assert mine == []
