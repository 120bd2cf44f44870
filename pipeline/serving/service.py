"""The service behind the middleware: the current model, and its answers to rows."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipeline.agent.agent import Agent
from pipeline.serving.lanes import BUSY, Deadline, Lanes
from pipeline.serving.limits import ServeSettings
from pipeline.serving.rows import RequestError, Row

FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """name: shown in answers, such as `tracewright/3`, or the beginning of its weights' SHA-256."""

    agent: Agent
    name: str


class PredictionService:
    """Answers rows with the current model, which may be replaced at any time.

    Each request is answered by the model it began with. settings: limits of requests. No process is started before the
    first row, so that a model can be loaded only to inspect it.
    """

    def __init__(self, model: Model, settings: ServeSettings) -> None:
        self.model = model
        self.settings = settings
        self.lanes = Lanes(settings.lanes)

    def close(self) -> None:
        """End all tracing processes; nothing can be answered afterwards. May be called again."""
        self.lanes.close()

    def answer(self, rows: Sequence[Row | RequestError]) -> list[dict[str, Any]]:
        """As `answer_until`, without a deadline, and in a thread of its own, since a notebook has a loop already."""
        deadline = Deadline(float("inf"))
        with ThreadPoolExecutor(1) as thread:
            try:
                return thread.submit(asyncio.run, self.answer_until(rows, deadline)).result()
            finally:
                deadline.end()

    async def answer_until(self, rows: Sequence[Row | RequestError], deadline: Deadline) -> list[dict[str, Any]]:
        """One answer per row, beside other requests. Each has at most one queued image per lane, so that a request with
        many rows does not delay others.

        A bad row, or one whose image cannot be vectorised, is answered with its status `failed` and its error; where
        all are, the first one's RequestError is raised, and one at the deadline. However it ends, its images leave the
        lanes.
        """
        model = self.model
        turns = asyncio.Semaphore(self.lanes.count)

        async def one(number: int, row: Row | RequestError) -> dict[str, Any] | RequestError:
            if isinstance(row, RequestError):
                return row
            async with turns:
                try:
                    return _complete(await asyncio.wrap_future(self.lanes.submit(row, model.agent, deadline)), model)
                except RequestError as error:
                    named = RequestError(error.status, f"row {number}: {error}")
            if named.status == BUSY:
                raise named
            return named

        tasks = [asyncio.create_task(one(number, row)) for number, row in enumerate(rows)]
        try:
            async with asyncio.timeout(deadline.seconds_left if math.isfinite(deadline.seconds_left) else None):
                answers = [await task for task in tasks]
        except TimeoutError:
            less = (
                "ask for fewer traces or a smaller image"
                if len(rows) == 1
                else "send fewer rows or ask for fewer traces"
            )
            seconds = f"{self.settings.deadline_seconds:g} seconds"
            raise RequestError(
                BUSY, f"not done within {seconds}, the service may be busy; try again, or {less}"
            ) from None
        finally:
            deadline.end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, RequestError)]
        if errors and len(errors) == len(answers):
            raise errors[0]
        return [_failed(a, model) if isinstance(a, RequestError) else a for a in answers]


def _failed(error: RequestError, model: Model) -> dict[str, Any]:
    return {"status": FAILED, "error": str(error), "model": model.name}


def _complete(answer: dict[str, Any], model: Model) -> dict[str, Any]:
    texts = {name: json.dumps(answer[name]) for name in ("params", "curve")}
    return answer | texts | {"model": model.name}
