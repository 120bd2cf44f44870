"""The score of a trial: its best agent on the validation images, under conditions that no trial changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pipeline.agent.agent import Agent
from pipeline.agent.objectives import objective_from
from pipeline.agent.task import Task
from pipeline.core.facts.training import Validation
from pipeline.core.intervals import Bootstrap
from pipeline.settings.params import Settings, TuneObjective
from pipeline.tracing.evaluator import Evaluator
from pipeline.training.loop import Result
from pipeline.training.validation import validate

SMALLER_IS_BETTER = frozenset({"bytes_ratio", "damaged_ratio", "delta", "seconds"})


def direction(objective: TuneObjective) -> Literal["maximize", "minimize"]:
    return "minimize" if objective in SMALLER_IS_BETTER else "maximize"


def measure(agent: Agent, base: Settings, tasks: Sequence[Task], evaluator: Evaluator) -> Validation:
    """A validation on all `tasks`, with `base`'s objective and number of traces, whatever the agent was trained for."""
    return validate(
        replace(agent, objective=objective_from(base.objective)),
        tasks,
        evaluator,
        traces=base.train.max_steps,
        seed=base.train.seed,
        stochastic_runs=0,
        target_skill=base.validation.target_skill,
        bootstrap=Bootstrap(base.evaluate.bootstrap_samples, base.evaluate.confidence, base.train.seed),
    )


def values_of(objectives: Sequence[TuneObjective], report: Validation, result: Result) -> list[float]:
    """seconds: of learning only. The table gets cheaper with each trial, whatever the settings."""
    learning_seconds = result.timesteps / result.steps_per_second
    return [learning_seconds if name == "seconds" else report.figures()[name] for name in objectives]
