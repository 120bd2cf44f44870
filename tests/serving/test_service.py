from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.serving.lanes import Deadline
from pipeline.serving.limits import ServeSettings
from pipeline.serving.rows import RequestError, Row
from pipeline.serving.service import Model, PredictionService
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.vectorizing.batch import vectorize_image_bytes
from tests.support.fakes import tiny_agent
from tests.support.serving_requests import busy_png, png

AGENT = tiny_agent(max_steps=2)
LONG = Row(busy_png(256), None, None, 1000)


NO_PICTURE = Row(b"no picture", None, None, 2)


def order(seed: int, traces: int = 2) -> Row:
    return Row(png(seed), None, None, traces)


@pytest.fixture(scope="module")
def service() -> Iterator[PredictionService]:
    serving = PredictionService(Model(AGENT, "first"), ServeSettings(lanes=2))
    yield serving
    serving.close()


def answered(
    service: PredictionService, orders: Sequence[Row | RequestError], seconds: float = 60.0
) -> list[dict[str, Any]]:
    return asyncio.run(service.answer_until(orders, Deadline(seconds)))


def test_an_answer_is_that_of_the_python_call(service: PredictionService) -> None:
    [answer] = answered(service, [order(1)])
    with TracerPool(1, AGENT.timeout_seconds, AGENT.worker_memory_bytes) as pool:
        called = vectorize_image_bytes(png(1), AGENT, pool, traces=2)
    assert answer["svg"] == called["svg"]
    assert answer["bytes"] == called["bytes"] == len(answer["svg"].encode())
    assert answer["model"] == "first"


def test_rows_keep_their_order_and_each_has_its_own_wishes(service: PredictionService) -> None:
    orders = [order(1, traces=1), replace(order(2, traces=3), objective="sharper"), order(3)]
    answers = answered(service, orders)
    assert [a["svg"] for a in answers] == [answered(service, [o])[0]["svg"] for o in orders]
    assert [a["traces"] for a in answers] == [1, 3, 2]
    assert answers == [a | {"seconds": b["seconds"]} for a, b in zip(service.answer(orders), answers, strict=True)]


def test_a_bad_row_costs_itself_only(service: PredictionService) -> None:
    unread = RequestError(400, "row 2: traces is 0")
    rows: list[Row | RequestError] = [order(1), NO_PICTURE, unread, order(2)]
    for first, bad, worse, last in (answered(service, rows), service.answer(rows)):
        assert "svg" in first
        assert "svg" in last
        assert (bad["status"], bad["model"]) == ("failed", "first")
        assert bad["error"].startswith("row 1: image: undecodable: ")
        assert worse["error"] == "row 2: traces is 0"


def test_a_request_without_a_good_row_is_refused(service: PredictionService) -> None:
    with pytest.raises(RequestError, match="row 0: image: undecodable: ") as caught:
        answered(service, [NO_PICTURE, RequestError(413, "row 1: too large")])
    assert caught.value.status == 400


def test_a_deadline_ends_the_work_and_frees_the_lane(service: PredictionService) -> None:
    answered(service, [order(1), order(2)])
    began, working = time.monotonic(), service.lanes.pids
    with pytest.raises(RequestError, match=r"not done (within|in time)") as caught:
        answered(service, [LONG] * 3, seconds=1.0)
    assert caught.value.status == 503
    assert time.monotonic() - began < 30
    assert answered(service, [order(1), order(2)])
    until = time.monotonic() + 120
    while set(working) & set(service.lanes.pids):  # what they were at is nobody's any more
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_small_request_does_not_wait_for_a_large_one(service: PredictionService) -> None:
    async def both() -> bool:
        large = asyncio.create_task(service.answer_until([order(n, traces=3) for n in range(8)], Deadline(600)))
        await asyncio.sleep(0.05)
        await service.answer_until([order(99, traces=1)], Deadline(600))
        was_first = not large.done()
        await large
        return was_first

    assert asyncio.run(both())


def test_a_tracing_process_that_is_killed_costs_no_request(service: PredictionService) -> None:
    for wait_seconds in (0.02, 0.1, 0.3):
        request = service.lanes.submit(Row(busy_png(256), None, None, 1), AGENT, Deadline(60))
        time.sleep(wait_seconds)
        for pid in service.lanes.pids:
            os.kill(pid, signal.SIGKILL)
        assert request.result(timeout=120)["status"] in ("improved", "default")


def test_a_request_is_answered_by_the_model_it_began_with(service: PredictionService) -> None:
    async def swapped() -> list[str]:
        begun = asyncio.create_task(service.answer_until([order(seed, traces=2) for seed in range(6)], Deadline(60)))
        await asyncio.sleep(0.05)
        service.model = Model(tiny_agent(max_steps=2, background="#000000"), "second")
        later = await service.answer_until([order(1)], Deadline(60))
        return [answer["model"] for answer in [*await begun, *later]]

    assert asyncio.run(swapped()) == ["first"] * 6 + ["second"]


def test_closing_breaks_off_what_is_begun_and_leaves_no_process() -> None:
    serving = PredictionService(Model(AGENT, "first"), ServeSettings(lanes=1))
    running = serving.lanes.submit(LONG, AGENT, Deadline(60))
    while not serving.lanes.pids:
        time.sleep(0.01)
    pids = serving.lanes.pids
    serving.close()
    serving.close()
    with pytest.raises(RequestError):
        running.result(timeout=120)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
