"""An agent's search as `vectorize` and training run it, against VTracer alone on exactly what the search asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evaluate_random import WORKERS, Watch
from benchmarks.interleaved import Block, interleave
from benchmarks.jobs import pool_of
from benchmarks.searches import GROUP, TRACES, Recorder, groups_and_agent, ready_tasks
from benchmarks.vtracer_alone import VTracerAlone, ready
from pipeline.agent.agent import Agent
from pipeline.agent.task import Task
from pipeline.core.records import Logo
from pipeline.search.loop import run_agent
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.tracer_pool import TracerPool

RATIOS = [
    ("search_2", "vtracer_alone_2", 0.85),
    ("search_2", "search_1", 1.8),
    ("vtracer_alone_2", "vtracer_alone_1", None),
]


def measure_search(blocks: int, space: ParameterSpace, folder: Path | None, name: str, watch: Watch) -> dict[str, Any]:
    """Blocks of 16 logos that no pool has seen but for the default's trace; 8 traces of each."""
    groups, agent = groups_and_agent(blocks + 1, space, folder)
    with ExitStack() as stack:
        alone = {n: stack.enter_context(VTracerAlone(n)) for n in WORKERS}
        pools = {n: stack.enter_context(pool_of(n)) for n in WORKERS}
        scout = stack.enter_context(pool_of(2))
        work = _blocks(groups, agent, scout, pools, alone)
        timings = interleave(watch(work, name, blocks + 1))
    return {
        "blocks": blocks,
        "logos_per_block": GROUP,
        "traces_per_logo": TRACES,
        "agent": str(folder) if folder else "untrained",
        "rows": timings.rows_json(),
        "ratios": timings.ratios_json(RATIOS),
        "identical": timings.results["search_1"] == timings.results["search_2"],
    }


def _blocks(
    groups: Sequence[Sequence[Logo]],
    agent: Agent,
    scout: TracerPool,
    pools: dict[int, TracerPool],
    alone: dict[int, VTracerAlone],
) -> Iterator[Block[Any]]:
    """What a search will ask for is found out on a pool of its own, so that the timed ones do not know it."""
    for seed, logos in enumerate(groups):
        recorder = Recorder(scout)
        _search(agent, ready_tasks(logos, scout), recorder, seed)
        encoded = ready(recorder.jobs)
        rows: dict[str, Callable[[], Any]] = {
            f"vtracer_alone_{n}": processes.load({"all": encoded})["all"] for n, processes in alone.items()
        }
        rows |= {f"search_{n}": partial(_search, agent, ready_tasks(logos, p), p, seed) for n, p in pools.items()}
        yield Block(len(encoded), rows)


def _search(agent: Agent, tasks: Sequence[Task], evaluator: Evaluator, seed: int) -> list[list[float]]:
    """The best value after each trace, image by image."""
    return [outcome.values for outcome in run_agent(agent, tasks, evaluator, traces=TRACES, seed=seed)]
