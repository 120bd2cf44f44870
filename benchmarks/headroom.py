"""What a better choice of settings could still win over greedy expected improvement; JSON on standard output.

    python -m benchmarks.headroom LOGOS [--model FOLDER] [--logos N] --store FOLDER

Each logo gets a table of traces: 64 of greedy expected improvement, the portfolio of its category, the whole of the
first shortlist, and the first 24 settings that were the best on some training image. By number of traces:

greedy            expected improvement, the most promising candidate each time.
portfolio         the fixed sequence of the category, found on training images.
hindsight         the best fixed sequence of those 24 settings, found on these very logos.
shortlist_oracle  the truly best of the first shortlist: perfect knowledge of what is offered at the first trace.
oracle            the best of the table: perfect knowledge of everything.

`gain` is the mean difference in value to greedy, each logo's within +-1, with its interval over logos; `missed` the
share of logos where it is more than 0.02, `leaps` where it is 1, which is nearly always a trace without visible damage
that greedy did not find.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.masters.__main__ import logo_files, read_logo
from pipeline.agent.agent import TRAINED, Agent, load_agent
from pipeline.agent.objectives import value_of
from pipeline.agent.task import Task
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import Evaluation, Job, TracerParams
from pipeline.search.loop import image_seed, run_agent
from pipeline.search.portfolio import greedy_portfolio
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import load_settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.store_pool import stored_pool

TRACES = (1, 2, 4, 8, 16, 32, 64)
COMMON = 24
BOOTSTRAP = Bootstrap(2000, 0.95)

Curves = NDArray[np.float64]  # best value after each of TRACES, (logos, len(TRACES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="LOGOS", help="category folders of PNGs beside masters/")
    parser.add_argument("--model", type=Path, default=TRAINED)
    parser.add_argument("--logos", type=int, default=5, help="of each category; 0 for all")
    parser.add_argument("--store", type=Path, required=True, help="folder that keeps the traces for another run")
    given = parser.parse_args()
    agent = load_agent(given.model).greedy()
    logos = [read_logo(file) for file in logo_files(given.root, given.logos)]
    with stored_pool(given.store, load_settings(Path("params.yaml")).compute, agent.background) as pool:
        tasks, _ = make_tasks(logos, pool, agent.background)
        report = {"benchmark": "headroom", "logos": len(tasks), "policies": headroom(agent, tasks, pool)}
    print(json.dumps(report, indent=2))


def headroom(agent: Agent, tasks: Sequence[Task], evaluator: Evaluator) -> dict[str, list[dict[str, Any]]]:
    searches = run_agent(agent, tasks, evaluator, traces=max(TRACES), seed=0)
    greedy = [np.array(outcome.values) for outcome in searches]
    common = [agent.space.decode(point) for point in agent.screen.banks[agent.objective.name][:COMMON]]
    shortlists = [agent.episode(task, 1, image_seed(0, task)).shortlist.params for task in tasks]
    portfolio = [values(agent, t, agent.portfolio(t.logo.category), evaluator) for t in tasks]
    shared = np.array([values(agent, task, common, evaluator) for task in tasks])
    offered = [values(agent, task, params, evaluator) for task, params in zip(tasks, shortlists, strict=True)]
    order = greedy_portfolio(shared.T, len(common))
    best = [
        np.array([max(float(part.max()) for part in parts)])
        for parts in zip(greedy, portfolio, shared, offered, strict=True)
    ]
    policies = {
        "greedy": greedy,
        "portfolio": portfolio,
        "hindsight": [own[order] for own in shared],
        "shortlist_oracle": [np.array([own.max()]) for own in offered],
        "oracle": best,
    }
    curves = {name: np.array([curve(own) for own in found]) for name, found in policies.items()}
    return {name: rows(found, curves["greedy"]) for name, found in curves.items()}


def values(agent: Agent, task: Task, settings: Sequence[TracerParams], evaluator: Evaluator) -> NDArray[np.float64]:
    """Of each setting, 0 where the default is better."""
    found: list[Evaluation] = evaluator.evaluate([Job(task.logo, params) for params in settings])
    return np.array([max(0.0, value_of(agent.objective, e, task.scores) or 0.0) for e in found])


def curve(tried: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best after each of TRACES, of values in the order of their traces; who has no more keeps what they had."""
    best = np.maximum.accumulate(tried)
    return np.array([best[min(traces, len(best)) - 1] for traces in TRACES])


def rows(found: Curves, greedy: Curves) -> list[dict[str, Any]]:
    gains = np.clip(found - greedy, -1, 1)
    return [
        {
            "traces": traces,
            "value": round(float(found[:, k].mean()), 3),
            "gain": [round(x, 3) for x in BOOTSTRAP.mean(gains[:, k].tolist()).to_json().values()],
            "missed": round(float((gains[:, k] > 0.02).mean()), 3),
            "leaps": round(float((gains[:, k] >= 1).mean()), 3),
        }
        for k, traces in enumerate(TRACES)
    ]


if __name__ == "__main__":
    main()
