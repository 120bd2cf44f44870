"""Agents that tests save, serve and vectorise with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pipeline.agent.agent import Agent
from pipeline.agent.stopping import STOP_FEATURES, StoppingRule
from pipeline.core.records import DEFAULT_PARAMS
from tests.support.fakes import settings_with, space_of, tiny_agent, tiny_screen


def small_agent() -> Agent:
    """In a space where FakeEvaluator finds no setting that loses more than the default, and most of them smaller."""
    kept = ("filter_speckle", "layer_difference")
    fixed = {f"tracing__{name}": {"fixed": getattr(DEFAULT_PARAMS, name)} for name in kept}
    return tiny_agent(screen=tiny_screen(space_of(settings_with(**fixed))))


def stopping_rule(bias: float, scale: float = 0.0) -> StoppingRule:
    """bias: above 0 speaks for to stop. scale: of its weights, which are drawn."""
    rng = np.random.default_rng(1)
    sizes = [len(STOP_FEATURES), 4, 4, 1]
    weights = {}
    for number, (inputs, outputs) in zip((0, 2, 4), pairwise(sizes), strict=True):
        weights[f"scores.actor.{number}.weight"] = rng.normal(0, scale, (outputs, inputs)).astype(np.float32)
        weights[f"scores.actor.{number}.bias"] = np.zeros(outputs, np.float32)
    weights["scores.actor.4.bias"][:] = bias
    return StoppingRule(weights)
