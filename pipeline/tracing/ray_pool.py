"""A pool whose tracing processes are those of a Ray cluster, under the interface of the local one.

Each CPU of the cluster has an actor with a local pool of one process below it, so whatever a trace does costs that
trace only, there as here. Jobs travel in batches, one ahead of the one that an actor is at. What an actor has not
answered when it is lost, with its node or alone, is done by others; an answer is recorded once, when its batch is taken
off. Each of them is then all that an actor has, so that one which ends its actor takes no other with it.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.cluster import ProcessLostError, answer_to, connect, ray_module
from pipeline.core.errors import Mismatch, Unavailable
from pipeline.core.records import Evaluation, Failed, Gate, Job, Logo, TracerParams
from pipeline.tracing.pool import CHECK_SECONDS, Pool, PoolTask, WorkerLimits
from pipeline.tracing.tracer_pool import TracerPool

START_SECONDS = 60.0
MOST_LOSSES = 3
"""Of actors with the same job at hand: more is the job's doing, or nobody's to bear."""

_BATCH = 16
_AHEAD = 2
_START_ATTEMPTS = 3
_GROW_SECONDS = 5.0
_MOST_PAUSE_SECONDS = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What an actor is sent. logos: images that it has not; forgotten: digests that it needs no more after the jobs.
    jobs: digest, setting, gate, whether the SVG is wanted, whether the metrics are.
    """

    logos: tuple[Logo, ...]
    jobs: tuple[tuple[str, TracerParams, Gate, bool, bool], ...]
    forgotten: tuple[str, ...]


class Tracer:
    """One CPU of the cluster. Made into an actor there; its calls are worked on one after the other."""

    def __init__(self, limits: WorkerLimits) -> None:
        # What is sent has been checked.
        self._pool = TracerPool(
            1,
            limits.timeout_seconds,
            limits.memory_bytes,
            limits.background,
            rasteriser=limits.rasteriser,
            image_bytes=limits.image_bytes,
            check=lambda _: None,
        )
        self._logos: dict[str, Logo] = {}

    def begin(self) -> tuple[str, dict[str, str]]:
        """The machine's name, and the versions that decide what an evaluation gives there."""
        return socket.gethostname(), self._pool.versions

    def evaluate(self, batch: Batch) -> list[Evaluation]:
        self._logos |= {logo.digest: logo for logo in batch.logos}
        jobs = [
            Job(self._logos[digest], params, gate, keep_svg, metrics)
            for digest, params, gate, keep_svg, metrics in batch.jobs
        ]
        for digest in batch.forgotten:
            del self._logos[digest]
        return self._pool.evaluate(jobs)


@dataclass(slots=True, eq=False)
class Member:
    """The pool's end of an actor.

    begun: its first answer, to come; None when it has. given: batches without an answer, oldest first, each with its
    tasks. held: digests that it has, with their bytes, in the order of last use.
    """

    actor: Any
    begun: Any
    deadline: float = float("inf")
    host: str = ""
    given: deque[tuple[Any, list[PoolTask]]] = field(default_factory=deque)
    held: OrderedDict[str, int] = field(default_factory=OrderedDict)

    @property
    def awaited(self) -> Any:
        """The answer that comes next; None where none does."""
        return self.begun or (self.given[0][0] if self.given else None)


class RayPool(Pool):
    """Evaluates jobs on a Ray cluster.

    workers: CPUs of the cluster to be used; 0 for all, those of nodes that join later too. Raises what cluster.connect
    raises. What waits for answers raises Unavailable when no CPU is to be had for START_SECONDS, actors do not start or
    the cluster's head is gone, and Mismatch when a node has other versions.
    """

    tracer: type[Tracer] = Tracer
    """What is made into actors."""

    def _open(self, workers: int) -> None:
        self._losses: Counter[PoolTask] = Counter()
        self._suspects: deque[PoolTask] = deque()
        self._failed_starts = 0
        self._members: list[Member] = []
        self._asked = workers
        self._leave = ExitStack()
        self._ray = ray_module()
        self._cluster = self._leave.enter_context(connect(workers))
        self._remote = self._ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(self.tracer)
        self._grow()
        self._idle_since = time.monotonic()

    @property
    def workers(self) -> int:
        """Actors at work, or to be."""
        return len(self._members)

    @property
    def hosts(self) -> list[str]:
        """The machines of the actors that have begun."""
        return [member.host for member in self._members if not member.begun]

    def _end_workers(self) -> None:
        self._suspects.clear()
        while self._members:
            self._kill(self._members.pop())
        self._leave.close()

    def _kill(self, member: Member) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(member.actor)

    def _grow(self) -> None:
        """As many actors as requested, or as the cluster has CPUs; those without room wait for it."""
        self._grow_at = time.monotonic() + _GROW_SECONDS
        while len(self._members) < (self._asked or self._cluster.cpus):
            actor = self._remote.remote(self._limits)
            self._members.append(Member(actor, actor.begin.remote()))

    def _exchange(self, timeout: float) -> None:
        awaited = {member.awaited: member for member in self._members if member.awaited}
        if awaited:
            done, _ = self._ray.wait(list(awaited), timeout=timeout)
            for reference in done:
                self._receive(awaited[reference])
        self._cluster.look()
        if time.monotonic() >= self._grow_at:
            self._grow()
        self._assign()

    def _receive(self, member: Member) -> None:
        try:
            answer = answer_to(member.awaited)
        except ProcessLostError as error:
            self._replace(member, error)
            return
        if member.begun:
            self._admit(member, *answer)
            return
        _, tasks = member.given.popleft()
        self._restart_clock(member)
        for task, evaluation in zip(tasks, answer, strict=True):
            self._losses.pop(task, None)
            self._record(task, evaluation)

    def _admit(self, member: Member, host: str, versions: dict[str, str]) -> None:
        member.begun, member.host = None, host
        self._failed_starts = 0
        self._versions = self._versions or versions
        other = [
            f"{name} {versions.get(name)}" for name in self._versions if versions.get(name) != self._versions[name]
        ]
        if other:
            here = ", ".join(f"{name} {self._versions[name]}" for name in self._versions)
            raise Mismatch(
                f"{host} of the Ray cluster has {', '.join(other)}, where others have {here}: results would differ; "
                "install the same versions on all nodes"
            )

    def _assign(self) -> None:
        """A share of what is pending to who has least, ever smaller ones, so that all end at the same time."""
        ready = [member for member in self._members if not member.begun]
        self._assign_suspects(ready)
        while self._pending:
            free = [member for member in ready if self._has_room(member)]
            if not free:
                return
            member = min(free, key=lambda m: sum(len(tasks) for _, tasks in m.given))
            size = min(_BATCH, max(1, len(self._pending) // (2 * len(ready))))
            self._give(member, self._chosen(member, [other.held for other in ready if other is not member], size))

    def _assign_suspects(self, ready: Sequence[Member]) -> None:
        """Tasks that an actor was lost with: each is all that an actor has, so that a loss is no other's doing."""
        for member in ready:
            if self._suspects and not member.given:
                self._give(member, [self._suspects.popleft()])

    def _has_room(self, member: Member) -> bool:
        """Nothing goes behind a task that is suspected, nor ahead while one waits for an actor with nothing to do."""
        if any(self._losses[task] for _, tasks in member.given for task in tasks):
            return False
        return len(member.given) < (1 if self._suspects else _AHEAD)

    def _chosen(self, member: Member, others: Sequence[Collection[str]], size: int) -> list[PoolTask]:
        """The tasks of a batch, of as few images as can be."""
        held = set(member.held)
        tasks: list[PoolTask] = []
        while self._pending and len(tasks) < size:
            tasks.append(self._next_task(held, others))
            held.add(tasks[-1].job.logo.digest)
        return tasks

    def _give(self, member: Member, tasks: list[PoolTask]) -> None:
        logos = {task.job.logo.digest: task.job.logo for task in tasks}
        unknown = tuple(logo for digest, logo in logos.items() if digest not in member.held)
        for digest, logo in logos.items():
            member.held[digest] = len(logo.packed)
            member.held.move_to_end(digest)
        forgotten: list[str] = []
        while sum(member.held.values()) > self._limits.image_bytes and len(member.held) > 1:
            forgotten.append(member.held.popitem(last=False)[0])
        jobs = tuple((j.logo.digest, j.params, j.gate, j.keep_svg, j.metrics) for j in (task.job for task in tasks))
        reference = member.actor.evaluate.remote(Batch(unknown, jobs, tuple(forgotten)))
        member.given.append((reference, tasks))
        if len(member.given) == 1:
            self._restart_clock(member)

    def _restart_clock(self, member: Member) -> None:
        """A batch may take each job's deadline, and a start of the process after each."""
        jobs = len(member.given[0][1]) if member.given else 0
        member.deadline = time.monotonic() + START_SECONDS + jobs * (self._limits.timeout_seconds + 2)

    def _patience(self) -> float:
        return CHECK_SECONDS

    def _give_up_the_late(self) -> None:
        now = time.monotonic()
        for member in [m for m in self._members if m.given and m.deadline <= now]:
            if not self._ray.wait([member.awaited], timeout=0)[0]:  # Its caller may have been slow to take the answer.
                self._replace(member, ProcessLostError(f"{member.host} does not answer"))
        if any(not member.begun for member in self._members):
            self._idle_since = now
        elif now - self._idle_since > START_SECONDS:
            free = self._ray.available_resources().get("CPU", 0)
            raise Unavailable(
                f"no CPU of the Ray cluster was to be had for {START_SECONDS:.0f} s, and {free:g} of its "
                f"{self._cluster.cpus} are free; wait for who uses the others, or add nodes: `ray start --address=...`"
            )

    def _replace(self, member: Member, error: ProcessLostError) -> None:
        """An actor is lost: what it has not answered goes back to the front, and another is started."""
        self._members.remove(member)
        self._kill(member)
        self._grow_at = time.monotonic()
        if member.begun:
            self._failed_starts += 1
            if self._failed_starts >= _START_ATTEMPTS and all(other.begun for other in self._members):
                raise Unavailable(f"tracing does not start on the Ray cluster: {error.reason}") from error
            _log.warning("an actor did not start on the Ray cluster: %s; another is tried", error.reason)
            # It may have been sent to a node that is gone, which the cluster had not noticed yet.
            self._grow_at += min(_MOST_PAUSE_SECONDS, 0.5 * 2**self._failed_starts)
        for task in (task for _, tasks in member.given for task in tasks):
            # Of two batches nobody knows which it was: the answer to the first may have been on its way.
            self._losses[task] += 1
            if self._losses[task] < MOST_LOSSES:
                self._suspects.append(task)
            else:
                detail = f"its process on the Ray cluster was lost {self._losses.pop(task)} times: {error.reason}"
                self._record(task, Failed(task.job.logo.digest, task.job.params, "died", detail, 0.0))
