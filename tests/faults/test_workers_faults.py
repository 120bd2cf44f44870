"""Faults really injected into worker processes: each costs the evaluation it struck, and nothing else."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.core.errors import Unavailable
from pipeline.core.records import DEFAULT_PARAMS, PARAM_NAMES, Evaluation, Failed, Job, Logo, Scored, TracerParams
from pipeline.settings.limits import ALLOWED, CONTINUOUS
from pipeline.tracing import tracer_pool, worker_process
from pipeline.tracing.space import check_params
from pipeline.tracing.tracer_pool import TracerPool, _back_off_seconds
from tests.support.jobs import GIGABYTES, GOOD, LONG, PANIC, kinds, noise
from tests.support.source import ROOT

TIMEOUT = 60.0
"""Nobody waits so long: where a deadline is to be missed, the test turns the pool's clock."""


@pytest.fixture(scope="module")
def turn() -> Iterator[Callable[[float], None]]:
    """Turns the pool's clock on by some seconds; it is not turned back before the pool is closed."""
    turned = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + sum(turned))
    with pytest.MonkeyPatch.context() as patch:
        for module in (tracer_pool, worker_process):
            patch.setattr(module, "time", clock)
        yield turned.append


@pytest.fixture(scope="module")
def pool(turn: Callable[[float], None]) -> Iterator[TracerPool]:
    """One for the whole module: each test also shows that the pool survived those before it."""
    with TracerPool(2, TIMEOUT, GIGABYTES, check=lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def small_pool() -> Iterator[TracerPool]:
    """One worker with little more than its libraries need (0.4 GB of addresses)."""
    with TracerPool(1, 20, 600_000_000, check=lambda _: None) as running:
        yield running


def gradient() -> Logo:
    """256 levels in each channel: as much as color_precision 8 can tell apart."""
    ramp = np.arange(64, dtype=np.uint8)
    rgba = np.stack([*np.meshgrid(ramp * 4, ramp * 4), np.full((64, 64), 60), np.full((64, 64), 255)], axis=-1)
    return Logo.of("gradient", rgba.astype(np.uint8), "gradient")


GRADIENT = gradient()


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


def settle(pool: TracerPool) -> None:
    """Until those that the last test cost have been replaced."""
    while len(pool.pids) < pool.workers or not all(worker.ready for worker in pool._members):
        pool._exchange(0.05)


def strike_while_busy(pool: TracerPool, strike: Callable[[int], None]) -> list[Evaluation]:
    """Hand in jobs of which the first occupies one worker, and strike that worker."""
    ticket = pool.submit([LONG, GOOD, GOOD, GOOD])
    while not (busy := [worker for worker in pool._members if any(task.job is LONG for task in worker.tasks)]):
        pool._exchange(0.05)
    for _ in range(5):
        pool._exchange(0.05)
    strike(busy[0].process.pid)
    return ticket.collect()


def test_a_killed_worker_costs_the_job_it_was_at(pool: TracerPool) -> None:
    pool.evaluate([PANIC] * 8)  # What these said is not what the kill is to be blamed on.
    results = strike_while_busy(pool, lambda pid: os.kill(pid, signal.SIGKILL))
    assert kinds(results) == ["died", "scored", "scored", "scored"]
    assert isinstance(results[0], Failed)
    assert results[0].detail == "the worker was ended by SIGKILL: no message"
    assert len(set(pool.pids)) == 2


def test_a_stopped_worker_is_given_up_at_the_deadline(pool: TracerPool, turn: Callable[[float], None]) -> None:
    """SIGSTOP is the hang that nothing inside the process can end."""

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        turn(TIMEOUT / 2)
        pool._give_up_the_late()
        assert pid in pool.pids, "half the time is left"
        turn(TIMEOUT / 2)

    results = strike_while_busy(pool, stop)
    assert kinds(results) == ["timeout", "scored", "scored", "scored"]
    assert isinstance(results[0], Failed)
    assert results[0].seconds >= TIMEOUT


def test_all_workers_killed_at_once_cost_the_jobs_they_were_at(pool: TracerPool) -> None:
    settle(pool)
    ticket = pool.submit([LONG, replace(LONG, logo=noise(500, seed=1)), *[GOOD] * 6])
    pool._exchange(0.05)
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    assert kinds(ticket.collect()) == ["died", "died", *["scored"] * 6]
    assert pool.accidents["died"] >= 2


def test_a_worker_that_loops_is_given_up_at_the_deadline() -> None:
    """Nobody strikes: VTracer itself is at it for longer than it may be, by the real clock."""
    with TracerPool(1, 0.5, GIGABYTES) as hasty:
        assert kinds(hasty.evaluate([replace(LONG, logo=noise(1500))])) == ["timeout"]


def test_a_pool_that_keeps_dying_takes_its_time_but_not_much() -> None:
    delays = [_back_off_seconds(deaths, workers=2) for deaths in range(1, 20)]
    assert delays[:3] == [0.0, 0.0, 0.1]
    assert delays == sorted(delays)
    assert delays[-1] == 1.0


KNOWN_TRAPS = {
    "max_iterations": TracerParams(max_iterations=0),
    "color_precision": TracerParams(color_precision=0),
    "a near-empty SVG": TracerParams(color_precision=9),
    "layer_difference": TracerParams(layer_difference=0, color_precision=8),
    "negative": TracerParams(color_precision=-1),
    "a fraction": TracerParams(filter_speckle=1.5),  # type: ignore[arg-type]
}


def test_known_traps_are_refused() -> None:
    """The near-empty SVG would come without a word, and be scored as any other."""
    with TracerPool(1, TIMEOUT, GIGABYTES) as checked:
        results = checked.evaluate([replace(GOOD, params=params) for params in KNOWN_TRAPS.values()])
    for name, result in zip(KNOWN_TRAPS, results, strict=True):
        assert isinstance(result, Failed), name
        assert result.kind == "invalid"
        assert "allowed is" in result.detail


@pytest.mark.parametrize("name", ["max_iterations", "color_precision", "negative", "a fraction"])
def test_what_slipped_through_would_be_a_typed_failure_and_cost_no_worker(pool: TracerPool, name: str) -> None:
    pool.evaluate([GOOD, GOOD])
    before = pool.pids
    [result] = pool.evaluate([replace(GOOD, params=KNOWN_TRAPS[name])])
    assert isinstance(result, Failed)
    assert result.kind in ("panic", "invalid")
    assert pool.pids == before


def random_params(rng: np.random.Generator) -> TracerParams:
    """Half of them in range; of the others, each value is out of it every fifth time."""
    stray = rng.choice([0.0, 0.2])
    values: dict[str, object] = {}
    for name, (low, *_, high) in ((n, ALLOWED[n]) for n in PARAM_NAMES):
        if isinstance(low, str):
            values[name] = rng.choice([*ALLOWED[name], *(["", "pixel", "Spline"] if stray else [])])
        else:
            wide = rng.random() < stray
            span = float(high) - float(low)
            value = rng.uniform(float(low) - span * wide, float(high) + span * wide)
            values[name] = round(value, 2) if name in CONTINUOUS else round(value)
    return TracerParams.from_json({k: str(v) if isinstance(v, np.str_) else v for k, v in values.items()})


def test_many_random_settings_in_and_out_of_range() -> None:
    """Ten thousand in `make faults`; TRACEWRIGHT_RANDOM_SETTINGS says how many."""
    count = int(os.environ.get("TRACEWRIGHT_RANDOM_SETTINGS", "200"))
    rng = np.random.default_rng(11)
    logos = [noise(16, seed) for seed in range(4)] + [GRADIENT]
    jobs = [Job(logos[i % len(logos)], random_params(rng)) for i in range(count)]
    with TracerPool(2, TIMEOUT, GIGABYTES) as checked:
        before = checked.pids
        results = checked.evaluate(jobs)
        assert checked.pids == before
    assert len(results) == count
    for job, result in zip(jobs, results, strict=True):
        in_range = check_params(job.params) is None
        assert (result.digest, result.params) == (job.logo.digest, job.params)
        assert in_range != (isinstance(result, Failed) and result.kind == "invalid")
        assert not isinstance(result, Failed) or result.kind in ("invalid", "empty"), result
    assert count / 6 < sum(isinstance(r, Scored) for r in results) < count * 5 / 6


def test_idle_workers_that_were_killed_are_replaced_at_no_cost(pool: TracerPool) -> None:
    settle(pool)
    before, failures = set(pool.pids), pool.failures.total()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    while any(alive(pid) for pid in before):
        time.sleep(0.01)
    assert kinds(pool.evaluate([GOOD] * 6)) == ["scored"] * 6
    assert not before & set(pool.pids)
    assert pool.failures.total() == failures


LARGE = Job(Logo.of("large", np.full((300, 300, 4), 255, np.uint8), "simple"), DEFAULT_PARAMS)
LONG_ANSWER = Job(noise(56), TracerParams(mode="none", color_precision=8, filter_speckle=0), keep_svg=True)


@pytest.mark.parametrize(
    "jobs",
    [[replace(GOOD, keep_svg=True)] * 12, [LARGE], [LONG_ANSWER] * 2],
    ids=["answers wait in the pipe", "an image larger than the pipe", "an answer larger than one read"],
)
def test_a_slow_caller_costs_nothing(pool: TracerPool, turn: Callable[[float], None], jobs: list[Job]) -> None:
    """The deadline is the job's: neither what is not sent yet nor what is not read yet counts."""
    settle(pool)
    ticket = pool.submit(jobs)
    for worker in pool._members:
        if worker.tasks and not worker.outgoing:
            assert select.select([worker.output], [], [], 120)[0], "it does not answer until somebody collects"
    turn(TIMEOUT + 1)
    results = ticket.collect()
    assert kinds(results) == ["scored"] * len(jobs)
    if jobs[0] is LONG_ANSWER:
        assert all(isinstance(e, Scored) and e.svg and len(e.svg) > 2 * 65_536 for e in results)


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
import time
from pipeline.tracing.tracer_pool import TracerPool
from tests.support.jobs import GIGABYTES, GOOD, LONG
pool = TracerPool(2, 20, GIGABYTES)
pool.evaluate([GOOD, GOOD])
pool.submit([LONG, LONG])
print(*pool.pids, flush=True)
time.sleep(60)
"""


def test_no_worker_outlives_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 120
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
