"""From a scrape to its answer: all sources are read, and whoever asks meanwhile shares the next reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from monitoring import families
from monitoring.families import Families, Totals
from monitoring.runs import RunsFolder
from pipeline.machine.deadline import Crew, Outcome, Source
from pipeline.machine.gpus import Gpus
from pipeline.machine.readings import Trainings
from pipeline.machine.sources import Machine, disk_space, read_host, read_pressure

DISK = "disk:"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """Of HTTP. body: left out where only its head was asked for."""

    status: int
    reason: str
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class Scraper:
    """Reads all sources and tells them as Prometheus reads it. One scrape at a time."""

    def __init__(self, sources: Sequence[Source], crew: Crew) -> None:
        self._sources, self._crew = sources, crew
        self._totals = Totals()
        self._own = CollectorRegistry()
        ProcessCollector(namespace="tracewright_exporter", registry=self._own)

    async def text(self) -> bytes:
        return self._families(await self._crew.read_soon(self._sources)).text() + generate_latest(self._own)

    def _families(self, outcomes: Mapping[str, Outcome]) -> Families:
        made = Families()
        for name, outcome in outcomes.items():
            if outcome.up is not None:
                made.add("source_up", outcome.up, name)
                made.add("source_duration_seconds", outcome.seconds, name)
        found = {name: outcome.value for name, outcome in outcomes.items() if outcome.value is not None}
        trainings: Trainings | None = found.get("training")
        if "host" in found:
            families.host(made, found["host"])
        if "pressure" in found:
            families.pressure(made, found["pressure"])
        for name, space in found.items():
            if name.startswith(DISK):
                families.disk(made, name.removeprefix(DISK), space)
        if "gpu" in found:
            families.gpus(made, found["gpu"], _pids(trainings))
        if trainings is not None:
            families.trainings(made, trainings, self._totals)
        return made


def _pids(trainings: Trainings | None) -> frozenset[int]:
    trees = [training.tree for training in trainings.runs if training.tree] if trainings else []
    return frozenset().union(*(tree.pids for tree in trees))


def watched(machine: Machine, root: Path, disks: Sequence[str], gpus: Gpus | None = None) -> list[Source]:
    """The sources of this machine and of the project in `root`. disks: paths, each a source of its own."""
    cards, runs = gpus or Gpus(machine.monotonic), RunsFolder(root, machine)
    return [
        Source("host", lambda: read_host(machine)),
        Source("pressure", lambda: read_pressure(machine)),
        *(Source(f"{DISK}{path}", partial(disk_space, machine, path)) for path in dict.fromkeys(disks)),
        Source("gpu", cards.read),
        Source("training", runs.read),
    ]


class Shared:
    """Work whose result is shared by all who asked before it began; no two pieces of it run at once.

    So eight scrapes at the same moment cost little more than one, and each sees only what was read after it asked.
    """

    def __init__(self, work: Callable[[], Awaitable[bytes]]) -> None:
        self._work = work
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None

    async def result(self) -> bytes:
        if self._next is None:
            self._next = asyncio.create_task(self._do())
        return await asyncio.shield(self._next)

    async def _do(self) -> bytes:
        async with self._turn:
            self._next = None
            return await self._work()


class Site:
    """What there is to be asked for: /metrics, and /health without reading anything."""

    def __init__(self, sources: Sequence[Source], crew: Crew | None = None) -> None:
        self._shared = Shared(Scraper(sources, crew or Crew()).text)

    async def answer(self, method: str, path: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return Answer(405, "Method Not Allowed", b"use GET\n")
        if path == "/metrics":
            return Answer(200, "OK", await self._shared.result(), CONTENT_TYPE)
        if path in ("/", "/health"):
            return Answer(200, "OK", b"tracewright's exporter; the metrics are at /metrics\n")
        return Answer(404, "Not Found", b"the metrics are at /metrics\n")
