"""In front of MLflow's scoring server: requests to /invocations are limited, read, and answered or refused here.

MLflow itself reads a body of any size, answers some bad ones with 500 or a traceback, and takes 1.5 traces for 1. It
still starts the server, loads the model and answers every other path.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import fastapi
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.serving.lanes import BUSY, Deadline
from pipeline.serving.measures import ServingMeasures
from pipeline.serving.rows import RequestError, read_body
from pipeline.serving.service import PredictionService

PATH, READY, METRICS = "/invocations", "/ready", "/metrics"
LATE_BODY, TOO_MANY = 408, 429
GONE = 499
"""In the measures, as nginx names it: the client left before its answer."""

WORDS = {
    400: "INVALID_PARAMETER_VALUE",
    LATE_BODY: "DEADLINE_EXCEEDED",
    413: "REQUEST_LIMIT_EXCEEDED",
    415: "BAD_REQUEST",
    TOO_MANY: "REQUEST_LIMIT_EXCEEDED",
    422: "INVALID_PARAMETER_VALUE",
    BUSY: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's names for such errors, in addition to the status."""

RETRY_SECONDS = 1

T = TypeVar("T")


class InvocationsMiddleware:
    """ASGI middleware. Its answers are JSON: predictions, or error_code and message."""

    def __init__(self, app: ASGIApp, service: PredictionService) -> None:
        self._app = app
        self._service = service
        self._settings = service.settings
        self._inside: Counter[str] = Counter()  # by the client's address
        self._measures = ServingMeasures()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in (READY, METRICS):
            await self._about()[scope["path"]](scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        client = request.client.host if request.client else ""
        self._inside[client] += 1
        began = time.monotonic()
        status = GONE
        try:
            response = await self._answer(request, client)
            status = response.status_code
        except RequestError as error:
            response = _error_response(error)
            status = error.status
        except ClientDisconnect:
            return
        finally:
            self._inside[client] -= 1
            self._inside += Counter()  # forgets those who have none
            self._measures.add(status, time.monotonic() - began)
        await response(scope, receive, send)

    @property
    def _room(self) -> int:
        return self._service.lanes.count + self._settings.waiting

    def _about(self) -> dict[str, Response]:
        """Whether another request would be taken, and the measures in Prometheus's text format."""
        inside = self._inside.total()
        is_ready = inside < self._room
        ready = JSONResponse({"ready": is_ready, "inside": inside, "room": self._room}, 200 if is_ready else BUSY)
        return {READY: ready, METRICS: PlainTextResponse(self._measures.text(inside, self._room))}

    async def _answer(self, request: Request, client: str) -> Response:
        deadline = Deadline(self._settings.deadline_seconds)
        content_type = request.headers.get("content-type", "")
        kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
        if kind != "application/json" or any(p not in ("charset=utf-8", 'charset="utf-8"', "") for p in parameters):
            given = content_type[:80] or "missing"
            raise RequestError(415, f"the Content-Type is {given}; it must be application/json in UTF-8")
        if self._inside.total() > self._room:
            raise RequestError(BUSY, f"{self._room} requests are running or waiting; try again in a moment")
        if self._inside[client] > self._settings.per_client:
            allowed = self._settings.per_client
            raise RequestError(TOO_MANY, f"{allowed} requests of yours are running or waiting; send fewer at once")
        body = await self._body(request, deadline)
        rows = await asyncio.to_thread(read_body, body, self._settings)
        answers = await _unless_gone(self._service.answer_until(rows, deadline), request)
        return Response(json.dumps({"predictions": answers}), media_type="application/json")

    async def _body(self, request: Request, deadline: Deadline) -> bytes:
        """A body that is too long is read to its end and dropped: clients do not read an answer while sending."""
        body, length = bytearray(), 0
        allowed, seconds = self._settings.max_body_bytes, self._settings.deadline_seconds
        try:
            async with asyncio.timeout(deadline.seconds_left):
                async for part in request.stream():
                    length += len(part)
                    if length <= allowed:
                        body += part
        except TimeoutError:
            if length <= allowed:
                raise RequestError(
                    LATE_BODY, f"the body did not come within {seconds:g} seconds; send it faster"
                ) from None
        if length > allowed:
            raise RequestError(413, f"the body has more than the {allowed} bytes allowed; send fewer or smaller images")
        return bytes(body)


async def _unless_gone(work: Coroutine[Any, Any, T], request: Request) -> T:
    """What the work gives. Raises ClientDisconnect when the client leaves; then the work is cancelled."""
    answer, gone = asyncio.create_task(work), asyncio.create_task(_departure(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error_response(error: RequestError) -> Response:
    headers = {}
    if error.status in (BUSY, TOO_MANY):
        headers["Retry-After"] = str(RETRY_SECONDS)
    if error.status == LATE_BODY:
        headers["Connection"] = "close"  # the rest of the body is not awaited
    return JSONResponse({"error_code": WORDS[error.status], "message": str(error)}, error.status, headers)


def add_to_next_app(service: PredictionService) -> None:
    """Adds the middleware to the next FastAPI application of this process, which closes the service at its end.

    MLflow creates its application after it has loaded the model, and has no setting for middleware. So the model, while
    it is being loaded, replaces FastAPI's class for this one call.
    """
    plain: Callable[..., fastapi.FastAPI] = fastapi.FastAPI

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            service.close()

    def create(*args: Any, **kwargs: Any) -> fastapi.FastAPI:
        fastapi.FastAPI = plain  # type: ignore[misc, assignment]
        return plain(
            *args, middleware=[Middleware(InvocationsMiddleware, service=service)], lifespan=lifespan, **kwargs
        )

    fastapi.FastAPI = create  # type: ignore[misc, assignment]
