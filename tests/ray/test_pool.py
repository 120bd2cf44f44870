"""The pool on a real cluster gives what the local pool gives, also while nodes are lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import psutil
import pytest

from pipeline.core.cluster import Cluster
from pipeline.core.errors import Mismatch, Stopped, Unavailable
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Logo, TracerParams
from pipeline.evaluation.comparison import methods, run_method
from pipeline.search.loop import run_agent
from pipeline.search.tasks import make_tasks
from pipeline.tracing.backends import open_pool
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.ray_pool import RayPool, Tracer
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.training.validation import validate
from tests.support import tracers
from tests.support.fakes import rgba_of, settings_with, tiny_agent
from tests.support.jobs import GIGABYTES, GOOD, LONG, PANIC, kinds, noise
from tests.support.ray_nodes import cut_power

pytestmark = pytest.mark.slow

LOGOS = [Logo.of(f"logo-{seed}", rgba_of(seed, 48), "simple") for seed in range(6)]


def jobs(count: int) -> list[Job]:
    """No two alike."""
    params = [TracerParams(filter_speckle=s % 12, layer_difference=1 + s // 12) for s in range(-(-count // len(LOGOS)))]
    return [Job(logo, setting, keep_svg=True) for setting in params for logo in LOGOS][:count]


def without_time(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return [replace(evaluation, seconds=0) for evaluation in evaluations]


def processes(mark: str) -> list[psutil.Process]:
    """Tracing processes that were started with this argument."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "pipeline.tracing.worker" in command and mark in command:
            found.append(process)
    return found


def none_left(mark: str) -> bool:
    until = time.monotonic() + 120
    while processes(mark) and time.monotonic() < until:
        time.sleep(0.1)
    return not processes(mark)


def pool_of(kind: type[Tracer]) -> type[RayPool]:
    """A pool whose actors are of this kind."""
    return type("PoolOfOthers", (RayPool,), {"tracer": kind})


@pytest.fixture(scope="module")
def local() -> Iterator[TracerPool]:
    with TracerPool(1, 20, GIGABYTES) as pool:
        yield pool


@pytest.fixture
def spread(running: Cluster) -> Iterator[RayPool]:
    with RayPool(0, 20, GIGABYTES) as pool:
        yield pool


def all_begin(pool: RayPool, count: int) -> None:
    until = time.monotonic() + 60
    while len(pool.hosts) < count:
        assert time.monotonic() < until, pool.hosts
        pool._exchange(0.1)


def test_it_gives_what_the_local_pool_gives_in_order(spread: RayPool, local: TracerPool) -> None:
    asked = jobs(100)
    assert without_time(spread.evaluate(asked)) == without_time(local.evaluate(asked))
    assert spread.versions == local.versions
    assert spread.evaluations == 100
    assert spread.evaluate([]) == []
    one, two = spread.submit(asked[:20]), spread.submit(asked[20:40])
    assert without_time(two.collect()) == without_time(local.evaluate(asked[20:40]))
    assert without_time(one.collect()) == without_time(local.evaluate(asked[:20]))
    pending = spread.submit_each(asked[:9])
    spread.wait(pending)
    assert without_time([ticket.collect()[0] for ticket in pending]) == without_time(local.evaluate(asked[:9]))


def test_agent_validation_and_rival_come_to_the_same_figures(spread: RayPool, local: TracerPool) -> None:
    settings, agent = settings_with(evaluate__traces=[1, 3]), tiny_agent()
    [tpe] = [method for method in methods(agent, settings.evaluate) if method.name == "tpe"]

    def figures(pool: Evaluator) -> list[Any]:
        tasks, failures = make_tasks(LOGOS, pool, agent.background)
        report = validate(
            agent,
            tasks,
            pool,
            traces=3,
            seed=1,
            stochastic_runs=1,
            target_skill=settings.validation.target_skill,
            bootstrap=Bootstrap(100, 0.95, 1),
        )
        rival = run_method(tpe, agent, tasks, pool, settings.evaluate)
        own = run_agent(agent, tasks, pool, traces=3, seed=4)
        searched = [[o.values, [b and replace(b, seconds=0) for b in o.bests]] for o in (*rival, *own)]
        return [failures, replace(report, seconds_per_image=0.0), searched]

    assert figures(spread) == figures(local)


def test_more_images_than_an_actor_keeps(running: Cluster, local: TracerPool) -> None:
    asked = jobs(30)
    with RayPool(1, 20, GIGABYTES, image_bytes=2 * len(LOGOS[0].packed)) as small:
        assert without_time(small.evaluate(asked)) == without_time(local.evaluate(asked))


def test_hostile_jobs_cost_themselves(running: Cluster) -> None:
    with RayPool(0, 1.5, GIGABYTES, check=lambda _: None) as pool:
        all_begin(pool, 2)
        endless = replace(LONG, logo=noise(1500))
        results = pool.evaluate([GOOD, PANIC, GOOD, endless, GOOD, PANIC, GOOD])
        assert kinds(results) == ["scored", "panic", "scored", "timeout", "scored", "panic", "scored"]
        assert dict(pool.failures) == {"panic": 2, "timeout": 1}
        assert pool.accidents == {"timeout": 1}
    with RayPool(0, 20, GIGABYTES) as checked:
        [refused] = checked.evaluate([PANIC])
        assert isinstance(refused, Failed)
        assert refused.kind == "invalid"


def test_a_tracing_process_that_is_killed_costs_the_job_it_was_at(running: Cluster) -> None:
    with RayPool(0, 20, GIGABYTES, "#010204", check=lambda _: None) as pool:
        all_begin(pool, 2)
        ticket = pool.submit([LONG, GOOD, GOOD, GOOD])
        for _ in range(5):
            pool._exchange(0.1)
        for process in processes("#010204"):
            process.kill()
        results = ticket.collect()
        assert kinds(results)[0] == "died"
        assert kinds(results)[1:].count("scored") >= 2


def test_a_node_that_is_killed_loses_nothing_and_doubles_nothing(
    another_node: Any, cluster: Any, local: TracerPool
) -> None:
    asked = jobs(200)
    with RayPool(3, 20, GIGABYTES) as pool:
        all_begin(pool, 3)
        pool.evaluate(asked[:30])
        tickets = pool.submit_each(asked)
        while sum(ticket.done for ticket in tickets) < 40:
            pool.wait([ticket for ticket in tickets if not ticket.done])
        cut_power(cluster, another_node)
        results = [ticket.collect()[0] for ticket in tickets]
        assert without_time(results) == without_time(local.evaluate(asked))
        assert pool.evaluations == len(asked) + 30
        assert all(ticket.missing == 0 for ticket in tickets)
        assert not pool.failures
        assert (pool.workers, len(pool.hosts)) == (3, 2)


def test_an_actor_that_is_lost_alone_is_replaced(spread: RayPool, local: TracerPool) -> None:
    asked = jobs(60)
    spread.evaluate(asked[:12])
    ticket = spread.submit(asked)
    spread._ray.kill(spread._members[0].actor)
    assert without_time(ticket.collect()) == without_time(local.evaluate(asked))
    all_begin(spread, 2)


def test_a_job_that_always_loses_its_actor_is_given_up(running: Cluster) -> None:
    """And takes no other with it, though they travelled together."""
    trap = Job(LOGOS[0], replace(DEFAULT_PARAMS, filter_speckle=tracers.TRAP_SPECKLE))
    with pool_of(tracers.Trapped)(1, 20, GIGABYTES) as pool:
        results = pool.evaluate([*jobs(20), trap, *jobs(20), trap])
        assert kinds(results) == [*["scored"] * 20, "died"] * 2
        assert isinstance(results[20], Failed)
        assert "its process on the Ray cluster was lost 3 times" in results[20].detail
        assert pool.evaluations == 42


def test_nodes_with_other_versions_are_refused(running: Cluster) -> None:
    with (
        pool_of(tracers.Different)(2, 20, GIGABYTES) as pool,
        pytest.raises(Mismatch, match=r"has tracer vtracer 0\.\d+, where others have tracer vtracer 0\.\d+"),
    ):
        all_begin(pool, 2)


def test_actors_that_do_not_start_are_an_error(running: Cluster) -> None:
    with (
        pool_of(tracers.Broken)(1, 20, GIGABYTES) as pool,
        pytest.raises(Unavailable, match="tracing does not start on the Ray cluster"),
    ):
        pool.evaluate(jobs(1))


def test_a_stop_in_the_middle_leaves_no_process_behind(running: Cluster) -> None:
    stop: list[int] = []

    def check_stop() -> None:
        if stop:
            raise Stopped("stopped on request (SIGTERM)")

    with open_pool("ray", 0, 20, GIGABYTES, "#010203", check_stop=check_stop) as pool:
        ticket = pool.submit(jobs(200))
        assert pool.versions
        assert processes("#010203")
        stop.append(signal.SIGTERM)
        with pytest.raises(Stopped):
            ticket.collect()
    assert none_left("#010203")


def test_closing_leaves_no_process_behind_and_then_it_refuses(running: Cluster) -> None:
    pool = RayPool(0, 20, GIGABYTES, "#010205")
    ticket = pool.submit([LONG, LONG])
    all_begin(pool, 2)
    assert len(processes("#010205")) == 2
    pool.close()
    pool.close()
    assert none_left("#010205")
    refused: list[Callable[[], Any]] = [lambda: pool.submit([]), ticket.collect]
    for call in refused:
        with pytest.raises(RuntimeError, match="closed"):
            call()
    assert os.environ["RAY_ADDRESS"]
