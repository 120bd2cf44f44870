"""What the agent makes of "auto", when it decides for itself when to stop, and what PPO added to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.agent.agent import Agent
from pipeline.agent.stopping import GAIN_LIMIT
from pipeline.agent.task import Task
from pipeline.core.facts.comparison import StoppingResult, StopPoint
from pipeline.core.intervals import Bootstrap
from pipeline.evaluation.comparison import is_damaged, size_gain
from pipeline.search.loop import Outcome, run_agent
from pipeline.tracing.evaluator import Evaluator


def compare_stopping(
    agent: Agent, tasks: Sequence[Task], evaluator: Evaluator, seed: int, bootstrap: Bootstrap
) -> StoppingResult:
    """The trained rule beside the plain one, on the same searches, which differ in nothing else."""
    learnt = run_agent(agent, tasks, evaluator, traces="auto", seed=seed)
    plain = run_agent(replace(agent, stopping_rule=None), tasks, evaluator, traces="auto", seed=seed)
    pairs = list(zip(learnt, plain, strict=True))
    leads = [utility(a, agent.trace_price) - utility(b, agent.trace_price) for a, b in pairs]
    return StoppingResult(
        price=agent.trace_price,
        trained=_point(learnt, bootstrap) if agent.stopping_rule else None,
        plain=_point(plain, bootstrap),
        gain=bootstrap.mean(leads),
    )


def utility(outcome: Outcome, price: float) -> float:
    """All gains, each at most GAIN_LIMIT, less the price of all traces."""
    gains = np.diff([0.0, *outcome.values])
    return float(np.minimum(gains, GAIN_LIMIT).sum()) - price * len(gains)


def _point(outcomes: Sequence[Outcome], bootstrap: Bootstrap) -> StopPoint:
    last = [len(outcome.values) for outcome in outcomes]
    sizes = [size_gain(outcome, count) for outcome, count in zip(outcomes, last, strict=True)]
    return StopPoint(
        traces=bootstrap.mean([float(count) for count in last]),
        ratio=bootstrap.mean(sizes).as_ratio(),
        damaged=bootstrap.mean([float(is_damaged(o, count)) for o, count in zip(outcomes, last, strict=True)]),
    )
