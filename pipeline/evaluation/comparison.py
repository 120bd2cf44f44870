"""The agent beside every rival on the same images, at the same numbers of traces.

The default's own trace is not counted, for anyone; every other trace is, failed ones too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.agent.agent import Agent, AgentProposer
from pipeline.agent.task import Task
from pipeline.core.facts.comparison import (
    CurvePoint,
    Duel,
    ImageResult,
    MethodKind,
    MethodResult,
    TradeoffPoint,
    headline_traces,
)
from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.records import BYTES_OBJECTIVES, CATEGORIES, VISIBLE_DAMAGE, ObjectiveName, Scored
from pipeline.core.tradeoff import TracePoint, knee, smallest_within
from pipeline.search.loop import Outcome, Proposer, evaluate_again, image_seed, run_searches
from pipeline.search.rivals import FixedSequence, RandomSearch, TPESearch
from pipeline.settings.params import EvaluateSettings
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import PRESETS

TIE = 1e-9  # values nearer than this are the same picture
DAMAGE_LIMITS = (0.0, VISIBLE_DAMAGE, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Pixels, at which size is shown against damage."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way of choosing settings. make: a fresh search for a task. sees_budget: plays according to its traces."""

    name: str
    label: str
    kind: MethodKind
    make: Callable[[Task], Proposer]
    sees_budget: bool = False


def methods(agent: Agent, settings: EvaluateSettings) -> list[Method]:
    """The agent, the same agent before training, and the rivals of invariant 8."""
    fresh = agent.greedy()

    def seeded(task: Task) -> int:
        return image_seed(settings.seed, task)

    return [
        Method("agent", "tracewright", "ours", lambda t: AgentProposer(agent), sees_budget=True),
        Method("untrained", "untrained policy", "reference", lambda t: AgentProposer(fresh), True),
        Method("default", "VTracer's default", "reference", lambda t: FixedSequence([])),
        *(_preset(name) for name in PRESETS),
        Method(
            "fixed", "best fixed per category", "rival", lambda t: FixedSequence(agent.portfolio(t.logo.category)[:1])
        ),
        Method(
            "portfolio", "portfolio per category", "rival", lambda t: FixedSequence(agent.portfolio(t.logo.category))
        ),
        Method("random", "random search", "rival", lambda t: RandomSearch(seeded(t))),
        Method("tpe", "Optuna TPE", "rival", lambda t: TPESearch(seeded(t), settings.tpe_startup_trials)),
    ]


def _preset(name: str) -> Method:
    return Method(f"preset_{name}", f"preset {name}", "reference", lambda t: FixedSequence([PRESETS[name]]))


def run_method(
    method: Method, agent: Agent, tasks: Sequence[Task], evaluator: Evaluator, settings: EvaluateSettings
) -> list[Outcome]:
    """One method on every task at each number of traces.

    An agent sees how many traces it has and plays them accordingly, so it runs again for each number. A rival does the
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
    """Runs of one image at rising budgets as one outcome: at `traces[i]` stands what the i-th run ended with.

    The traces made are those of the run that headlines tell of.
    """
    told = runs[traces.index(headline_traces(traces))]
    joined = Outcome(runs[0].task, failures=[f for run in runs for f in run.failures], evaluations=told.evaluations)
    for run, count in zip(runs, traces, strict=True):
        missing = count - len(joined.values)
        joined.values += [run.value_at(count)] * missing
        joined.bests += [run.best_at(count)] * missing
    return joined


MethodOutcomes = Mapping[str, Sequence[Outcome]]


def method_result(
    method: Method, outcomes: Sequence[Outcome], traces: Sequence[int], bootstrap: Bootstrap
) -> MethodResult:
    members = {c: [o for o in outcomes if o.task.logo.category == c] for c in CATEGORIES}
    return MethodResult(
        name=method.name,
        label=method.label,
        kind=method.kind,
        curve=curve(outcomes, traces, bootstrap),
        by_category={c: curve(own, traces, bootstrap) for c, own in members.items() if own},
    )


def curve(outcomes: Sequence[Outcome], traces: Sequence[int], bootstrap: Bootstrap) -> tuple[CurvePoint, ...]:
    """Mean value, bytes relative to the default's and share of damaged images, at each number of traces."""
    return tuple(
        CurvePoint(
            traces=count,
            value=bootstrap.mean([o.value_at(count) for o in outcomes]),
            ratio=bootstrap.mean([size_gain(o, count) for o in outcomes]).as_ratio(),
            damaged=bootstrap.mean([float(is_damaged(o, count)) for o in outcomes]),
        )
        for count in traces
    )


def tradeoff(outcomes: Sequence[Outcome], bootstrap: Bootstrap) -> tuple[TradeoffPoint, ...]:
    """Size at each limit of damage, from the traces made and the default's own."""
    every = [[TracePoint(o.task.scores.svg_bytes, o.task.scores.damage), *o.made] for o in outcomes]
    points = []
    for limit in DAMAGE_LIMITS:
        chosen = [smallest_within(made, limit) for made in every]
        gains = [math.log(made[0].bytes / trace.bytes) for made, trace in zip(every, chosen, strict=True)]
        damaged = [float(trace.damage > VISIBLE_DAMAGE) for trace in chosen]
        ratio = bootstrap.mean(gains).as_ratio()
        points.append(TradeoffPoint(max_damage=limit, ratio=ratio, damaged=bootstrap.mean(damaged)))
    return tuple(points)


def knee_of(points: Sequence[TradeoffPoint]) -> float | None:
    """The limit of damage beyond which more of it saves little; limits are on a logarithmic scale."""
    index = knee([(math.log1p(point.max_damage), point.ratio.mean) for point in points])
    return None if index is None else points[index].max_damage


def size_gain(outcome: Outcome, traces: int) -> float:
    """ln(default's bytes / bytes) of what was chosen with so many traces."""
    return math.log(outcome.task.scores.svg_bytes / outcome.chosen_at(traces).scores.svg_bytes)


def is_damaged(outcome: Outcome, traces: int) -> bool:
    """Whether what was chosen with so many traces has visible damage."""
    return outcome.chosen_at(traces).scores.damage > VISIBLE_DAMAGE


def duel(
    against: str,
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    traces: int,
    objective: ObjectiveName,
    bootstrap: Bootstrap,
) -> Duel:
    """The paired difference in value, and in bytes, image by image."""
    pairs = list(zip(ours, theirs, strict=True))
    gains = [a.value_at(traces) - b.value_at(traces) for a, b in pairs]
    gain = bootstrap.mean(gains)
    sizes = [size_gain(a, traces) - size_gain(b, traces) for a, b in pairs]
    return Duel(
        against=against,
        traces=traces,
        gain=gain,
        difference=bootstrap.mean(sizes) if objective in BYTES_OBJECTIVES else gain,
        damaged=sum(is_damaged(a, traces) for a, _ in pairs),
        rival_damaged=sum(is_damaged(b, traces) for _, b in pairs),
        wins=sum(g > TIE for g in gains),
        losses=sum(g < -TIE for g in gains),
        ties=sum(abs(g) <= TIE for g in gains),
        better=_verdict(gain),
    )


def _verdict(gain: Interval) -> bool | None:
    if gain.low > 0:
        return True
    return False if gain.high < 0 else None


def image_rows(
    method: str, outcomes: Sequence[Outcome], traces: Sequence[int], evaluator: Evaluator
) -> Iterator[dict[str, Any]]:
    """For results/evaluate/images.parquet: a row per image and number of traces."""
    places = [(outcome, count) for outcome in outcomes for count in traces]
    chosen = evaluate_again(places, evaluator)
    for (outcome, count), scored in zip(places, chosen, strict=True):
        yield {"method": method, "traces": count, **asdict(_image_result(outcome, count, scored))}


def _image_result(outcome: Outcome, traces: int, chosen: Scored) -> ImageResult:
    value = outcome.value_at(traces)
    scores, default = chosen.scores, outcome.task.scores
    metrics, of_default = scores.reported, default.reported
    return ImageResult(
        path=outcome.task.logo.name,
        digest=outcome.task.logo.digest,
        category=outcome.task.logo.category,
        value=value,
        ratio=scores.svg_bytes / default.svg_bytes,
        bytes=scores.svg_bytes,
        default_bytes=default.svg_bytes,
        traced_bytes=scores.traced_bytes,
        default_traced_bytes=default.traced_bytes,
        gzip_bytes=metrics.gzip_bytes,
        default_gzip_bytes=of_default.gzip_bytes,
        damage=scores.damage,
        default_damage=default.damage,
        delta=scores.delta,
        default_delta=default.delta,
        ssim=metrics.ssim,
        default_ssim=of_default.ssim,
        zoom_ssim=metrics.zoom_ssim,
        default_zoom_ssim=of_default.zoom_ssim,
        skill=metrics.skill,
        default_skill=of_default.skill,
        params=json.dumps(chosen.params.to_json()),
        improved=outcome.best_at(traces) is not None,
        failures=len(outcome.failures),
    )
