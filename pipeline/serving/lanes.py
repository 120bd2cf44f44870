"""Lanes: threads that vectorise one image at a time, each with a tracing process of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from pipeline.agent.agent import Agent
from pipeline.core.errors import DataError, ImageRejected, Unavailable
from pipeline.serving.rows import RequestError, Row
from pipeline.tracing.tracer_pool import TracerPool, worker_count
from pipeline.vectorizing.batch import vectorize_image_bytes, with_objective

BUSY = 503
"""Service Unavailable: the same request may succeed later, or a smaller one now."""


class DeadlinePassed(Exception):
    """The deadline of a lane's current image has passed."""


class Deadline:
    """Of a request, in seconds from now; any thread may end it early."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._at - time.monotonic())

    def end(self) -> None:
        """Nobody waits any more."""
        self._at = 0.0

    def check(self) -> None:
        """Raises DeadlinePassed."""
        if time.monotonic() > self._at:
            raise DeadlinePassed


class Lanes:
    """Vectorises images, submitted from any thread, in order, `count` at a time; 0 is one per core.

    When a tracing process dies, its image is tried once more. When a deadline passes, the tracing process is killed, so
    that its lane is free at once.
    """

    def __init__(self, count: int) -> None:
        self.count = worker_count(count)
        self._lanes: list[_Lane] = []
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(self.count, thread_name_prefix="lane", initializer=self._open)

    def submit(self, row: Row, agent: Agent, deadline: Deadline) -> Future[dict[str, Any]]:
        """The future has vectorize_image_bytes's answer, or raises RequestError."""
        return self._threads.submit(lambda: self._own.lane.vectorize(row, agent, deadline))

    @property
    def pids(self) -> list[int]:
        """Of the current tracing processes."""
        return [pid for lane in self._lanes for pid in lane.pids]

    def close(self) -> None:
        """Interrupts running images, cancels waiting ones, and ends the tracing processes. May be called again."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for lane in self._lanes:
            lane.interrupt()
        self._threads.shutdown()
        for lane in self._lanes:
            lane.close()

    def _open(self) -> None:
        self._own.lane = _Lane()
        self._lanes.append(self._own.lane)


class _Lane:
    """Used by one thread alone; its process is started with the first image."""

    def __init__(self) -> None:
        self._pool: TracerPool | None = None
        self._limits: tuple[float, int, str] | None = None
        self._deadline = Deadline(0.0)

    @property
    def pids(self) -> tuple[int, ...]:
        return self._pool.pids if self._pool else ()

    def vectorize(self, row: Row, agent: Agent, deadline: Deadline) -> dict[str, Any]:
        self._deadline = deadline
        try:
            deadline.check()
            return self._try_twice(row, with_objective(agent, row.objective, row.max_damage))
        except DeadlinePassed:
            self.close()  # nobody waits any more for what the process is doing
            raise RequestError(BUSY, "it was not done in time; ask for fewer traces, or send a smaller image") from None
        except ImageRejected as error:
            raise RequestError(400, f"image: {error.reason}: {error.detail}") from None
        except DataError as error:
            raise RequestError(422, str(error)) from None
        except Unavailable as error:
            self.close()
            raise RequestError(BUSY, f"{error}; try again later") from None

    def _try_twice(self, row: Row, agent: Agent) -> dict[str, Any]:
        """A first death may have another cause than the image; a second one may not."""
        pool = self._pool_for(agent)
        deaths = pool.failures["died"]
        try:
            return vectorize_image_bytes(row.image, agent, pool, traces=row.traces, options=row.options)
        except DataError:
            if pool.failures["died"] == deaths:
                raise
        return vectorize_image_bytes(row.image, agent, pool, traces=row.traces, options=row.options)

    def _pool_for(self, agent: Agent) -> TracerPool:
        limits = agent.timeout_seconds, agent.worker_memory_bytes, agent.background
        if self._pool is None or limits != self._limits:
            self.close()
            self._pool = TracerPool(1, *limits, check_stop=lambda: self._deadline.check())
            self._limits = limits
        return self._pool

    def interrupt(self) -> None:
        """Ends the deadline of the current image."""
        self._deadline.end()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
