"""Jobs handed in together, and what every pool of tracing processes has in common, wherever its processes run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Self

from pipeline.core.records import ACCIDENTS, Evaluation, Failed, FailureKind, Job, TracerParams
from pipeline.tracing.preparation import enlarged_size
from pipeline.tracing.space import check_params

if TYPE_CHECKING:
    from pipeline.tracing.evaluator import Pending

IMAGE_BYTES = 8_000_000
MAX_TRACED_PIXELS = 1 << 26
"""After prescale. The job's size bounds the work, not a clock, so that a limit strikes everywhere alike; this
is the largest image that `vectorize` takes, enlarged twice."""

CHECK_SECONDS = 0.25

_LOOK = 64


class Ticket:
    """Jobs handed in together.

    missing: how many are not done. wait_for: blocks until none is missing.
    """

    def __init__(self, jobs: Sequence[Job], wait_for: Callable[[Ticket], None]) -> None:
        self.jobs = jobs
        self.missing = len(jobs)
        self._wait_for = wait_for
        self._evaluations: list[Evaluation | None] = [None] * len(jobs)

    def record(self, index: int, evaluation: Evaluation) -> None:
        self._evaluations[index] = evaluation
        self.missing -= 1

    @property
    def done(self) -> bool:
        return self.missing == 0

    def collect(self) -> list[Evaluation]:
        """One evaluation per job in the same order, waiting for those that are missing. May be called again."""
        self._wait_for(self)
        return [evaluation for evaluation in self._evaluations if evaluation is not None]


@dataclass(frozen=True, slots=True)
class PoolTask:
    ticket: Ticket
    index: int

    @property
    def job(self) -> Job:
        return self.ticket.jobs[self.index]


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Of one worker.

    timeout_seconds: for one evaluation. memory_bytes: of address space. image_bytes: packed pixels that it keeps, the
    oldest are dropped first. background: `#rrggbb` that transparent images are scored on. rasteriser: what draws, a
    key of raster.DRAWINGS; None for the first.
    """

    timeout_seconds: float
    memory_bytes: int
    image_bytes: int
    background: str
    rasteriser: str | None


class Pool(ABC):
    """Evaluates jobs in processes that may die; use it with `with`, from one thread.

    workers: processes; 0 for one per core of this machine, or per CPU of the cluster. timeout_seconds: deadline of one
    evaluation. worker_memory_bytes: address-space limit of each process. rasteriser: a key of raster.DRAWINGS, None for
    the first that is to be had. image_bytes: packed pixels that each keeps. check: refuses parameters before they are
    sent (tests let bad ones through). check_stop: called several times a second while something is waited for; what it
    raises ends the waiting. failures, evaluations: counts since the pool was made.
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
        self.failures: Counter[FailureKind] = Counter()
        self.evaluations = 0
        self._check, self._check_stop = check, check_stop
        self._pending: deque[PoolTask] = deque()
        self._versions: dict[str, str] = {}
        self._closed = False
        self._limits = WorkerLimits(timeout_seconds, worker_memory_bytes, image_bytes, background, rasteriser)
        try:
            self._open(workers)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abstractmethod
    def workers(self) -> int:
        """Processes that trace, or are about to."""

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
        self._end_workers()

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        """One evaluation per job, in order. Raises Unavailable when workers cannot be started."""
        return self.submit(jobs).collect()

    def submit(self, jobs: Sequence[Job]) -> Ticket:
        """Hand jobs in and return at once; workers begin with them."""
        self._refresh()
        ticket = self._ticket(jobs)
        self._assign()
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

    def _refresh(self) -> None:
        if self._closed:
            raise RuntimeError("the pool is closed")
        self._exchange(0)  # Notice workers that died while idle before anything is given to them.

    def _turn(self) -> None:
        if self._closed:
            raise RuntimeError("the pool was closed before these jobs were done")
        self._check_stop()
        self._exchange(self._patience())
        self._give_up_the_late()

    def _wait_for(self, ticket: Ticket) -> None:
        while not ticket.done:
            self._turn()

    def _ticket(self, jobs: Sequence[Job]) -> Ticket:
        ticket = Ticket(jobs, self._wait_for)
        for index, job in enumerate(jobs):
            wrong = self._check(job.params) or _too_large(job)
            if wrong:
                self._record(PoolTask(ticket, index), Failed(job.logo.digest, job.params, "invalid", wrong, 0.0))
            else:
                self._pending.append(PoolTask(ticket, index))
        return ticket

    def _record(self, task: PoolTask, evaluation: Evaluation) -> None:
        self.evaluations += 1
        if isinstance(evaluation, Failed):
            self.failures[evaluation.kind] += 1
        task.ticket.record(task.index, evaluation)

    def _next_task(self, held: Collection[str], elsewhere: Iterable[Collection[str]]) -> PoolTask:
        """A job whose image a worker holds, else one whose image no other holds, else the first; of the next few.

        held, elsewhere: digests that it holds, and those that each of the others does.
        """
        next_few = [task.job.logo.digest for task in islice(self._pending, _LOOK)]
        best = next((i for i, digest in enumerate(next_few) if digest in held), None)
        if best is None:
            taken = {digest for other in elsewhere for digest in other}
            best = next((i for i, digest in enumerate(next_few) if digest not in taken), 0)
        task = self._pending[best]
        del self._pending[best]
        return task

    @abstractmethod
    def _open(self, workers: int) -> None:
        """Start the workers. `_end_workers` is called when it raises, too."""

    @abstractmethod
    def _exchange(self, timeout: float) -> None:
        """Wait for at most `timeout` seconds, take the answers there are, and hand out more."""

    @abstractmethod
    def _assign(self) -> None:
        """Give jobs that are pending to workers that have room."""

    @abstractmethod
    def _patience(self) -> float:
        """Seconds until something is to be looked after, at most CHECK_SECONDS."""

    @abstractmethod
    def _give_up_the_late(self) -> None:
        """Do without workers that should have answered."""

    @abstractmethod
    def _end_workers(self) -> None:
        """Leave no process behind. May be called again."""


def _too_large(job: Job) -> str | None:
    width, height = enlarged_size(job.logo.width, job.logo.height, job.params.prescale)
    if width * height <= MAX_TRACED_PIXELS:
        return None
    return (
        f"{width} x {height} pixels to be traced, allowed are {MAX_TRACED_PIXELS}; lower prescale or the image's size"
    )
