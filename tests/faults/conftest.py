"""Trainings that the fault tests share: one nobody interrupts, and a program that starts others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nursery import Nursery, run_training


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    running = Nursery()
    yield running
    running.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nobody interrupted; to be copied, not changed."""
    folder = tmp_path_factory.mktemp("finished")
    run_training(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(finished: Path) -> str:
    """What such a training gives."""
    return (finished / "digest").read_text()
