"""Agents in a registry of their own, for a server to serve."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.settings.params import load_settings
from pipeline.tracking import registry
from pipeline.tracking.registry import Registry
from pipeline.tracking.run import Run
from tests.support.fakes import ROOT

NAME = "tracewright"


def register(root: Path, agents: Sequence[Path]) -> list[str]:
    """Log agents' folders as versions 1, 2, ... in `root`, a folder without runs; the first is champion.

    Returns the ids of the logged models.
    """
    shutil.copy(ROOT / "params.yaml", root)
    settings = load_settings(root / "params.yaml").model_copy(update={"experiment": NAME})
    with Run.start(root, settings, stage="train") as run:
        for step, folder in enumerate(agents):
            run.log_model(folder, f"agent-{step}", step, {}, {}, None)
        run.deliver()
        model_ids = [run.model_id(f"agent-{step}") for step in range(len(agents))]
    for model_id in model_ids:
        opened(root).add(opened(root).client.get_logged_model(model_id))
    promote(root, "1")
    return model_ids


def opened(root: Path) -> Registry:
    return registry.open_registry(root, NAME)


def promote(root: Path, version: str) -> None:
    opened(root).promote(opened(root).client.get_model_version(NAME, version))
