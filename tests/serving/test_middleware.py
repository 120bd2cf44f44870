"""What the middleware does with clients that leave, that are too many, or that only ask how it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from pipeline.serving.lanes import Deadline
from pipeline.serving.limits import ServeSettings
from pipeline.serving.middleware import InvocationsMiddleware
from tests.support.serving_requests import records, row

BODY = records(row())


class Service:
    """Answers when it is allowed to."""

    def __init__(self, **settings: Any) -> None:
        self.settings = ServeSettings(**settings)
        self.lanes = SimpleNamespace(count=2)
        self.may_answer = asyncio.Event()
        self.asked = self.cancelled = 0

    async def answer_until(self, rows: Sequence[object], deadline: Deadline) -> list[dict[str, Any]]:
        self.asked += 1
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [{"svg": "<svg/>"} for _ in rows]


class Client:
    """One request. leave: the client goes away."""

    def __init__(self, app: InvocationsMiddleware, path: str = "/invocations", host: str = "10.0.0.1") -> None:
        self._left = asyncio.Event()
        self._bodies = [{"type": "http.request", "body": BODY, "more_body": False}]
        self._sent: list[Any] = []
        scope: dict[str, Any] = {"type": "http", "path": path, "method": "POST" if path == "/invocations" else "GET"}
        scope |= {"headers": [(b"content-type", b"application/json")], "client": (host, 1)}
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._bodies:
            return self._bodies.pop()
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self._sent.append(message)

    async def leave(self) -> None:
        self._left.set()
        await self.task

    async def answer(self) -> tuple[int, str]:
        await self.task
        start, body = self._sent
        return start["status"], body["body"].decode()


def app_of(service: Service) -> InvocationsMiddleware:
    async def nothing(*_: object) -> None:
        raise AssertionError("not for MLflow")

    return InvocationsMiddleware(nothing, cast(Any, service))


async def begun(service: Service, app: InvocationsMiddleware, count: int, host: str = "10.0.0.1") -> list[Client]:
    """Clients whose bodies were read, in threads, and who wait for the service."""
    expected = service.asked + count
    clients = [Client(app, host=host) for _ in range(count)]
    while service.asked < expected:
        await asyncio.sleep(0.01)
    return clients


def test_the_work_of_a_client_that_leaves_is_cancelled() -> None:
    async def act() -> None:
        service = Service()
        app = app_of(service)
        leaving, staying = await begun(service, app, 2)
        await leaving.leave()
        assert service.cancelled == 1
        service.may_answer.set()
        assert await staying.answer() == (200, '{"predictions": [{"svg": "<svg/>"}]}')
        _, text = await Client(app, "/metrics").answer()
        samples = {
            (s.name, *s.labels.values()): s.value for f in text_string_to_metric_families(text) for s in f.samples
        }
        assert samples["tracewright_serving_requests_total", "499"] == 1
        assert samples["tracewright_serving_requests_total", "200"] == 1
        assert samples["tracewright_serving_request_seconds_bucket", "+Inf"] == 2
        assert samples[("tracewright_serving_inside",)] == 0
        assert samples[("tracewright_serving_room",)] == 34

    asyncio.run(act())


def test_one_client_cannot_take_all_the_room() -> None:
    async def act() -> None:
        service = Service(per_client=2)
        app = app_of(service)
        held = await begun(service, app, 2)
        status, message = await Client(app).answer()
        assert (status, json.loads(message)["error_code"]) == (429, "REQUEST_LIMIT_EXCEEDED")
        [other] = await begun(service, app, 1, host="10.0.0.2")
        service.may_answer.set()
        assert [(await client.answer())[0] for client in [*held, other]] == [200] * 3
        assert (await Client(app).answer())[0] == 200

    asyncio.run(act())


def test_it_is_ready_while_there_is_room() -> None:
    async def act() -> None:
        service = Service(waiting=0)
        app = app_of(service)
        assert await Client(app, "/ready").answer() == (200, '{"ready":true,"inside":0,"room":2}')
        held = await begun(service, app, 2)
        assert (await Client(app, "/ready").answer())[0] == 503
        service.may_answer.set()
        for client in held:
            await client.answer()
        assert (await Client(app, "/ready").answer())[0] == 200

    asyncio.run(act())
