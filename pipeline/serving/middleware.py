"""In front of MLflow's scoring server: requests to /invocations are limited, read, and answered or refused here.

MLflow itself reads a body of any size, answers some bad ones with 500 or a traceback, and takes 1.5 traces for 1. It
still starts the server, loads the model and answers every other path.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import fastapi
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.serving.lanes import BUSY, Deadline
from pipeline.serving.rows import RequestError, read_body
from pipeline.serving.service import PredictionService

PATH = "/invocations"
LATE_BODY = 408
WORDS = {
    400: "INVALID_PARAMETER_VALUE",
    LATE_BODY: "DEADLINE_EXCEEDED",
    413: "REQUEST_LIMIT_EXCEEDED",
    415: "BAD_REQUEST",
    422: "INVALID_PARAMETER_VALUE",
    BUSY: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's names for such errors, in addition to the status."""

RETRY_SECONDS = 1


class InvocationsMiddleware:
    """ASGI middleware. Its answers are JSON: predictions, or error_code and message."""

    def __init__(self, app: ASGIApp, service: PredictionService) -> None:
        self._app = app
        self._service = service
        self._settings = service.settings
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        self._inside += 1
        try:
            response = await self._answer(Request(scope, receive))
        except RequestError as error:
            response = _error_response(error)
        except ClientDisconnect:
            return
        finally:
            self._inside -= 1
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        deadline = Deadline(self._settings.deadline_seconds)
        content_type = request.headers.get("content-type", "")
        kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
        if kind != "application/json" or any(p not in ("charset=utf-8", 'charset="utf-8"', "") for p in parameters):
            given = content_type[:80] or "missing"
            raise RequestError(415, f"the Content-Type is {given}; it must be application/json in UTF-8")
        room = self._service.lanes.count + self._settings.waiting
        if self._inside > room:
            raise RequestError(BUSY, f"{room} requests are running or waiting; try again in a moment")
        body = await self._body(request, deadline)
        rows = await asyncio.to_thread(read_body, body, self._settings)
        answers = await self._service.answer_until(rows, deadline)
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


def _error_response(error: RequestError) -> Response:
    headers = {}
    if error.status == BUSY:
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
