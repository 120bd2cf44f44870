"""The collector of this machine and of a project's runs: it reads all sources at each scrape."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitoring import families
from monitoring.families import Families, Totals
from monitoring.runs import Runs, RunsFolder
from pipeline.machine.deadline import DEADLINE_SECONDS, Source, SourceReading, read_all
from pipeline.machine.gpus import Gpus
from pipeline.machine.sources import Machine, disk_space, read_host, read_pressure

DISK = "disk:"


def sources_of(machine: Machine, root: Path, disks: Sequence[str], gpus: Gpus | None = None) -> list[Source]:
    """The sources of this machine and of the project in `root`. disks: paths, each a source of its own."""
    cards, runs = gpus or Gpus(machine.monotonic), RunsFolder(root, machine)
    return [
        Source("host", lambda: read_host(machine)),
        Source("pressure", lambda: read_pressure(machine)),
        *(Source(f"{DISK}{path}", partial(disk_space, machine, path)) for path in dict.fromkeys(disks)),
        Source("gpu", cards.read),
        Source("training", runs.read),
    ]


class SourcesCollector(Collector):
    """Reads the sources when it is asked. Two readings never run at once.

    Scrapes that wait at the same time share the next reading, so that eight cost little more than one, and each sees
    only what was read after it asked.
    """

    def __init__(self, sources: Sequence[Source], deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._sources, self._deadline_seconds = sources, deadline_seconds
        self._totals = Totals()
        self._lock = threading.Lock()
        self._began = -math.inf
        self._latest: list[Metric] = []

    def describe(self) -> list[Metric]:
        """Nothing: without it a registry would read all sources to learn the names."""
        return []

    def collect(self) -> list[Metric]:
        asked = monotonic()
        with self._lock:
            if self._began < asked:
                self._began = monotonic()
                self._latest = list(self._families(read_all(self._sources, self._deadline_seconds)).values())
            return self._latest

    def _families(self, outcomes: Mapping[str, SourceReading]) -> Families:
        made = Families()
        for name, outcome in outcomes.items():
            if outcome.up is not None:
                made.add("source_up", outcome.up, name)
                made.add("source_duration_seconds", outcome.seconds, name)
        found = {name: outcome.value for name, outcome in outcomes.items() if outcome.value is not None}
        runs: Runs | None = found.get("training")
        if "host" in found:
            families.host(made, found["host"])
        if "pressure" in found:
            families.pressure(made, found["pressure"])
        for name, space in found.items():
            if name.startswith(DISK):
                families.disk(made, name.removeprefix(DISK), space)
        if "gpu" in found:
            trees = [run.tree for run in runs.shown if run.tree] if runs else []
            families.gpus(made, found["gpu"], frozenset().union(*(tree.pids for tree in trees)))
        if runs is not None:
            families.runs(made, runs, self._totals)
        return made


def registry_of(sources: Sequence[Source], deadline_seconds: float = DEADLINE_SECONDS) -> CollectorRegistry:
    """The sources, and the exporter's own process."""
    registry = CollectorRegistry()
    registry.register(SourcesCollector(sources, deadline_seconds))
    ProcessCollector(namespace="tracewright_exporter", registry=registry)
    return registry
