"""A supervised pool of tracing processes: whatever one trace does, it costs that evaluation only.

The caller that collects drives the pool: there is no thread. Workers are sent jobs ahead of the one they are at, so
they stay busy while the caller does something else between `submit` and `collect`.
"""

from __future__ import annotations

import os
import selectors
import time

from pipeline.core.errors import Unavailable
from pipeline.core.records import Failed
from pipeline.tracing.pool import CHECK_SECONDS, Pool
from pipeline.tracing.worker_process import Worker

_START_ATTEMPTS = 3
_MAX_BACK_OFF_SECONDS = 1.0
_AHEAD = 4


class TracerPool(Pool):
    """Evaluates jobs in worker processes of this machine."""

    def _open(self, workers: int) -> None:
        self._workers = worker_count(workers)
        self._failed_starts = 0
        self._deaths_in_a_row = 0
        self._starts_due: list[float] = []
        self._selector = selectors.DefaultSelector()
        self._members: list[Worker] = []
        for _ in range(self._workers):
            self._start()

    @property
    def workers(self) -> int:
        return self._workers

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid for worker in self._members)

    def _end_workers(self) -> None:
        while self._members:
            self._members.pop().stop()
        self._selector.close()

    def _start(self) -> None:
        worker = Worker(self._limits)
        self._members.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _exchange(self, timeout: float) -> None:
        """As every pool's; also starts who is due."""
        for key, mask in self._selector.select(timeout):
            worker: Worker = key.data
            if worker not in self._members:
                continue  # Replaced a moment ago, in this round.
            if mask & selectors.EVENT_READ:
                self._receive(worker)
            else:
                worker.send()
        due = [at for at in self._starts_due if at <= time.monotonic()]
        for at in due:
            self._starts_due.remove(at)
            self._start()
        self._assign()

    def _give_up_the_late(self) -> None:
        now = time.monotonic()
        for worker in [w for w in self._members if w.waits_until <= now]:
            self._replace(worker, late=True)

    def _patience(self) -> float:
        """Seconds until the first worker is late or to be started, at most CHECK_SECONDS."""
        until = min([*self._starts_due, *(worker.waits_until for worker in self._members)])
        return min(max(0.0, until - time.monotonic()), CHECK_SECONDS)

    def _receive(self, worker: Worker) -> None:
        answers = worker.receive()
        if answers is None:
            self._replace(worker, late=False)
            return
        self._failed_starts = self._deaths_in_a_row = 0
        self._versions = worker.versions
        for task, evaluation in answers:
            self._record(task, evaluation)

    def _assign(self) -> None:
        """Give ready workers jobs: one each at the end of a batch, up to _AHEAD more while many are waiting."""
        while self._pending:
            depth = 1 + min(_AHEAD, len(self._pending) // (2 * self.workers))
            free = [worker for worker in self._members if worker.ready and len(worker.tasks) < depth]
            if not free:
                break
            worker = min(free, key=lambda w: len(w.tasks))
            others = [other.held for other in self._members if other is not worker]
            worker.give(self._next_task(worker.held, others))
        for worker in self._members:
            if worker.outgoing:
                worker.send()
            self._watch(worker)

    def _watch(self, worker: Worker) -> None:
        """Ask the selector about a worker's input only while something waits to be written."""
        watched = worker.input in self._selector.get_map()
        if worker.outgoing and not watched:
            self._selector.register(worker.input, selectors.EVENT_WRITE, worker)
        elif watched and not worker.outgoing:
            self._selector.unregister(worker.input)

    def _replace(self, worker: Worker, late: bool) -> None:
        """A worker has died or is late: the job it was at fails, those behind it go back to the front."""
        self._members.remove(worker)
        for descriptor in (worker.input, worker.output):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        kind, detail = worker.stop()
        if worker.tasks:
            if late:
                kind, detail = "timeout", f"no answer within {self._limits.timeout_seconds:g} seconds"
            task = worker.tasks.popleft()
            self._record(task, Failed(task.job.logo.digest, task.job.params, kind, detail, worker.seconds_at_task()))
            self._pending.extendleft(reversed(worker.tasks))
        elif not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= _START_ATTEMPTS:
                self.close()
                raise Unavailable(f"tracing workers do not start; {detail}")
        self._deaths_in_a_row += 1
        self._starts_due.append(time.monotonic() + _back_off_seconds(self._deaths_in_a_row, self.workers))


def _back_off_seconds(deaths_in_a_row: int, workers: int) -> float:
    """None while each worker may have died once; then twice as long for each death without an answer in between."""
    excess = deaths_in_a_row - workers
    return min(_MAX_BACK_OFF_SECONDS, 0.05 * 2**excess) if excess > 0 else 0.0


def worker_count(asked: int) -> int:
    """`asked`, or for 0 one per core that this process may use."""
    return asked or len(os.sched_getaffinity(0))
