"""The service behind the middleware: the current model, and its answers to rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.agent.agent import Agent
from pipeline.serving.lanes import BUSY, Deadline, Lanes
from pipeline.serving.limits import ServeSettings
from pipeline.serving.rows import RequestError, Row


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

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """One answer per row, without a deadline. Raises RequestError, which names the row."""
        model = self.model
        deadline = Deadline(float("inf"))
        futures = [self.lanes.submit(row, model.agent, deadline) for row in rows]
        answers = []
        try:
            for number, future in enumerate(futures):
                with _naming(number):
                    answers.append(_complete(future.result(), model))
        finally:
            deadline.end()
            for future in futures:
                future.cancel()
        return answers

    async def answer_until(self, rows: Sequence[Row], deadline: Deadline) -> list[dict[str, Any]]:
        """As `answer`, beside other requests. Each has at most one queued image per lane, so that a request with many
        rows does not delay others.

        Raises RequestError at the deadline. However it ends, its images leave the lanes.
        """
        model = self.model
        turns = asyncio.Semaphore(self.lanes.count)

        async def one(number: int, row: Row) -> dict[str, Any]:
            async with turns:
                with _naming(number):
                    return _complete(await asyncio.wrap_future(self.lanes.submit(row, model.agent, deadline)), model)

        tasks = [asyncio.create_task(one(number, row)) for number, row in enumerate(rows)]
        try:
            async with asyncio.timeout(deadline.seconds_left):
                return [await task for task in tasks]
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


def _complete(answer: dict[str, Any], model: Model) -> dict[str, Any]:
    return answer | {"params": json.dumps(answer["params"]), "model": model.name}


@contextmanager
def _naming(number: int) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        raise RequestError(error.status, f"row {number}: {error}") from None
