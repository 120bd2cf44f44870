"""Several methods on the same logos through an empty store, as `evaluate` runs them: much is asked for twice.

A search repeats itself: all budgets begin with the same shortlist, the best fixed setting is the first of the
portfolio, and settings that differ only in what is inactive are one setting. VTracer alone must trace every one that
was asked for. `first` is a comparison on an empty store; `again` is the next one, with another agent and the same
rivals, as after a change of a training setting.
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
from pipeline.agent.agent import Agent
from pipeline.agent.task import Task
from pipeline.core.records import Job, Logo
from pipeline.evaluation.comparison import Method, methods, run_method
from pipeline.settings.params import EvaluateSettings, load_settings
from pipeline.tracing.evaluation_store import EvaluationStore
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import ParameterSpace, essential
from pipeline.tracing.store_pool import StoredEvaluator
from pipeline.tracing.tracer_pool import TracerPool
from tests.support.fakes import random_policy

BUDGETS = {"agent": (1, 2, 4, 8), "portfolio": (16,), "fixed": (1,), "random": (16,)}
STORE_BYTES = 500_000_000
POLICY_SCALE = 1.4  # enough for another choice at about every other step
RATIOS = [
    ("first", "vtracer_alone_first", 1.0),
    ("again", "vtracer_alone_again", 1.0),
    ("first_without_store", "vtracer_alone_first", None),
    ("first", "first_without_store", None),
]


def measure_stored(blocks: int, folder: Path | None, watch: Watch) -> dict[str, Any]:
    """Blocks of 16 logos that no pool has seen but for the default's trace; a new store for each."""
    groups, agent = groups_and_agent(blocks + 1, fixed_prescale_space(1.0), folder)
    counts: dict[str, list[Asked]] = {"first": [], "again": []}
    with ExitStack() as stack:
        alone = stack.enter_context(VTracerAlone(2))
        pools = Pools(*(stack.enter_context(pool_of(2)) for _ in range(3)))
        root = Path(stack.enter_context(TemporaryDirectory()))
        work = _blocks(groups, Comparison.of(agent), Comparison.of(another(agent)), pools, alone, counts, root)
        timings = interleave(watch(work, "effective", blocks + 1))
    return {
        "blocks": blocks,
        "logos_per_block": GROUP,
        "budgets": BUDGETS,
        "agent": str(folder) if folder else "untrained",
        "rows": timings.rows_json(),
        "ratios": timings.ratios_json(RATIOS),
        "identical": timings.results["first"] == timings.results["first_without_store"],
        "shares": {name: shares(asked[1:]) for name, asked in counts.items()},
    }


def another(agent: Agent) -> Agent:
    """With the same surrogate and another policy, as a training with other settings of PPO would give."""
    return replace(agent, policy=random_policy(POLICY_SCALE))


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
    """The methods that are run on every logo, one after the other.

    wide: for random search, which asks an agent for nothing but its space; the surrogate does not know this one.
    """

    agent: Agent
    wide: Agent
    methods: Sequence[Method]
    settings: EvaluateSettings

    @classmethod
    def of(cls, agent: Agent) -> Comparison:
        settings = load_settings(PROJECT / "params.yaml").evaluate
        wide = replace(agent, screen=replace(agent.screen, space=wide_space()))
        return cls(agent, wide, [m for m in methods(agent, settings) if m.name in BUDGETS], settings)

    def run(self, tasks: Sequence[Task], evaluator: Evaluator) -> list[list[float]]:
        """The best value after each trace, method by method, image by image."""
        runs = [
            run_method(method, self._searcher(method), tasks, evaluator, self._settings(method))
            for method in self.methods
        ]
        return [outcome.values for run in runs for outcome in run]

    def _settings(self, method: Method) -> EvaluateSettings:
        return self.settings.model_copy(update={"traces": BUDGETS[method.name]})

    def run_stored(self, tasks: Sequence[Task], pool: TracerPool, path: Path, counts: Asked) -> list[list[float]]:
        """The same through a store; opening and closing it are part of it."""
        with EvaluationStore(path, STORE_BYTES, pool.versions) as store:
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
        "mode": {"choices": ["spline", "polygon", "none"]},
        "colormode": {"choices": ["color", "binary"]},
    }
    return ParameterSpace.from_json(fixed_prescale_space(1.0).to_json() | words)


def _blocks(
    groups: Sequence[Sequence[Logo]],
    first: Comparison,
    again: Comparison,
    pools: Pools,
    alone: VTracerAlone,
    counts: dict[str, list[Asked]],
    root: Path,
) -> Iterator[Block[Any]]:
    """What will be asked for is found out on a pool of its own; the store that `again` finds is filled there too."""
    for number, logos in enumerate(groups):
        scouted = ready_tasks(logos, pools.scout)
        jobs = {name: _asked_by(run, scouted, pools.scout, counts[name]) for name, run in _named(first, again)}
        new, known = root / f"{number}-new.sqlite", root / f"{number}-known.sqlite"
        first.run_stored(scouted, pools.scout, known, Asked(0, 0))
        traced = alone.load({name: ready(asked) for name, asked in jobs.items()})
        bare, stored = ready_tasks(logos, pools.bare), ready_tasks(logos, pools.stored)
        rows: dict[str, Callable[[], Any]] = {f"vtracer_alone_{name}": run for name, run in traced.items()}
        rows |= {
            "first_without_store": partial(first.run, bare, pools.bare),
            "first": partial(first.run_stored, stored, pools.stored, new, counts["first"][-1]),
            "again": partial(again.run_stored, stored, pools.stored, known, counts["again"][-1]),
        }
        yield Block(len(jobs["first"]), rows)


def _named(first: Comparison, again: Comparison) -> list[tuple[str, Comparison]]:
    return [("first", first), ("again", again)]


def _asked_by(comparison: Comparison, tasks: Sequence[Task], scout: TracerPool, counts: list[Asked]) -> list[Job]:
    recorder = Recorder(scout)
    comparison.run(tasks, recorder)
    counts.append(Asked(len(recorder.jobs), sum(map(_repeats, recorder.batches))))
    return recorder.jobs


def _repeats(batch: Sequence[Job]) -> int:
    return len(batch) - len({(job.logo.digest, essential(job.params)) for job in batch})
