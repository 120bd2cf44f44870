"""How many traces the agent needs, and every rival, on logos that nobody trained on; JSON on standard output.

`python -m benchmarks.bench_agent [--agent models/agent] [--objective faithful] [--logos 100] [--seeds 5]
[--methods a,b] [--rival-seeds 5] [--slow-seeds 1] [--slow-logos 100] [--markdown FILE] [--svgs FOLDER]
[--store FOLDER]`

The logos are those of TRACEWRIGHT_LOGOS, else ../shared/logos: another source than the samples of `make repro`. All
methods get the same images, objective, parameter space and fall-back (the default, whose trace is free for everyone).
The agent and the untrained one see their budget and run anew for each number of traces; the others run once with the
most and are read at fewer. Nothing is traced twice, so the seconds of a row depend on the rows before it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import numpy as np
from tqdm import tqdm

from benchmarks.agent_table import Row, Table, markdown
from benchmarks.logos import PROJECT, logo_files, logos_folder
from pipeline.agent.agent import DESCRIPTION, Agent, AgentProposer, load_agent
from pipeline.agent.episode import Episode
from pipeline.agent.objectives import Objective
from pipeline.agent.task import Task
from pipeline.core.errors import ImageRejected
from pipeline.core.files import read_json, write_text
from pipeline.core.intervals import Bootstrap
from pipeline.core.pixels import rgb_of
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, Logo, TracerParams
from pipeline.data.categories import categorise, category_of_folder
from pipeline.data.images import read_image
from pipeline.data.probe import measure
from pipeline.search.loop import Outcome, Proposer, evaluate_again, image_seed, run_searches, svg_text
from pipeline.search.rivals import CMAESSearch, FixedSequence, GPSearch, RandomSearch, TPESearch
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import Settings, load_settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import PRESETS
from pipeline.tracing.store_pool import stored_pool
from pipeline.tracing.tracer_pool import worker_count
from pipeline.vectorizing.batch import with_objective

TRACES = (1, 8, 16, 64)
POLYGON = replace(DEFAULT_PARAMS, mode="polygon")
PACKAGES = ("vtracer", "optuna", "cmaes", "torch", "numpy")
SVG_BATCH = 16
INFERENCE_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Method:
    """One way of choosing settings. make: a fresh search for a task and a seed.

    draws: differs from seed to seed. sees_budget: plays according to the traces it has. slow: proposing takes longer
    than tracing.
    """

    name: str
    label: str
    kind: str
    make: Callable[[Task, int], Proposer]
    draws: bool = False
    sees_budget: bool = False
    slow: bool = False


def methods(agent: Agent, settings: Settings) -> list[Method]:
    fresh = agent.greedy()
    startup = settings.evaluate.tpe_startup_trials
    return [
        Method("agent", "tracewright", "ours", lambda t, s: AgentProposer(agent), draws=True, sees_budget=True),
        Method("untrained", "untrained", "reference", lambda t, s: AgentProposer(fresh), True, True),
        Method(
            "fixed",
            "best fixed per category",
            "rival",
            lambda t, s: FixedSequence(agent.portfolio(t.logo.category)[:1]),
        ),
        Method(
            "portfolio", "portfolio per category", "rival", lambda t, s: FixedSequence(agent.portfolio(t.logo.category))
        ),
        Method("random", "random search", "rival", lambda t, s: RandomSearch(s), draws=True),
        Method("tpe", "Optuna TPE", "rival", lambda t, s: TPESearch(s, startup), draws=True),
        Method("gp", "Optuna GP", "rival", lambda t, s: GPSearch(s), draws=True, slow=True),
        Method("cmaes", "Optuna CMA-ES", "rival", lambda t, s: CMAESSearch(s), draws=True),
        *(_single(f"preset_{name}", f"VTracer preset {name}", params) for name, params in PRESETS.items()),
        _single("polygon", "default in polygons (another curve mode than is allowed)", POLYGON),
    ]


def _single(name: str, label: str, params: TracerParams) -> Method:
    return Method(name, label, "reference", lambda t, s: FixedSequence([params]))


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs methods on tasks for one objective; `on_traces` is told of traces made, or no longer to be made."""

    agent: Agent
    tasks: Sequence[Task]
    evaluator: Evaluator
    first_seed: int
    on_traces: Callable[[int], None]

    def row(self, method: Method, seeds: int, logos: int) -> Row:
        """Seeds follow `first_seed`; `logos` are the first ones."""
        tasks = self.tasks[:logos]
        started = time.perf_counter()
        values = np.zeros((seeds, len(tasks), len(TRACES)))
        worse = np.zeros(len(tasks), dtype=np.bool_)
        failures = 0
        for seed in range(seeds):
            for outcomes, columns in self._runs(method, tasks, self.first_seed + seed):
                values[seed][:, columns] = [[o.value_at(TRACES[c]) for c in columns] for o in outcomes]
                worse |= [_is_worse(o, self.agent.objective) for o in outcomes]
                failures += sum(len(o.failures) for o in outcomes)
        seconds = time.perf_counter() - started
        return Row(method.name, method.label, method.kind, values, seconds, failures, int(worse.sum()))

    def _runs(self, method: Method, tasks: Sequence[Task], seed: int) -> list[tuple[list[Outcome], list[int]]]:
        """Outcomes, and for which of TRACES they stand."""
        if not method.sees_budget:
            return [(self.search(method, tasks, seed, max(TRACES)), list(range(len(TRACES))))]
        return [(self.search(method, tasks, seed, n), [column]) for column, n in enumerate(TRACES)]

    def _start(self, method: Method, task: Task, traces: int, seed: int) -> tuple[Episode, Proposer]:
        return self.agent.episode(task, traces, seed, screened=method.sees_budget), method.make(task, seed)

    def search(self, method: Method, tasks: Sequence[Task], seed: int, traces: int) -> list[Outcome]:
        searches = [self._start(method, task, traces, image_seed(seed, task)) for task in tasks]
        outcomes = run_searches(searches, self.evaluator, on_traces=self.on_traces)
        self.on_traces(sum(traces - len(outcome.values) for outcome in outcomes))
        return outcomes


def _is_worse(outcome: Outcome, objective: Objective) -> bool:
    """Whether anything that was ever chosen does not hold when it is valued again."""
    default = outcome.task.scores
    chosen = {id(best): best for best in outcome.bests if best is not None}.values()
    values = [objective.value(best.params, best.scores, default) for best in chosen]
    return any(value is None or value < 0 for value in values)


def write_svgs(outcomes: Sequence[Outcome], evaluator: Evaluator, folder: Path) -> None:
    """FOLDER/<folder of the image>/<name>.svg of what was chosen, traced once more: searches keep no SVG."""
    for start in range(0, len(outcomes), SVG_BATCH):
        places = [(outcome, max(TRACES)) for outcome in outcomes[start : start + SVG_BATCH]]
        for (outcome, _), scored in zip(places, evaluate_again(places, evaluator, keep_svg=True), strict=True):
            write_text(folder / f"{outcome.task.logo.name}.svg", svg_text(scored))


def unseen_logos(count: int, settings: Settings) -> list[Logo]:
    """The first `count` usable logos, named by folder and stem. Raises SystemExit without a folder of logos.

    The packaged logos that other benchmarks fall back to are what `make repro` trains on.
    """
    logos_folder()
    found = (_read(path, settings) for path in logo_files())
    return list(islice((logo for logo in found if logo is not None), count))


def _read(path: Path, settings: Settings) -> Logo | None:
    try:
        rgba = read_image(path, settings.data)
    except ImageRejected:
        return None
    category = category_of_folder(path, settings.data.folders) or categorise(measure(rgba))[0]
    return Logo.of(f"{path.parent.name}/{path.stem}", rgba, category)


def inference_milliseconds(agent: Agent, tasks: Sequence[Task]) -> float:
    """Median over images of one proposal without its trace: image measured, observed, policy asked."""
    return 1000 * float(np.median([_inference_seconds(agent, t) for t in tasks for _ in range(INFERENCE_ROUNDS)]))


def _inference_seconds(agent: Agent, task: Task) -> float:
    rgba, background = task.logo.rgba, rgb_of(agent.background)
    started = time.perf_counter()
    seen = replace(task, measures=measure(rgba, background).as_array())
    AgentProposer(agent).propose(agent.episode(seen, 1))
    return time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for. methods: names, or none for all.

    rival_seeds: of methods that draw, other than ours. slow_seeds, slow_logos: of methods that propose slowly.
    """

    logos: int
    seeds: int
    rival_seeds: int
    slow_seeds: int
    slow_logos: int
    methods: Sequence[str]
    svgs: Path | None
    store: Path | None

    def chosen(self, every: Sequence[Method]) -> list[Method]:
        unknown = set(self.methods) - {method.name for method in every}
        if unknown:
            raise SystemExit(f"{', '.join(sorted(unknown))}: no such method; {', '.join(m.name for m in every)} are")
        return [method for method in every if not self.methods or method.name in self.methods]

    def seeds_of(self, method: Method) -> int:
        if not method.draws:
            return 1
        if method.slow:
            return min(self.slow_seeds, self.seeds)
        return self.seeds if method.kind == "ours" else self.rival_seeds

    def logos_of(self, method: Method, available: int) -> int:
        return min(self.slow_logos, available) if method.slow else available

    def traces_of(self, method: Method, available: int) -> int:
        """At most, of all its searches."""
        budget = sum(TRACES) if method.sees_budget else max(TRACES)
        return budget * self.seeds_of(method) * self.logos_of(method, available)


def compare(agent: Agent, tasks: Sequence[Task], evaluator: Evaluator, settings: Settings, plan: Plan) -> Table:
    """All rows for the agent's objective; the SVGs of its first seed are written."""
    chosen = plan.chosen(methods(agent, settings))
    total = sum(plan.traces_of(method, len(tasks)) for method in chosen)
    total += max(TRACES) * len(tasks) * (plan.svgs is not None)
    rows = []
    with tqdm(total=total, unit="trace", desc=agent.objective.name, file=sys.stderr, mininterval=5) as bar:
        runner = Runner(agent, tasks, evaluator, settings.evaluate.seed, partial(_advance, bar))
        for method in chosen:
            bar.set_postfix_str(method.label)
            rows.append(runner.row(method, plan.seeds_of(method), plan.logos_of(method, len(tasks))))
        if plan.svgs is not None:
            outcomes = runner.search(methods(agent, settings)[0], tasks, settings.evaluate.seed, max(TRACES))
            write_svgs(outcomes, evaluator, plan.svgs)
    bootstrap = Bootstrap(settings.evaluate.bootstrap_samples, settings.evaluate.confidence, settings.evaluate.seed)
    return Table(rows, TRACES, [task.logo.category for task in tasks], bootstrap)


def _advance(bar: tqdm[NoReturn], traces: int) -> None:
    bar.update(traces)


def run(folder: Path, objectives: Sequence[str], plan: Plan) -> dict[str, Any]:
    """The whole report, see `markdown` for what it says."""
    settings = load_settings(PROJECT / "params.yaml")
    trained = load_agent(folder)
    names = objectives or [trained.objective.name]
    with ExitStack() as stack:
        root = plan.store or Path(stack.enter_context(TemporaryDirectory()))
        evaluator = stack.enter_context(stored_pool(root, settings.compute, trained.background))
        tasks, failures = make_tasks(unseen_logos(plan.logos, settings), evaluator, trained.background)
        report = _about(folder, tasks, settings) | {
            "left_out": [logo.name for logo, _ in failures],
            "inference_milliseconds": round(inference_milliseconds(trained, tasks), 2),
        }
        tables = {
            name: compare(with_objective(trained, name, None), tasks, evaluator, settings, _for(plan, name, names))
            for name in names
        }
        report |= {"evaluations": evaluator.summary()}
    return report | {"objectives": {name: table.to_json() for name, table in tables.items()}}


def _for(plan: Plan, objective: str, objectives: Sequence[str]) -> Plan:
    """With several objectives, each has a folder of its own."""
    shared = plan.svgs is None or len(objectives) == 1
    return plan if shared or plan.svgs is None else replace(plan, svgs=plan.svgs / objective)


def _about(folder: Path, tasks: Sequence[Task], settings: Settings) -> dict[str, Any]:
    return {
        "benchmark": "agent",
        "command": " ".join(["python -m benchmarks.bench_agent", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "workers": worker_count(settings.compute.workers),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "agent_sha256": read_json(folder / DESCRIPTION, "make repro")["weights_sha256"],
        "logos": len(tasks),
        "categories": dict(Counter(task.logo.category for task in tasks)),
        "first_seed": settings.evaluate.seed,
        "traces": list(TRACES),
        "confidence": settings.evaluate.confidence,
        "bootstrap_samples": settings.evaluate.bootstrap_samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=Path, default=Path("models/agent"), help="folder of a trained agent")
    parser.add_argument("--objective", action="append", default=[], choices=OBJECTIVES, help="may be given again")
    parser.add_argument("--logos", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5, help="runs of each method that draws at random")
    parser.add_argument("--rival-seeds", type=int, help="the same for all but the agent; as many as --seeds without it")
    parser.add_argument("--slow-seeds", type=int, default=1, help="the same for methods that propose slowly: gp")
    parser.add_argument("--slow-logos", type=int, help="these get the first logos only")
    parser.add_argument("--methods", default="", help="names with commas between; all without it")
    parser.add_argument("--svgs", type=Path, help="write the agent's SVGs at the most traces, first seed")
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    parser.add_argument("--store", type=Path, help="keep the evaluations there, for another run to find")
    given = parser.parse_args()
    names = [name for name in given.methods.split(",") if name]
    slow_logos = given.slow_logos or given.logos
    rival_seeds = given.rival_seeds or given.seeds
    plan = Plan(given.logos, given.seeds, rival_seeds, given.slow_seeds, slow_logos, names, given.svgs, given.store)
    report = run(given.agent, given.objective, plan)
    if given.markdown:
        write_text(given.markdown, markdown(report))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
