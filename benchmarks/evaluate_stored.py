"""Several methods on the same logos through an empty store, as `evaluate` runs them: much is asked for twice.

A search repeats itself: budgets share their openings, the best fixed setting is the first of the portfolio, and
settings that differ only in what is inactive are one setting. VTracer alone must trace every one that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.evaluate_random import Watch
from benchmarks.interleaved import Block, interleave
from benchmarks.jobs import fixed_prescale_space, pool_of
from benchmarks.logos import PROJECT
from benchmarks.searches import GROUP, Recorder, groups_and_agent, ready_tasks
from benchmarks.vtracer_alone import VTracerAlone, ready
from pipeline.records import Job, Logo
from pipeline.rl.agent import Agent
from pipeline.rl.episode import Task
from pipeline.search.compare import Method, methods, run_method
from pipeline.settings import Choices, load_settings
from pipeline.tracing.space import ParameterSpace, essential
from pipeline.tracing.store import EvaluationStore
from pipeline.tracing.stored import StoredEvaluator
from pipeline.tracing.workers import Evaluator, TracerPool

BUDGETS = {"agent": (1, 2, 4, 8), "portfolio": (16,), "fixed": (1,), "random": (16,)}
STORE_BYTES = 500_000_000
RATIOS = [
    ("methods_stored", "vtracer_alone_2", 1.0),
    ("methods_without_store", "vtracer_alone_2", None),
    ("methods_stored", "methods_without_store", None),
]


def measure_stored(blocks: int, folder: Path | None, watch: Watch) -> dict[str, Any]:
    """Blocks of 16 logos that no pool has seen but for the default's trace; a new store for each."""
    groups, agent = groups_and_agent(blocks + 1, fixed_prescale_space(1.0), folder)
    asked: list[Asked] = []
    with ExitStack() as stack:
        alone = stack.enter_context(VTracerAlone(2))
        pools = Pools(*(stack.enter_context(pool_of(2)) for _ in range(3)))
        work = _blocks(groups, Comparison.of(agent), pools, alone, asked)
        timings = interleave(watch(work, "effective", blocks + 1))
    return {
        "blocks": blocks,
        "logos_per_block": GROUP,
        "budgets": BUDGETS,
        "agent": str(folder) if folder else "untrained",
        "rows": timings.rows_json(),
        "ratios": timings.ratios_json(RATIOS),
        "identical": timings.results["methods_stored"] == timings.results["methods_without_store"],
        "shares": shares(asked[1:]),
    }


@dataclass(frozen=True, slots=True)
class Pools:
    """scout: finds out what will be asked for. stored: behind the store. bare: without one."""

    scout: TracerPool
    stored: TracerPool
    bare: TracerPool


@dataclass(slots=True)
class Asked:
    """Of one block. asked: evaluations. twice_at_once: repeats within one batch. found: all that needed no trace."""

    asked: int
    twice_at_once: int
    found: int = 0


def shares(blocks: Sequence[Asked]) -> dict[str, float]:
    """Of what was asked for, 0 to 1."""
    asked, at_once, found = (sum(getattr(b, name) for b in blocks) for name in ("asked", "twice_at_once", "found"))
    return {
        "found_in_store": round((found - at_once) / asked, 4),
        "found_in_same_batch": round(at_once / asked, 4),
        "traced": round(1 - found / asked, 4),
    }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The methods that are run on every logo, one after the other."""

    agent: Agent
    wide: Agent
    methods: Sequence[Method]

    @classmethod
    def of(cls, agent: Agent) -> Comparison:
        settings = load_settings(PROJECT / "params.yaml")
        ppo = settings.train.ppo
        every = methods(agent, settings.evaluate, ppo.initial_std, ppo.hidden_units)
        return cls(agent, replace(agent, space=wide_space()), [m for m in every if m.name in BUDGETS])

    def run(self, tasks: Sequence[Task], evaluator: Evaluator) -> list[list[float]]:
        """The best value after each trace, method by method, image by image."""
        runs = [
            run_method(method, self._searcher(method), tasks, evaluator, BUDGETS[method.name])
            for method in self.methods
        ]
        return [outcome.values for run in runs for outcome in run]

    def run_stored(self, tasks: Sequence[Task], pool: TracerPool, counts: Asked) -> list[list[float]]:
        """The same through a store that is empty at first; opening and closing it are part of it."""
        with (
            TemporaryDirectory() as folder,
            EvaluationStore(Path(folder) / "evaluations.sqlite", STORE_BYTES, pool.versions) as store,
        ):
            stored = StoredEvaluator(pool, store)
            values = self.run(tasks, stored)
            counts.found = stored.found
        return values

    def _searcher(self, method: Method) -> Agent:
        """Random search has the words to choose as well; the others keep to the settings they have found."""
        return self.wide if method.name == "random" else self.agent


def wide_space() -> ParameterSpace:
    """With the words that make other parameters inactive: no splines, no curves; binary, no colours."""
    words = {
        "mode": Choices(choices=("spline", "polygon", "none")),
        "colormode": Choices(choices=("color", "binary")),
    }
    return ParameterSpace.from_settings(fixed_prescale_space(1.0).freedoms.model_copy(update=words))


def _blocks(
    groups: Sequence[Sequence[Logo]], comparison: Comparison, pools: Pools, alone: VTracerAlone, asked: list[Asked]
) -> Iterator[Block[Any]]:
    for logos in groups:
        recorder = Recorder(pools.scout)
        comparison.run(ready_tasks(logos, pools.scout), recorder)
        jobs = recorder.jobs
        asked.append(Asked(len(jobs), sum(map(_repeats, recorder.batches))))
        bare, stored = ready_tasks(logos, pools.bare), ready_tasks(logos, pools.stored)
        rows: dict[str, Callable[[], Any]] = {
            "vtracer_alone_2": alone.load({"all": ready(jobs)})["all"],
            "methods_without_store": partial(comparison.run, bare, pools.bare),
            "methods_stored": partial(comparison.run_stored, stored, pools.stored, asked[-1]),
        }
        yield Block(len(jobs), rows)


def _repeats(batch: Sequence[Job]) -> int:
    return len(batch) - len({(job.logo.digest, essential(job.params)) for job in batch})
