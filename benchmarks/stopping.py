"""What can be won by knowing when to stop, and how much of it PPO wins; JSON on standard output.

    python -m benchmarks.stopping LOGOS [--model FOLDER] [--logos N] [--seeds 5] [--store FOLDER]

On each logo the most promising setting is traced 32 times in turn. Where a search stops changes nothing of what it
tries, so one search tells what every rule comes to:

fixed     the same number of traces for every logo.
plain     stop when the gain expected of the next trace is below the price.
model     the rule that comes with the model.
threshold stop when that gain is below a multiple of the price, the best one on the other half of the logos.
trained   rules that PPO learns here, one for each seed and half of the logos, each judged on the other half.
oracle    stop where it would have been best, known afterwards: nothing can do better.

`utility` is the gain in value of all traces, each at most 1, less the price of all traces, in natural log units: 0.01
is worth 1 % of the bytes. `lead` is its mean difference to `plain` with its interval over logos; for `trained`, of each
logo's mean over the seeds. `ratio` is the geometric mean of bytes / the fair default's, `damaged` the share of logos
with visible damage.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.masters.__main__ import logo_files, read_logo
from pipeline.agent.agent import TRAINED, load_agent
from pipeline.agent.stopping import AUTO_TRACES, SURPLUS, StoppingRule
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import VISIBLE_DAMAGE
from pipeline.evaluation.comparison import size_gain
from pipeline.search.loop import Outcome, run_agent
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import Settings, load_settings
from pipeline.tracing.store_pool import stored_pool
from pipeline.training.stopping import (
    N_ENVS,
    N_STEPS,
    RecordedSearches,
    StoppingVecEnv,
    StopPolicy,
    build_stopping_ppo,
    first_stops,
    record_searches,
    traces_of,
)

BOOTSTRAP = Bootstrap(2000, 0.95)
SURPLUSES = np.log([0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24])  # multiples of the price
FIXED = (1, 2, 4, 8, 12, 16, 24, 32)

Counts = NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="LOGOS", help="category folders of PNGs beside masters/")
    parser.add_argument("--model", type=Path, default=TRAINED)
    parser.add_argument("--logos", type=int, default=20, help="of each category; 0 for all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", type=Path, required=True, help="folder that keeps the traces for another run")
    given = parser.parse_args()
    settings = load_settings(Path("params.yaml"))
    agent = load_agent(given.model).greedy()
    logos = [read_logo(file) for file in logo_files(given.root, given.logos)]
    with stored_pool(given.store, settings.compute, agent.background) as pool:
        tasks, _ = make_tasks(logos, pool, agent.background)
        price = agent.trace_price
        searches = record_searches(tasks, pool, agent.objective, agent.screen, price=price, seed=0)
        outcomes = run_agent(agent, tasks, pool, traces=AUTO_TRACES, seed=0)  # the same traces, found in the store
    plain = searches.greedy_traces
    rows = {f"fixed {n}": np.full(len(tasks), n) for n in FIXED} | {"plain": plain}
    if (rule := load_agent(given.model).stopping_rule) is not None:
        rows["model"] = stops_of(rule, searches)
    rows |= {"threshold": threshold_traces(searches), "oracle": best_traces(searches)}
    report = {name: row(traces, searches, outcomes, plain) for name, traces in rows.items()}
    started = time.perf_counter()
    learnt = [learnt_traces(settings, searches, seed) for seed in range(given.seeds)]
    seconds = time.perf_counter() - started
    steps = settings.train.simulated_timesteps
    report["trained"] = over_seeds(learnt, searches, outcomes, plain)
    print(
        json.dumps(
            {
                "benchmark": "stopping",
                "logos": len(tasks),
                "price": price,
                "ppo_steps": steps,
                "ppo_steps_per_second": round(2 * given.seeds * steps / seconds),
                "rules": report,
            },
            indent=2,
        )
    )


def stops_of(rule: StoppingRule, searches: RecordedSearches) -> Counts:
    return first_stops(np.array([[rule.stops(seen) for seen in search] for search in searches.observations]))


def threshold_traces(searches: RecordedSearches) -> Counts:
    traces = np.zeros(len(searches.gains), np.int64)
    for half in halves(searches):
        theirs, own = searches.part(~half), searches.observations[half][..., SURPLUS]
        worth = [theirs.utility(first_stops(theirs.observations[..., SURPLUS] < x)).mean() for x in SURPLUSES]
        traces[half] = first_stops(own < SURPLUSES[int(np.argmax(worth))])
    return traces


def halves(searches: RecordedSearches) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    is_even = np.arange(len(searches.gains)) % 2 == 0
    return is_even, ~is_even


def best_traces(searches: RecordedSearches) -> Counts:
    every = [searches.utility(np.full(len(searches.gains), n)) for n in range(AUTO_TRACES + 1)]
    best: Counts = np.argmax(every, axis=0)
    return best


def learnt_traces(settings: Settings, searches: RecordedSearches, seed: int) -> Counts:
    """When a rule stops each search that PPO learnt on the other half of them."""
    traces = np.zeros(len(searches.gains), np.int64)
    for half in halves(searches):
        model = build_stopping_ppo(settings, StoppingVecEnv(searches.part(~half), N_ENVS, seed), seed)
        model.learn(settings.train.simulated_timesteps // (N_ENVS * N_STEPS) * N_ENVS * N_STEPS)
        traces[half] = traces_of(cast(StopPolicy, model.policy), searches.part(half))
    return traces


def row(traces: Counts, searches: RecordedSearches, outcomes: Sequence[Outcome], plain: Counts) -> dict[str, Any]:
    lead = searches.utility(traces) - searches.utility(plain)
    return _row(lead.tolist(), searches.utility(traces), traces, outcomes)


def over_seeds(
    learnt: Sequence[Counts], searches: RecordedSearches, outcomes: Sequence[Outcome], plain: Counts
) -> dict[str, Any]:
    """Means over the seeds; the interval is over logos, of each logo's mean over the seeds."""
    leads = np.array([searches.utility(traces) - searches.utility(plain) for traces in learnt])
    rows = [row(traces, searches, outcomes, plain) for traces in learnt]
    whole = _row(leads.mean(0).tolist(), searches.utility(learnt[0]), learnt[0], outcomes)
    for name in ("utility", "traces", "ratio", "damaged"):
        whole[name] = round(float(np.mean([r[name] for r in rows])), 4)
    return whole | {"lead_by_seed": [r["lead"] for r in rows]}


def _row(
    lead: list[float], utility: NDArray[np.float32], traces: Counts, outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    interval = BOOTSTRAP.mean(lead)
    sizes = [size_gain(outcome, int(count)) for outcome, count in zip(outcomes, traces, strict=True)]
    damage = [o.chosen_at(int(count)).scores.damage for o, count in zip(outcomes, traces, strict=True)]
    return {
        "traces": round(float(traces.mean()), 2),
        "utility": round(float(utility.mean()), 4),
        "lead": [round(x, 4) for x in (interval.mean, interval.low, interval.high)],
        "ratio": round(math.exp(-float(np.mean(sizes))), 3),
        "damaged": round(float(np.mean(np.array(damage) > VISIBLE_DAMAGE)), 3),
    }


if __name__ == "__main__":
    main()
