"""The service without its door: the agent that answers at present, and what it makes of orders."""

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
from pipeline.serving.orders import Order, Refused


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """name: what answers say made them, as `tracewright/3`, or the beginning of its weights' SHA-256."""

    agent: Agent
    name: str


class Service:
    """Answers orders with the model it has; another may take its place at any time.

    A request is answered by one model, whichever it began with. settings: what requests may ask for. No process is
    started before the first order, so a model may be loaded to be looked at.
    """

    def __init__(self, model: Model, settings: ServeSettings) -> None:
        self.model = model
        self.settings = settings
        self.lanes = Lanes(settings.lanes)

    def close(self) -> None:
        """End all tracing processes; nothing can be answered afterwards. May be called again."""
        self.lanes.close()

    def answer(self, orders: Sequence[Order]) -> list[dict[str, Any]]:
        """One answer per order, without a deadline. Raises Refused, which names the row."""
        model = self.model
        deadline = Deadline(float("inf"))
        futures = [self.lanes.submit(order, model.agent, deadline) for order in orders]
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

    async def answer_until(self, orders: Sequence[Order], deadline: Deadline) -> list[dict[str, Any]]:
        """As `answer`, beside other requests: each has no more images in the lanes' queue than there are lanes, so that
        one with many rows does not keep others waiting.

        What is not done by the deadline raises Refused. However it ends, the lanes are not kept busy with it.
        """
        model = self.model
        turns = asyncio.Semaphore(self.lanes.count)

        async def one(number: int, order: Order) -> dict[str, Any]:
            async with turns:
                with _naming(number):
                    return _complete(await asyncio.wrap_future(self.lanes.submit(order, model.agent, deadline)), model)

        tasks = [asyncio.create_task(one(number, order)) for number, order in enumerate(orders)]
        try:
            async with asyncio.timeout(deadline.seconds_left):
                return [await task for task in tasks]
        except TimeoutError:
            raise Refused(BUSY, _too_late(len(orders), self.settings)) from None
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
    except Refused as error:
        raise Refused(error.status, f"row {number}: {error}") from None


def _too_late(rows: int, settings: ServeSettings) -> str:
    less = "ask for fewer traces or a smaller image" if rows == 1 else "send fewer rows or ask for fewer traces"
    return f"not done within {settings.deadline_seconds:g} seconds, the service may be busy; try again, or {less}"
