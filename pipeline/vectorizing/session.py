"""A sharded run: any number of files, by all cores or a cluster, gone on with where it was left."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.agent.agent import DESCRIPTION, load_agent
from pipeline.core.errors import SettingsError, Stopped, StorageError, TracewrightError
from pipeline.core.files import write_json
from pipeline.core.locks import Lock
from pipeline.core.stop_signals import stop_request
from pipeline.settings.params import Backend
from pipeline.tracing.evaluation import evaluation_versions
from pipeline.tracing.raster import DRAWINGS
from pipeline.tracing.tracer_pool import worker_count
from pipeline.vectorizing.batch import with_objective
from pipeline.vectorizing.crew import Crew, Done
from pipeline.vectorizing.inputs import Inputs
from pipeline.vectorizing.plan import RESULTS, Plan, check_same, make_folders, open_plan, write_plan
from pipeline.vectorizing.shard import Assignment, visible_plan
from pipeline.vectorizing.table import Tally, read_tally

SUMMARY = "summary.json"
LOCK = ".lock"
SHARD_FILES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a sharded run is asked for. agent: its folder. objective, target: None for the agent's own."""

    output: Path
    agent: Path
    objective: str | None
    target: float | None
    traces: int
    seed: int
    shard_files: int = SHARD_FILES

    def asked(self) -> dict[str, Any]:
        """All that decides what the results are, beside the files."""
        agent = with_objective(load_agent(self.agent), self.objective, self.target)
        return {
            "model_sha256": hashlib.sha256((self.agent / DESCRIPTION).read_bytes()).hexdigest(),
            "objective": asdict(agent.objective),
            "traces": self.traces,
            "seed": self.seed,
            "versions": evaluation_versions(agent.background, next(iter(DRAWINGS))),
        }

    def assignment(self, plan: Plan) -> Assignment:
        return Assignment(
            output=str(self.output.resolve()),
            digest=plan.digest,
            agent=str(self.agent.resolve()),
            objective=self.objective,
            target=self.target,
            traces=self.traces,
            seed=self.seed,
        )


class Progress:
    """Told of what happens; does nothing."""

    def on_plan(self, plan: Plan, done: int) -> None:
        """done: shards that are done already."""

    def on_done(self, done: Done) -> None: ...


def vectorize_sharded(
    request: Request, inputs: Inputs | None, progress: Progress, *, backend: Backend = "local", workers: int = 0
) -> Tally:
    """Do what is not done of a plan, making it where there is none; sums over all of it.

    inputs: None goes on with the plan that is there. workers: shard processes on this machine; 0 is one per core.
    Raises SettingsError without inputs and plan, Mismatch when the plan there is of something else, Unavailable when
    another process is at it, DataError, StorageError, and Stopped when a signal asks for it.
    """
    with stop_request() as stop, ExitStack() as stack:
        stack.callback(Lock(request.output, LOCK).release)
        make_folders(request.output)
        plan = _plan(request, inputs, stop.check)
        missing = plan.missing()
        progress.on_plan(plan, plan.shards - len(missing))
        work = _on_ray if backend == "ray" else _here
        try:
            if missing:
                for done in work(request, plan, missing, workers, stop.check):
                    progress.on_done(done)
        except Stopped as stopped:
            left = len(plan.missing())
            kept = f"{plan.shards - left} of {plan.shards} shards are done"
            raise Stopped(f"{stopped}: {kept}; the same command goes on with the others") from stopped
        return _summarised(plan)


def _plan(request: Request, inputs: Inputs | None, check_stop: Callable[[], None]) -> Plan:
    asked = request.asked()
    plan = open_plan(request.output)
    if plan is not None:
        described = inputs.described() if inputs else {k: plan.asked.get(k) for k in ("inputs", "list_sha256")}
        check_same(plan, asked | {name: value for name, value in described.items() if value is not None})
        return plan
    if inputs is None:
        raise SettingsError(f"{request.output}: nothing was begun there; name images, folders or --files-from")
    return write_plan(request.output, inputs, asked, request.shard_files, check_stop)


def _here(
    request: Request, plan: Plan, shards: list[int], workers: int, check_stop: Callable[[], None]
) -> Iterator[Done]:
    count = min(worker_count(workers), len(shards))
    with Crew(plan, request.assignment(plan), count, check_stop) as crew:
        yield from crew.run(shards)


def _on_ray(
    request: Request, plan: Plan, shards: list[int], workers: int, check_stop: Callable[[], None]
) -> Iterator[Done]:
    from pipeline.core import cluster

    assignment = request.assignment(plan)
    with cluster.joined(workers) as joined:
        orders = ((assignment, shard) for shard in shards)
        for (_, shard), tally in joined.map_unordered(do_shard, orders, check_stop=check_stop):
            yield Done(shard, tally.files, tally)


def do_shard(order: tuple[Assignment, int]) -> Tally:
    """One shard on a machine of a cluster, in a process below this one that may die; kept for the next shard."""
    assignment, shard = order
    try:
        [tally] = [done.tally for done in _crew(assignment).run([shard]) if done.tally is not None]
    except TracewrightError:
        _crew.cache_clear()  # The next order shall not meet processes that have ended with this one.
        raise
    return tally


@cache
def _crew(assignment: Assignment) -> Crew:
    return Crew(visible_plan(assignment), assignment, 1)


def _summarised(plan: Plan) -> Tally:
    """Sums over all parts, and results/summary.json. Raises DataError when a part is damaged."""
    tally = read_tally(plan.part(shard) for shard in range(plan.shards))
    if tally.files != plan.files:
        raise StorageError(f"{plan.output / RESULTS}: holds {tally.files} rows of {plan.files}; delete what is foreign")
    ratio = tally.bytes / tally.default_bytes if tally.default_bytes else None
    write_json(
        plan.output / RESULTS / SUMMARY,
        {"files": plan.files, "shards": plan.shards, **asdict(tally), "bytes_ratio": ratio, "asked": dict(plan.asked)},
    )
    return tally
