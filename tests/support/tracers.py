"""Pieces of work that go wrong on a node as they are asked to. Sent to the nodes by value."""

from __future__ import annotations

import os
import time

from pipeline.core.errors import DataError
from pipeline.core.records import Evaluation
from pipeline.tracing.ray_pool import Batch, Tracer

TRAP_SPECKLE = 13


class Trapped(Tracer):
    """Ends with its actor at a job with a certain setting."""

    def evaluate(self, batch: Batch) -> list[Evaluation]:
        if any(params.filter_speckle == TRAP_SPECKLE for _, params, *_ in batch.jobs):
            os._exit(1)
        return super().evaluate(batch)


class Different(Tracer):
    """Has versions like no other."""

    def begin(self) -> tuple[str, dict[str, str]]:
        host, versions = super().begin()
        return host, versions | {"tracer": f"vtracer 0.{os.getpid()}"}


class Broken(Tracer):
    """Does not start."""

    def begin(self) -> tuple[str, dict[str, str]]:
        os._exit(1)


def slow_square(number: int) -> tuple[int, int]:
    """Its own process beside the answer."""
    time.sleep(0.3)
    return number**2, os.getpid()


def refuses(number: int) -> int:
    raise DataError(f"{number} cannot be used; give another")


def ends(number: int) -> int:
    os._exit(1)


def endless(number: int) -> int:
    time.sleep(600)
    return number
