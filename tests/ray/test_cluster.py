"""Joining a cluster, and whole pieces of work on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.core.cluster import Cluster, _check_address, connect
from pipeline.core.errors import DataError, SettingsError, Stopped, TracewrightError, Unavailable
from tests.support import tracers
from tests.support.ray_nodes import cut_power
from tests.support.source import ROOT

pytestmark = pytest.mark.slow

TOLD = """
except TracewrightError as error:
    sys.exit(f"{error.exit_code} {error}")
"""

JOIN = f"""
import os, sys
from pipeline.core.cluster import connect
from pipeline.core.errors import TracewrightError
try:
    with connect() as cluster:
        print("joined", cluster.cpus, os.getpid())
{TOLD}"""


WORK = {
    "orders": """
        for _ in cluster.map_unordered(tracers.slow_square, range(100_000)):
            print("at work", flush=True)
""",
    "pool": """
        with RayPool(0, 20, 2_000_000_000) as pool:
            while True:
                pool.evaluate([Job(Logo.of("a", rgba_of(1), "simple"), DEFAULT_PARAMS)])
                print("at work", flush=True)
""",
}

HEADLESS = """
import sys
import pipeline.core.cluster
from pipeline.core.errors import TracewrightError
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo
from pipeline.tracing.ray_pool import RayPool
from tests.support.fakes import rgba_of
from tests.support import tracers
pipeline.core.cluster.HEAD_SECONDS = 4.0
try:
    with pipeline.core.cluster.connect() as cluster:
"""


def join(home: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """From a process of its own, whose home has no token."""
    environment = os.environ | {"HOME": str(home)} | changes
    return subprocess.run(
        [sys.executable, "-c", JOIN],
        cwd=ROOT,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_order_is_answered_once_by_several_processes(running: Cluster) -> None:
    taken: list[int] = []

    def orders() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    answers = {}
    for order, (square, pid) in running.map_unordered(tracers.slow_square, orders(), at_once=4):
        assert order not in answers
        answers[order] = square, pid
        assert len(taken) <= len(answers) + 4
    assert {order: square for order, (square, _) in answers.items()} == {n: n**2 for n in range(30)}
    assert len({pid for _, pid in answers.values()}) >= 2


def test_what_a_lost_node_had_is_done_elsewhere(running: Cluster, another_node: Any, cluster: Any) -> None:
    until = time.monotonic() + 120
    while running.cpus < 3:
        assert time.monotonic() < until
        time.sleep(0.1)
    answers = []
    for order, (square, _) in running.map_unordered(tracers.slow_square, range(24)):
        answers.append((order, square))
        if len(answers) == 5:
            cut_power(cluster, another_node)
    assert sorted(answers) == [(n, n**2) for n in range(24)]


def test_what_the_work_raises_is_raised_here(running: Cluster) -> None:
    with pytest.raises(DataError, match="3 cannot be used; give another"):
        list(running.map_unordered(tracers.refuses, [3]))


def test_work_that_ends_its_process_again_and_again_is_an_error(running: Cluster) -> None:
    with pytest.raises(Unavailable, match="a piece of work was lost 4 times with its process"):
        list(running.map_unordered(tracers.ends, [1]))


def test_a_stop_ends_the_work(running: Cluster) -> None:
    asked = []

    def check_stop() -> None:
        asked.append(1)
        if len(asked) == 8:
            raise Stopped("stopped on request (SIGTERM)")

    with pytest.raises(Stopped):
        list(running.map_unordered(tracers.endless, range(10), check_stop=check_stop))
    until = time.monotonic() + 120
    while (left := [p for p in psutil.process_iter(["cmdline"]) if is_at_work(p)]) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left


def is_at_work(process: psutil.Process) -> bool:
    command: list[str] = process.info["cmdline"] or [""]
    return command[0] == "ray::endless"


def test_a_wrong_token_and_none_are_refused(cluster: Any, tmp_path: Path) -> None:
    none = join(tmp_path, RAY_AUTH_TOKEN=None)
    assert none.returncode == 1
    assert "69 the Ray cluster at" in none.stderr
    assert "asks for a token, and there is none here; set RAY_AUTH_TOKEN" in none.stderr
    wrong = join(tmp_path, RAY_AUTH_TOKEN="0" * 64)
    assert "refuses this process's token; set RAY_AUTH_TOKEN" in wrong.stderr


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        ("127.0.0.1:1", 69, r"no Ray cluster answers at 127\.0\.0\.1:1"),
        ("ray://host:10001", 64, "RAY_ADDRESS is 'ray://host:10001': write host:port"),
        ("nonsense", 64, "RAY_ADDRESS is 'nonsense'"),
    ],
)
def test_an_address_that_is_none_is_told_before_ray_is_asked(address: str, code: int, said: str) -> None:
    with pytest.raises(TracewrightError, match=said) as told:
        _check_address(address)
    assert told.value.exit_code == code


@pytest.mark.parametrize("work", ["orders", pytest.param("pool", marks=pytest.mark.nightly)])
def test_the_end_of_the_head_is_told(cluster: Any, work: str) -> None:
    """Ray alone would end the process after a minute, without a word of ours and in the middle of whatever it did."""
    from ray.cluster_utils import Cluster

    another: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    address = str(another.address)
    try:
        with subprocess.Popen(
            [sys.executable, "-c", HEADLESS + WORK[work] + TOLD],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            [head] = another.head_node.all_processes["gcs_server"]
            head.process.kill()
            _, said = process.communicate(timeout=100)
    finally:
        another.shutdown()
    assert f"69 the head of the Ray cluster, {address}, has not answered for 4 s" in said
    assert "start it again, or unset RAY_ADDRESS, and give the same command" in said
    assert process.returncode == 1


def test_a_cluster_without_authentication_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(SettingsError, match="anybody who reaches such a cluster can run code on it"), connect():
        """Not reached."""


def test_without_ray_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None\n" + JOIN
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stderr.startswith("69 Ray is not installed")
    assert "pip install 'tracewright[scale]'" in told.stderr


def test_one_that_is_started_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ray's sessions end with the number of the process that they belong to; others may be running here."""
    alone = join(tmp_path, RAY_ADDRESS="local", RAY_AUTH_TOKEN=None)
    assert alone.stdout.startswith(f"joined {len(os.sched_getaffinity(0))} "), alone.stderr
    session = f"_{alone.stdout.split()[-1]}"
    assert not list(Path("/tmp").glob(f"tracewright-ray-*/session_*{session}"))
    assert not (tmp_path / ".ray").exists()
    commands = [str(process.info["cmdline"]) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if "tracewright-ray-" in command and f"{session}/" in command]
