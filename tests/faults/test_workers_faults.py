"""Faults really injected into worker processes: each costs the evaluation it struck, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import Unavailable
from pipeline.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Logo, Scored, TracerParams
from pipeline.tracing.workers import TracerPool

GIGABYTES = 2_000_000_000
TIMEOUT = 1.5


def noise(side: int, seed: int = 0) -> Logo:
    rgba = np.random.default_rng(seed).integers(0, 256, (side, side, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    return Logo.of(f"noise-{side}", rgba, "complex")


SMALL = noise(32)
SLOW = noise(500)
"""Seconds of work for VTracer: there is time to strike."""

GOOD = Job(SMALL, DEFAULT_PARAMS)
PANIC = Job(SMALL, replace(DEFAULT_PARAMS, max_iterations=0))
LONG = Job(SLOW, TracerParams(mode="none", color_precision=8, layer_difference=1, filter_speckle=0))


@pytest.fixture(scope="module")
def pool() -> Iterator[TracerPool]:
    """One for the whole module: each test also shows that the pool survived those before it."""
    with TracerPool(2, TIMEOUT, GIGABYTES, check=lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def small_pool() -> Iterator[TracerPool]:
    """One worker with little more than its libraries need (0.4 GB of addresses)."""
    with TracerPool(1, 20, 600_000_000, check=lambda _: None) as running:
        yield running


def kinds(evaluations: list[Evaluation]) -> list[str]:
    return [e.kind if isinstance(e, Failed) else "scored" for e in evaluations]


def test_a_panic_costs_one_evaluation_and_no_worker(pool: TracerPool) -> None:
    pool.evaluate([GOOD, GOOD])
    before, panics = pool.pids, pool.failures["panic"]
    assert kinds(pool.evaluate([GOOD, PANIC, GOOD, PANIC, GOOD])) == ["scored", "panic", "scored", "panic", "scored"]
    assert pool.pids == before
    assert pool.failures["panic"] - panics == 2


def test_an_abort_of_the_process_costs_one_evaluation(small_pool: TracerPool) -> None:
    """VTracer asks for gigabytes here; Rust ends the process when it does not get them."""
    tiny = Logo.of("tiny", np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8), "simple")
    abort = Job(tiny, replace(DEFAULT_PARAMS, length_threshold=0.0, corner_threshold=180, max_iterations=26))
    calm = Job(tiny, DEFAULT_PARAMS)
    before = small_pool.pids
    results = small_pool.evaluate([calm] * 6 + [abort] + [calm] * 6)  # Some are in the worker's queue behind it.
    assert kinds(results) == ["scored"] * 6 + ["memory"] + ["scored"] * 6
    assert isinstance(results[6], Failed)
    assert "memory allocation" in results[6].detail
    assert small_pool.pids != before


def test_a_memory_limit_costs_one_evaluation(small_pool: TracerPool) -> None:
    """Three times enlarged, this image does not fit in what is left below the limit."""
    plain = np.full((1000, 1000, 4), 255, np.uint8)
    plain[200:700, 300:900, :3] = 20
    large = Job(Logo.of("large", plain, "simple"), TracerParams(prescale=3.0))
    assert kinds(small_pool.evaluate([GOOD, large, GOOD])) == ["scored", "memory", "scored"]


def strike_while_busy(pool: TracerPool, strike: Callable[[int], None]) -> list[Evaluation]:
    """Hand in jobs of which the first occupies one worker, and strike that worker."""
    ticket = pool.submit([LONG, GOOD, GOOD, GOOD])
    while not (busy := [worker for worker in pool._members if any(task.job is LONG for task in worker.tasks)]):
        pool._exchange(0.05)
    for _ in range(5):
        pool._exchange(0.05)
    strike(busy[0].process.pid)
    return pool.collect(ticket)


def test_a_killed_worker_costs_the_job_it_was_at(pool: TracerPool) -> None:
    pool.evaluate([PANIC] * 8)  # What these said is not what the kill is to be blamed on.
    results = strike_while_busy(pool, lambda pid: os.kill(pid, signal.SIGKILL))
    assert kinds(results) == ["died", "scored", "scored", "scored"]
    assert isinstance(results[0], Failed)
    assert results[0].detail == "the worker ended with status -9: no message"
    assert len(set(pool.pids)) == 2


def test_a_stopped_worker_is_given_up_at_the_deadline(pool: TracerPool) -> None:
    """SIGSTOP is the hang that nothing inside the process can end."""
    start = time.monotonic()
    results = strike_while_busy(pool, lambda pid: os.kill(pid, signal.SIGSTOP))
    assert kinds(results) == ["timeout", "scored", "scored", "scored"]
    assert TIMEOUT - 0.2 < time.monotonic() - start < TIMEOUT + 3
    assert isinstance(results[0], Failed)
    assert results[0].seconds == pytest.approx(TIMEOUT, abs=1)


def test_idle_workers_that_were_killed_are_replaced_at_no_cost(pool: TracerPool) -> None:
    before, failures = set(pool.pids), pool.failures.total()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    assert kinds(pool.evaluate([GOOD] * 6)) == ["scored"] * 6
    assert not before & set(pool.pids)
    assert pool.failures.total() == failures


LARGE = Job(Logo.of("large", np.full((300, 300, 4), 255, np.uint8), "simple"), DEFAULT_PARAMS)
LONG_ANSWER = Job(noise(100), TracerParams(mode="none", color_precision=8, filter_speckle=0), keep_svg=True)


@pytest.mark.parametrize(
    "jobs",
    [[replace(GOOD, keep_svg=True)] * 12, [LARGE], [LONG_ANSWER] * 2],
    ids=["answers wait in the pipe", "an image larger than the pipe", "an answer larger than one read"],
)
def test_a_slow_caller_costs_nothing(pool: TracerPool, jobs: list[Job]) -> None:
    """The deadline is the job's: neither what is not sent yet nor what is not read yet counts."""
    ticket = pool.submit(jobs)
    time.sleep(TIMEOUT + 0.3)
    results = pool.collect(ticket)
    assert kinds(results) == ["scored"] * len(jobs)
    if jobs[0] is LONG_ANSWER:
        assert all(isinstance(e, Scored) and e.svg and len(e.svg) > 300_000 for e in results)


def test_faults_change_no_other_result(pool: TracerPool) -> None:
    jobs = [replace(GOOD, params=TracerParams(palette=k), keep_svg=True) for k in (0, 2, 4, 8)]
    calm = [replace(e, seconds=0) for e in pool.evaluate(jobs)]
    mixed = pool.evaluate([jobs[0], PANIC, jobs[1], jobs[2], PANIC, jobs[3]])
    assert [replace(e, seconds=0) for e in mixed if isinstance(e, Scored)] == calm


def test_workers_that_cannot_start_are_an_error_with_their_words() -> None:
    with (
        TracerPool(1, TIMEOUT, GIGABYTES, background="chequered") as pool,
        pytest.raises(Unavailable, match="do not start"),
    ):
        pool.evaluate([GOOD])


PARENT = """
import sys, time
from tests_faults import LONG, GOOD, GIGABYTES
from pipeline.tracing.workers import TracerPool
pool = TracerPool(2, 20, GIGABYTES)
pool.evaluate([GOOD, GOOD])
pool.submit([LONG, LONG])
print(*pool.pids, flush=True)
time.sleep(60)
"""


def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "tests_faults.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
