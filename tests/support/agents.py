"""Agents that tests save, serve and vectorise with."""

from __future__ import annotations

from pipeline.agent.agent import Agent
from pipeline.core.records import DEFAULT_PARAMS
from tests.support.fakes import settings_with, space_of, tiny_agent, tiny_screen


def small_agent() -> Agent:
    """In a space where FakeEvaluator finds no setting that loses more than the default, and most of them smaller."""
    kept = ("filter_speckle", "layer_difference")
    fixed = {f"tracing__{name}": {"fixed": getattr(DEFAULT_PARAMS, name)} for name in kept}
    return tiny_agent(screen=tiny_screen(space_of(settings_with(**fixed))))
