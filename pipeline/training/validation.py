"""How good an agent is on held-out images; docs/metrics.md defines every figure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.agent.agent import Agent
from pipeline.agent.task import Task
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import CATEGORIES, Category
from pipeline.search.loop import Outcome, run_agent
from pipeline.tracing.tracer_pool import Evaluator


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
) -> dict[str, Any]:
    """A validation report (its layout is that of `validations` in results/train/train.json).

    stochastic_runs: further runs with other seeds, for the consistency. Raises ValueError when there are no tasks.
    """
    started = time.perf_counter()
    outcomes = run_agent(agent, tasks, evaluator, traces=traces, seed=seed)
    seconds = (time.perf_counter() - started) / len(tasks)
    repeats = [run_agent(agent, tasks, evaluator, traces=traces, seed=seed + 1 + run) for run in range(stochastic_runs)]
    values = np.array([[o.value_at(traces) for o in run] for run in [outcomes, *repeats]])
    report = {
        **summary(outcomes, traces, target_skill, bootstrap),
        "seconds_per_image": seconds,
        "stability": float(values.mean(axis=0).std(ddof=1)) if len(tasks) > 1 else None,
        "consistency": float(values.std(axis=0, ddof=1).mean()) if stochastic_runs else None,
    }
    by_category: dict[str, Any] = {}
    for category in CATEGORIES:
        members = [o for o in outcomes if o.task.logo.category == category]
        if members:
            by_category[category] = summary(members, traces, target_skill, bootstrap)
    return report | {"by_category": by_category}


def summary(
    outcomes: Sequence[Outcome], traces: int, target_skill: Mapping[Category, float], bootstrap: Bootstrap
) -> dict[str, Any]:
    """Means with intervals over the images of what was chosen: the best found, or the default where none was."""
    chosen = [(o, o.chosen_at(traces).scores) for o in outcomes]
    value = bootstrap.mean([o.value_at(traces) for o in outcomes])
    sizes = bootstrap.mean([np.log(o.task.scores.svg_bytes / s.svg_bytes) for o, s in chosen])
    reached = [s.skill >= target_skill[o.task.logo.category] for o, s in chosen]
    return {
        "images": len(outcomes),
        "failures": sum(len(o.failures) for o in outcomes),
        "value": value.to_json(),
        "bytes_ratio": sizes.as_ratio().to_json(),
        "ssim": bootstrap.mean([s.ssim for _, s in chosen]).to_json(),
        "skill": bootstrap.mean([s.skill for _, s in chosen]).to_json(),
        "mse": bootstrap.mean([s.mse for _, s in chosen]).to_json(),
        "psnr": bootstrap.mean([s.psnr for _, s in chosen]).to_json(),
        "zoom_ssim": bootstrap.mean([s.zoom_ssim for _, s in chosen]).to_json(),
        "target_reached_ratio": float(np.mean(reached)),
    }
