"""A sharded run: any number of files, on all cores or a cluster, resumable at any shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

from pipeline.core.errors import Mismatch, SettingsError, Stopped, StorageError, TracewrightError
from pipeline.core.files import whole, write_json
from pipeline.core.locks import Lock
from pipeline.core.stop_signals import stop_request
from pipeline.settings.params import Backend
from pipeline.tracing.tracer_pool import worker_count
from pipeline.vectorizing.batch import RESULTS
from pipeline.vectorizing.inputs import Inputs
from pipeline.vectorizing.plan import PARTS, Plan, check_same, make_folders, open_plan, write_plan
from pipeline.vectorizing.request import SHARD_FILES, Assignment, Request
from pipeline.vectorizing.shard import visible_plan
from pipeline.vectorizing.shard_pool import ShardPool, ShardProgress
from pipeline.vectorizing.table import Tally, read_results, read_tally

SUMMARY = "summary.json"
LOCK = ".lock"


class ShardCallback:
    """Callbacks of a sharded run; these do nothing."""

    def on_plan(self, plan: Plan, done: int) -> None:
        """done: shards that are done already."""

    def on_progress(self, progress: ShardProgress) -> None: ...


def vectorize_sharded(
    request: Request, inputs: Inputs | None, progress: ShardCallback, *, backend: Backend = "local", workers: int = 0
) -> Tally:
    """Vectorises the shards that a plan still lacks, writing the plan first if there is none; returns sums over all.

    inputs: None resumes an existing plan. workers: shard processes on this machine; 0 is one per core.
    Raises SettingsError without inputs and plan, Mismatch when the existing plan is of something else, Unavailable
    when another process works on it, DataError, StorageError, and Stopped when a signal asks for it.
    """
    with stop_request() as stop, Lock(request.output, LOCK):
        make_folders(request.output)
        plan = _plan(request, inputs, stop.check)
        missing = plan.missing()
        progress.on_plan(plan, plan.shards - len(missing))
        assignment = Assignment.of(request, plan.digest)
        work = _on_ray if backend == "ray" else _here
        try:
            if missing:
                for step in work(assignment, plan, missing, workers, stop.check):
                    progress.on_progress(step)
        except Stopped as stopped:
            done = f"{plan.shards - len(plan.missing())} of {plan.shards} shards are done"
            raise Stopped(f"{stopped}: {done}; give the same command again to do the others") from stopped
        return _summarise(plan)


def _plan(request: Request, inputs: Inputs | None, check_stop: Callable[[], None]) -> Plan:
    conditions = request.conditions()
    plan = open_plan(request.output)
    if plan is not None:
        given = inputs.described() if inputs else {k: plan.asked.get(k) for k in ("inputs", "list_sha256")}
        check_same(plan, conditions | {name: value for name, value in given.items() if value is not None})
        if request.shard_files not in (None, plan.shard_files):
            differs = f"shard_files was {plan.shard_files} and is {request.shard_files}"
            raise Mismatch(f"{request.output}: was begun with something else: {differs}; give the same, or another -o")
        return plan
    if inputs is None:
        raise SettingsError(f"{request.output}: has no plan to resume; name images, folders or --files-from")
    return write_plan(request.output, inputs, conditions, request.shard_files or SHARD_FILES, check_stop)


def _here(
    assignment: Assignment, plan: Plan, shards: list[int], workers: int, check_stop: Callable[[], None]
) -> Iterator[ShardProgress]:
    with ShardPool(plan, assignment, min(worker_count(workers), len(shards)), check_stop) as pool:
        yield from pool.run(shards)


def _on_ray(
    assignment: Assignment, plan: Plan, shards: list[int], workers: int, check_stop: Callable[[], None]
) -> Iterator[ShardProgress]:
    from pipeline.core import cluster

    with cluster.connect(workers) as joined:
        orders = ((assignment, shard) for shard in shards)
        for (_, shard), tally in joined.map_unordered(vectorize_shard, orders, check_stop=check_stop):
            yield ShardProgress(shard, tally.files, tally)


def vectorize_shard(order: tuple[Assignment, int]) -> Tally:
    """One shard on a machine of a cluster, in a process below this one that may die; kept for the next shard."""
    assignment, shard = order
    try:
        [tally] = [step.tally for step in _pool(assignment).run([shard]) if step.tally is not None]
    except TracewrightError:
        _pool.cache_clear()  # the next order must not meet processes that ended with this one
        raise
    return tally


@cache
def _pool(assignment: Assignment) -> ShardPool:
    return ShardPool(visible_plan(assignment), assignment, 1)


def _summarise(plan: Plan) -> Tally:
    """Sums over all parts, summary.json beside them, and results.jsonl. Raises DataError when a part is damaged."""
    tally = read_tally(plan.part(shard) for shard in range(plan.shards))
    if tally.files != plan.files:
        raise StorageError(
            f"{plan.output / PARTS}: holds {tally.files} rows of {plan.files}; delete what is not this run's"
        )
    with whole(plan.output / RESULTS) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(result.to_line() for shard in range(plan.shards) for result in read_results(plan.part(shard)))
    write_json(plan.output / PARTS / SUMMARY, summary_of(plan, tally))
    return tally


def summary_of(plan: Plan, tally: Tally) -> dict[str, Any]:
    """What summary.json holds."""
    ratio = tally.bytes / tally.default_bytes if tally.default_bytes else None
    return {
        "files": plan.files,
        "shards": plan.shards,
        **asdict(tally),
        "bytes_ratio": ratio,
        "asked": dict(plan.asked),
    }
