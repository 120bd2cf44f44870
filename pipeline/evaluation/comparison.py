"""The agent beside every rival on the same images, at the same numbers of traces.

The default's own trace is not counted, for anyone; every other trace is, failed ones too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pipeline.agent.agent import Agent, AgentProposer
from pipeline.agent.policy import build_policy
from pipeline.agent.task import Task
from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.records import CATEGORIES
from pipeline.search.loop import Outcome, Proposer, image_seed, run_searches
from pipeline.search.rivals import Listed, RandomSearch, TPESearch
from pipeline.settings.params import EvaluateSettings
from pipeline.tracing.space import PRESETS
from pipeline.tracing.tracer_pool import Evaluator

Row = dict[str, Any]
TIE = 1e-9  # values nearer than this are the same picture


@dataclass(frozen=True, slots=True)
class Method:
    """One way of choosing settings. make: a fresh search for a task. sees_budget: plays according to its traces."""

    name: str
    label: str
    kind: Literal["ours", "rival", "reference"]
    make: Callable[[Task], Proposer]
    sees_budget: bool = False


def methods(agent: Agent, settings: EvaluateSettings) -> list[Method]:
    """The agent, the same agent before training, and the rivals of invariant 8."""
    fresh = untrained(agent)

    def seeded(task: Task) -> int:
        return image_seed(settings.seed, task)

    return [
        Method("agent", "tracewright", "ours", lambda t: AgentProposer(agent), sees_budget=True),
        Method("untrained", "untrained policy", "reference", lambda t: AgentProposer(fresh), True),
        Method("default", "VTracer's default", "reference", lambda t: Listed([])),
        *(_preset(name) for name in PRESETS),
        Method("fixed", "best fixed per category", "rival", lambda t: Listed(agent.portfolio(t.logo.category)[:1])),
        Method("portfolio", "portfolio per category", "rival", lambda t: Listed(agent.portfolio(t.logo.category))),
        Method("random", "random search", "rival", lambda t: RandomSearch(seeded(t))),
        Method("tpe", "Optuna TPE", "rival", lambda t: TPESearch(seeded(t), settings.tpe_startup_trials)),
    ]


def untrained(agent: Agent) -> Agent:
    """The same surrogate with a policy that has learnt nothing: it takes the most promising candidate."""
    return replace(agent, policy=build_policy(agent.screen.size, agent.policy.hidden_units))


def _preset(name: str) -> Method:
    return Method(f"preset_{name}", f"preset {name}", "reference", lambda t: Listed([PRESETS[name]]))


def run_method(
    method: Method, agent: Agent, tasks: Sequence[Task], evaluator: Evaluator, settings: EvaluateSettings
) -> list[Outcome]:
    """One method on every task at each number of traces.

    An agent sees how many traces it has and plays them accordingly, so it runs anew for each number. A rival does the
    same whatever comes after, so one run with the most traces tells what it had at fewer.
    """
    traces, seed = settings.traces, settings.seed
    budgets = traces if method.sees_budget else [max(traces)]
    runs = {n: _run(method, agent, tasks, evaluator, n, seed) for n in budgets}
    if not method.sees_budget:
        return runs[max(traces)]
    return [_joined([runs[n][index] for n in traces], traces) for index in range(len(tasks))]


def _run(
    method: Method, agent: Agent, tasks: Sequence[Task], evaluator: Evaluator, traces: int, seed: int
) -> list[Outcome]:
    screened = method.sees_budget
    searches = [(agent.episode(t, traces, image_seed(seed, t), screened=screened), method.make(t)) for t in tasks]
    return run_searches(searches, evaluator)


def _joined(runs: Sequence[Outcome], traces: Sequence[int]) -> Outcome:
    """Runs of one image at rising budgets as one outcome: at `traces[i]` stands what the i-th run ended with."""
    joined = Outcome(runs[0].task, failures=[f for run in runs for f in run.failures])
    for run, count in zip(runs, traces, strict=True):
        missing = count - len(joined.values)
        joined.values += [run.value_at(count)] * missing
        joined.bests += [run.best_at(count)] * missing
    return joined


Results = Mapping[str, Sequence[Outcome]]


def curve(outcomes: Sequence[Outcome], traces: Sequence[int], bootstrap: Bootstrap) -> list[Row]:
    """Mean value, and as a ratio to the default's, at each number of traces."""
    rows = []
    for count in traces:
        value = bootstrap.mean([o.value_at(count) for o in outcomes])
        rows.append({"traces": count, "value": value.to_json(), "ratio": value.as_ratio().to_json()})
    return rows


def curves_by_category(outcomes: Sequence[Outcome], traces: Sequence[int], bootstrap: Bootstrap) -> dict[str, Any]:
    by_category: dict[str, Any] = {}
    for category in CATEGORIES:
        members = [o for o in outcomes if o.task.logo.category == category]
        if members:
            by_category[category] = curve(members, traces, bootstrap)
    return by_category


def duel(ours: Sequence[Outcome], theirs: Sequence[Outcome], traces: int, bootstrap: Bootstrap) -> Row:
    """The paired difference in value, image by image; `better` is None where the interval holds zero."""
    gains = [a.value_at(traces) - b.value_at(traces) for a, b in zip(ours, theirs, strict=True)]
    gain = bootstrap.mean(gains)
    return {
        "traces": traces,
        "gain": gain.to_json(),
        "wins": sum(g > TIE for g in gains),
        "losses": sum(g < -TIE for g in gains),
        "ties": sum(abs(g) <= TIE for g in gains),
        "better": _verdict(gain),
    }


def _verdict(gain: Interval) -> bool | None:
    if gain.low > 0:
        return True
    return False if gain.high < 0 else None


def image_rows(method: str, outcomes: Sequence[Outcome], traces: Sequence[int]) -> Iterator[Row]:
    """One row per image and number of traces, for results/evaluate/images.parquet."""
    for outcome in outcomes:
        default = outcome.task.scores
        for count in traces:
            chosen = outcome.chosen_at(count)
            value = outcome.value_at(count)
            yield {
                "path": outcome.task.logo.name,
                "category": outcome.task.logo.category,
                "digest": outcome.task.logo.digest,
                "method": method,
                "traces": count,
                "value": value,
                "ratio": Interval(value, value, value).as_ratio().mean,
                "bytes": chosen.scores.svg_bytes,
                "default_bytes": default.svg_bytes,
                "ssim": chosen.scores.ssim,
                "default_ssim": default.ssim,
                "zoom_ssim": chosen.scores.zoom_ssim,
                "default_zoom_ssim": default.zoom_ssim,
                "skill": chosen.scores.skill,
                "default_skill": default.skill,
                "params": json.dumps(chosen.params.to_json()),
                "improved": outcome.best_at(count) is not None,
                "failures": len(outcome.failures),
            }
