"""A supervised pool of tracing processes: whatever one trace does, it costs that evaluation only.

The pool is driven by whoever collects: there is no thread. Workers are sent jobs ahead of the one they are at, so
they stay busy while the caller does something else between `submit` and `collect`.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol, Self

from pipeline.errors import Unavailable
from pipeline.records import ACCIDENTS, Evaluation, Failed, FailureKind, Job, TracerParams
from pipeline.settings import ComputeSettings
from pipeline.tracing.prepare import enlarged_size
from pipeline.tracing.process import Limits, Task, Ticket, Worker
from pipeline.tracing.space import check_params

IMAGE_BYTES = 8_000_000
MAX_TRACED_PIXELS = 1 << 26
"""After prescale. Work is bounded by what is asked for, not by a clock, so that a limit strikes everywhere alike; this
is the largest image that `vectorize` takes, enlarged twice."""

_START_ATTEMPTS = 3
_MAX_BACK_OFF_SECONDS = 1.0
_AHEAD = 4
_CHECK_SECONDS = 0.25
_LOOK = 64


class Pending(Protocol):
    """Evaluations under way. done: whether `collect` would return at once."""

    @property
    def done(self) -> bool: ...

    def collect(self) -> list[Evaluation]: ...


class Evaluator(Protocol):
    """What everything above tracing depends on: a pool, a store in front of one, or a fake in tests."""

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]: ...

    def submit(self, jobs: Sequence[Job]) -> Pending: ...

    def submit_each(self, jobs: Sequence[Job]) -> Sequence[Pending]:
        """One for each job, to be collected as they are done."""
        ...

    def wait(self, pending: Sequence[Pending]) -> None:
        """Until at least one of these is done."""
        ...


class TracerPool:
    """Evaluates jobs in worker processes; use it with `with`, from one thread.

    workers: processes, at least 1. timeout_seconds: deadline of one evaluation. worker_memory_bytes: address-space
    limit of each process. rasteriser: a key of raster.DRAWINGS, None for the first that is to be had. image_bytes:
    packed pixels that each keeps. check: refuses parameters before they are sent (tests let bad ones through).
    check_stop: called several times a second while something is waited for; what it raises ends the waiting.
    failures, evaluations: counts since the pool was made.
    """

    def __init__(
        self,
        workers: int,
        timeout_seconds: float,
        worker_memory_bytes: int,
        background: str = "#ffffff",
        *,
        rasteriser: str | None = None,
        image_bytes: int = IMAGE_BYTES,
        check: Callable[[TracerParams], str | None] = check_params,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.workers = workers
        self.failures: Counter[FailureKind] = Counter()
        self.evaluations = 0
        self._limits = Limits(timeout_seconds, worker_memory_bytes, image_bytes, background, rasteriser)
        self._check, self._check_stop = check, check_stop
        self._pending: deque[Task] = deque()
        self._failed_starts = 0
        self._deaths_in_a_row = 0
        self._starts_due: list[float] = []
        self._versions: dict[str, str] = {}
        self._selector = selectors.DefaultSelector()
        self._members: list[Worker] = []
        self._closed = False
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.process.pid for worker in self._members)

    @property
    def versions(self) -> dict[str, str]:
        """All that decides what an evaluation gives, beside the image and the parameters; see evaluation_versions.

        Waits for the first worker. Raises Unavailable when none can be started.
        """
        while not self._versions:
            self._turn()
        return self._versions

    @property
    def accidents(self) -> dict[FailureKind, int]:
        """Failures that need not happen again: with one of them, a run's figures may differ from another's."""
        return {kind: count for kind, count in sorted(self.failures.items()) if kind in ACCIDENTS}

    def close(self) -> None:
        """End the workers; jobs that are not done are dropped. May be called again."""
        self._closed = True
        self._pending.clear()
        while self._members:
            self._members.pop().stop()
        self._selector.close()

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        """One evaluation per job, in order. Raises Unavailable when workers cannot be started."""
        return self.submit(jobs).collect()

    def submit(self, jobs: Sequence[Job]) -> Ticket:
        """Hand jobs in and return at once; workers begin with them."""
        self._refresh()
        ticket = self._ticket(jobs)
        self._assign()
        return ticket

    def _refresh(self) -> None:
        if self._closed:
            raise RuntimeError("the pool is closed")
        self._exchange(0)  # Notice workers that died while idle before anything is given to them.

    def _ticket(self, jobs: Sequence[Job]) -> Ticket:
        ticket = Ticket(jobs, self._wait_for)
        for index, job in enumerate(jobs):
            wrong = self._check(job.params) or _too_large(job)
            if wrong:
                self._record(Task(ticket, index), Failed(job.logo.digest, job.params, "invalid", wrong, 0.0))
            else:
                self._pending.append(Task(ticket, index))
        return ticket

    def submit_each(self, jobs: Sequence[Job]) -> list[Ticket]:
        """As `submit`, with a ticket for each job."""
        self._refresh()
        tickets = [self._ticket([job]) for job in jobs]
        self._assign()
        return tickets

    def wait(self, pending: Sequence[Pending]) -> None:
        """Until at least one of these, which may be of several submissions, is done."""
        while not any(p.done for p in pending):
            self._turn()

    def _wait_for(self, ticket: Ticket) -> None:
        while not ticket.done:
            self._turn()

    def _turn(self) -> None:
        if self._closed:
            raise RuntimeError("the pool was closed before these jobs were done")
        self._check_stop()
        self._exchange(self._patience())
        self._give_up_the_late()

    def _record(self, task: Task, evaluation: Evaluation) -> None:
        self.evaluations += 1
        if isinstance(evaluation, Failed):
            self.failures[evaluation.kind] += 1
        task.ticket.record(task.index, evaluation)

    def _start(self) -> None:
        worker = Worker(self._limits)
        self._members.append(worker)
        self._selector.register(worker.output, selectors.EVENT_READ, worker)

    def _exchange(self, timeout: float) -> None:
        """Wait for at most `timeout` seconds, read and write what can be, start who is due, and hand out more."""
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
        """Seconds until the first worker is late or to be started, at most _CHECK_SECONDS."""
        until = min([*self._starts_due, *(worker.waits_until for worker in self._members)])
        return min(max(0.0, until - time.monotonic()), _CHECK_SECONDS)

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
            worker.give(self._choose(worker))
        for worker in self._members:
            if worker.outgoing:
                worker.send()
            self._watch(worker)

    def _choose(self, worker: Worker) -> Task:
        """A job whose image this worker holds, else one whose image no other holds, else the first; of the next few."""
        elsewhere = {digest for other in self._members if other is not worker for digest in other.held}
        next_few = [task.job.logo.digest for task in islice(self._pending, _LOOK)]
        best = next((i for i, digest in enumerate(next_few) if digest in worker.held), None)
        if best is None:
            best = next((i for i, digest in enumerate(next_few) if digest not in elsewhere), 0)
        task = self._pending[best]
        del self._pending[best]
        return task

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


def _too_large(job: Job) -> str | None:
    width, height = enlarged_size(job.logo.width, job.logo.height, job.params.prescale)
    if width * height <= MAX_TRACED_PIXELS:
        return None
    return (
        f"{width} x {height} pixels to be traced, allowed are {MAX_TRACED_PIXELS}; lower prescale or the image's size"
    )


def worker_count(asked: int) -> int:
    """`asked`, or for 0 one per core that this process may use."""
    return asked or len(os.sched_getaffinity(0))


def pool_from_settings(
    settings: ComputeSettings,
    background: str,
    *,
    rasteriser: str | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> TracerPool:
    """A pool as params.yaml asks for it."""
    return TracerPool(
        worker_count(settings.workers),
        settings.timeout_seconds,
        settings.worker_memory_bytes,
        background,
        rasteriser=rasteriser,
        check_stop=check_stop,
    )
