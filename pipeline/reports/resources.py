"""What a run took of its machine: the samples beside its journal, summed up, and what monitoring finds in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.machine.history import HISTORY as HISTORY
from pipeline.machine.history import read_history
from pipeline.machine.samples import ResourceSample
from pipeline.reports import resource_findings
from pipeline.reports.parts import Finding, Resources, Unit, Usage
from pipeline.reports.resource_findings import Setup
from pipeline.reports.run_report import thinned

MOST_POINTS = 600  # of a chart

SERIES: tuple[tuple[str, Unit, Callable[[ResourceSample], float | None]], ...] = (
    ("processor", "ratio", lambda s: s.cpu_ratio),
    ("training's cores", "count", lambda s: s.training_cpu_cores),
    ("memory", "bytes", lambda s: s.memory_used_bytes),
    ("training's memory", "bytes", lambda s: s.training_memory_bytes),
    ("swap", "bytes", lambda s: s.swap_used_bytes),
    ("disk", "bytes", lambda s: s.disk_used_bytes),
    ("waiting for the disk", "ratio", lambda s: s.cpu_iowait_ratio),
)
"""What is shown of the machine, by a name for people, and its unit."""

LIMITS: dict[str, Callable[[ResourceSample], float]] = {
    "processor": lambda s: 1.0,
    "training's cores": lambda s: s.cpu_cores,
    "memory": lambda s: s.memory_size_bytes,
    "training's memory": lambda s: s.memory_size_bytes,
    "disk": lambda s: s.disk_size_bytes,
}
"""How much of it there is."""


def read_resources(run_folder: Path, setup: Setup | None = None) -> Resources | None:
    """None when nothing was sampled, or nothing that can be read. setup: what the run was given, for the findings."""
    samples = read_samples(run_folder)
    if not samples:
        return None
    found = resource_findings.find(samples, setup)
    return Resources(
        samples=len(samples),
        seconds=sum(s.interval_seconds for s in samples),
        usage=tuple(_usage(samples)),
        findings=tuple(Finding(f.level, f.text, dict(f.evidence)) for f in found),
    )


def read_samples(run_folder: Path) -> list[ResourceSample]:
    """In the order of time; none where nothing was sampled or the file cannot be read."""
    try:
        return read_history(run_folder / HISTORY)
    except OSError:
        return []


def points(samples: Sequence[ResourceSample]) -> list[dict[str, float]]:
    """For charts: a row per moment, at most MOST_POINTS, with `minutes` since the first and every series' value."""
    if not samples:
        return []
    start = samples[0].time_seconds
    rows = []
    for sample in thinned(samples, MOST_POINTS):
        row = {"minutes": (sample.time_seconds - start) / 60}
        for name, _, value in (*SERIES, *_cards(samples)):
            if (measured := value(sample)) is not None:
                row[name] = float(measured)
        rows.append(row)
    return rows


def _usage(samples: Sequence[ResourceSample]) -> Iterator[Usage]:
    for name, unit, value in (*SERIES, *_cards(samples)):
        known = [(s.interval_seconds, v) for s in samples if (v := value(s)) is not None]
        whole = sum(seconds for seconds, _ in known)
        if whole > 0 and max(v for _, v in known) > 0:
            limit = LIMITS.get(name)
            yield Usage(
                name=name,
                unit=unit,
                mean=sum(seconds * v for seconds, v in known) / whole,
                highest=max(v for _, v in known),
                limit=limit(samples[-1]) if limit else None,
            )


def _cards(samples: Sequence[ResourceSample]) -> list[tuple[str, Unit, Callable[[ResourceSample], float | None]]]:
    series: list[tuple[str, Unit, Callable[[ResourceSample], float | None]]] = []
    fields: tuple[tuple[str, Unit, str], ...] = (
        ("", "ratio", "utilization_ratio"),
        (" memory", "bytes", "memory_used_bytes"),
        (" temperature", "celsius", "temperature_celsius"),
    )
    for index in sorted({card.index for sample in samples for card in sample.gpus}):
        for what, unit, field in fields:
            series.append((f"GPU {index}{what}", unit, _of_card(index, field)))
    return series


def _of_card(index: int, field: str) -> Callable[[ResourceSample], float | None]:
    return lambda sample: next((getattr(c, field) for c in sample.gpus if c.index == index), None)
