"""The pool gives what one process would give, in order, however it is driven."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Logo, Scored, TracerParams
from pipeline.settings.params import load_settings
from pipeline.tracing.backends import pool_from_settings
from pipeline.tracing.evaluation import TraceEvaluator
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.raster import DRAWINGS
from pipeline.tracing.tracer_pool import TracerPool

DRAWING = next(iter(DRAWINGS.values()))

SETTINGS = [
    DEFAULT_PARAMS,
    TracerParams(mode="polygon"),
    TracerParams(palette=4),
    TracerParams(prescale=1.5, filter_speckle=8),
    TracerParams(mode="none"),
    TracerParams(hierarchical="cutout", color_precision=8),
]


def without_time(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return [replace(evaluation, seconds=0) for evaluation in evaluations]


def in_this_process(jobs: Sequence[Job]) -> list[Evaluation]:
    bench = TraceEvaluator((255, 255, 255), DRAWING)
    return without_time([bench.evaluate(job) for job in jobs])


def jobs_of(*logos: Logo) -> list[Job]:
    return [Job(logo, params, keep_svg=True) for params in SETTINGS for logo in logos]


def test_the_pool_gives_what_one_process_gives_in_order(pool: TracerPool, logo: Logo, opaque_logo: Logo) -> None:
    jobs = jobs_of(logo, opaque_logo)
    before = pool.evaluations
    assert without_time(pool.evaluate(jobs)) == in_this_process(jobs)
    assert pool.evaluations - before == len(jobs)
    assert pool.evaluate([]) == []


def test_tickets_may_overlap_and_be_collected_in_any_order(pool: TracerPool, logo: Logo, opaque_logo: Logo) -> None:
    first, second = jobs_of(logo), jobs_of(opaque_logo)
    one, two = pool.submit(first), pool.submit(second)
    assert without_time(two.collect()) == in_this_process(second)
    assert without_time(one.collect()) == in_this_process(first)
    assert one.collect() == one.collect()


def test_each_job_can_be_collected_as_it_is_done(pool: TracerPool, logo: Logo, opaque_logo: Logo) -> None:
    jobs = [*jobs_of(logo, opaque_logo), Job(logo, replace(DEFAULT_PARAMS, color_precision=9))]
    pending = dict(enumerate(pool.submit_each(jobs)))
    assert pending[len(jobs) - 1].done  # refused at once
    done: dict[int, Evaluation] = {}
    while pending:
        pool.wait(list(pending.values()))
        for i in [i for i, ticket in pending.items() if ticket.done]:
            [done[i]] = pending.pop(i).collect()
    assert without_time([done[i] for i in range(len(jobs) - 1)]) == in_this_process(jobs[:-1])


def test_workers_go_on_while_the_caller_is_busy(pool: TracerPool, opaque_logo: Logo) -> None:
    jobs = [Job(opaque_logo, params) for params in SETTINGS]
    pool.evaluate(jobs)
    ticket = pool.submit(jobs)
    until = time.monotonic() + 120
    while not all(answers_wait(worker.output) for worker in pool._members):
        assert time.monotonic() < until, "no worker answers until somebody collects"
        time.sleep(0.01)
    assert len(ticket.collect()) == len(jobs)


def answers_wait(pipe: int) -> bool:
    return bool(select.select([pipe], [], [], 0)[0])


def test_bad_parameters_are_refused_before_any_worker_sees_them(pool: TracerPool, logo: Logo) -> None:
    bad = replace(DEFAULT_PARAMS, color_precision=9)
    refused, done = pool.evaluate([Job(logo, bad), Job(logo, DEFAULT_PARAMS)])
    assert isinstance(refused, Failed)
    assert (refused.kind, refused.params) == ("invalid", bad)
    assert "color_precision" in refused.detail
    assert isinstance(done, Scored)
    assert pool.failures["invalid"] >= 1


def test_an_image_that_is_too_large_to_trace_is_refused_everywhere_alike(pool: TracerPool) -> None:
    """By its pixels after enlargement, not by a clock. Its pixels are not even unpacked."""
    huge = Logo("huge", b"", 5000, 4000, "complex", "digest")
    [refused] = pool.evaluate([Job(huge, TracerParams(prescale=2.0))])
    assert isinstance(refused, Failed)
    assert refused.kind == "invalid"
    assert refused.detail.startswith("10000 x 8000 pixels to be traced, allowed are 67108864; lower prescale")


def test_more_images_than_a_worker_keeps(logo: Logo) -> None:
    logos = [Logo.of(str(i), np.roll(logo.rgba, i, axis=1), "simple") for i in range(5)]
    jobs = [Job(some, params, keep_svg=True) for params in SETTINGS[:2] for some in logos] * 2
    with TracerPool(1, 20, 2_000_000_000, image_bytes=len(logo.packed) * 2) as small:
        assert without_time(small.evaluate(jobs)) == in_this_process(jobs)


def test_a_pool_can_be_closed_twice_and_then_refuses(logo: Logo) -> None:
    pool = TracerPool(1, 20, 2_000_000_000)
    ticket = pool.submit([Job(logo, DEFAULT_PARAMS)])
    pool.close()
    pool.close()
    assert pool.pids == ()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit([])
    with pytest.raises(RuntimeError, match="closed"):
        ticket.collect()


def test_no_workers_asked_for_is_one_per_core() -> None:
    compute = load_settings(Path(__file__).resolve().parents[2] / "params.yaml").compute
    with pool_from_settings(compute.model_copy(update={"workers": 0}), "#102030") as pool:
        assert isinstance(pool, TracerPool)
        assert pool.workers >= 1
        assert len(pool.pids) == pool.workers


def test_the_background_reaches_the_workers(logo: Logo) -> None:
    jobs = [Job(logo, DEFAULT_PARAMS)]
    expected = TraceEvaluator((16, 32, 48), DRAWING).evaluate(jobs[0])
    with TracerPool(1, 20, 2_000_000_000, background="#102030") as pool:
        assert without_time(pool.evaluate(jobs)) == without_time([expected])


def test_a_pool_is_an_evaluator(pool: TracerPool) -> None:
    evaluator: Evaluator = pool
    assert evaluator.evaluate([]) == []
