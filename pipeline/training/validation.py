"""How good an agent is on held-out images; docs/metrics.md defines every figure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from pipeline.agent.agent import Agent
from pipeline.agent.task import Task
from pipeline.core.facts.training import MeanScores, Validation, ValidationSummary
from pipeline.core.intervals import Bootstrap, trend
from pipeline.core.records import CATEGORIES, VISIBLE_DAMAGE, Category, Scores
from pipeline.search.loop import Outcome, evaluate_again, run_agent
from pipeline.tracing.evaluator import Evaluator


def validate(
    agent: Agent,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    *,
    traces: int,
    seed: int,
    stochastic_runs: int,
    target_skill: Mapping[Category, float],
    bootstrap: Bootstrap,
    timesteps: int = 0,
    previous: Sequence[Validation] = (),
) -> Validation:
    """Run the agent on held-out images.

    stochastic_runs: further runs with other seeds, for the consistency. timesteps: what the agent was trained for.
    previous: the validations before this one, for the trend. Raises ValueError when there are no tasks.
    """
    started = time.perf_counter()
    outcomes = run_agent(agent, tasks, evaluator, traces=traces, seed=seed)
    seconds = (time.perf_counter() - started) / len(tasks)
    repeats = [run_agent(agent, tasks, evaluator, traces=traces, seed=seed + 1 + run) for run in range(stochastic_runs)]
    chosen = evaluate_again([(outcome, traces) for outcome in outcomes], evaluator)
    values = np.array([[o.value_at(traces) for o in run] for run in [outcomes, *repeats]])
    found = {o.task.logo.digest: scored.scores for o, scored in zip(outcomes, chosen, strict=True)}
    overall = summary(outcomes, traces, found, target_skill, bootstrap)
    points = [*((v.timesteps, v.value.mean) for v in previous), (timesteps, overall.value.mean)]
    members = {c: [o for o in outcomes if o.task.logo.category == c] for c in CATEGORIES}
    return Validation(
        **{field.name: getattr(overall, field.name) for field in fields(overall)},
        timesteps=timesteps,
        seconds_per_image=seconds,
        stability=float(values.mean(axis=0).std(ddof=1)) if len(tasks) > 1 else None,
        consistency=float(values.std(axis=0, ddof=1).mean()) if stochastic_runs else None,
        by_category={c: summary(own, traces, found, target_skill, bootstrap) for c, own in members.items() if own},
        trend=trend([t for t, _ in points], [value for _, value in points], bootstrap.confidence),
    )


def summary(
    outcomes: Sequence[Outcome],
    traces: int,
    found: Mapping[str, Scores],
    target_skill: Mapping[Category, float],
    bootstrap: Bootstrap,
) -> ValidationSummary:
    """Means with intervals over the images of what was chosen: the best found, or the default where none was.

    found: the scores of what was chosen, with metrics, by the image's digest.
    """
    chosen = [found[o.task.logo.digest] for o in outcomes]
    sizes = bootstrap.mean(
        [np.log(o.task.scores.svg_bytes / s.svg_bytes) for o, s in zip(outcomes, chosen, strict=True)]
    )
    reached = [s.reported.skill >= target_skill[o.task.logo.category] for o, s in zip(outcomes, chosen, strict=True)]
    names = [field.name for field in fields(MeanScores)]
    return ValidationSummary(
        images=len(outcomes),
        failures=sum(len(o.failures) for o in outcomes),
        value=bootstrap.mean([o.value_at(traces) for o in outcomes]),
        bytes_ratio=sizes.as_ratio(),
        damaged_ratio=float(np.mean([s.damage > VISIBLE_DAMAGE for s in chosen])),
        target_reached_ratio=float(np.mean(reached)),
        **{name: bootstrap.mean([score_named(name, scores) for scores in chosen]) for name in names},
    )


def score_named(name: str, scores: Scores) -> float:
    """A field of Scores, or of its metrics."""
    return float(getattr(scores if hasattr(scores, name) else scores.reported, name))
