"""What limited a run, and what to change: sentences with their numbers, from its history alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.machine.samples import GpuSample, ResourceSample
from pipeline.reports import words
from pipeline.reports.parts import Level

BUSY = 0.85  # of the cores, on average, from which they are what limits
IDLE = 0.60  # below which they wait for something else
OTHERS = 0.15  # of the cores, used by other programs, from which they are worth ending
WAITING = 0.10  # of the time waited for the disk, or for memory
FULL = 0.90  # of the memory, or of the limit, at the worst moment
ROOMY = 0.60  # below which more may be done at once
SWAPPED_BYTES = 100_000_000
GPU_IDLE, GPU_BUSY = 0.10, 0.90  # NVML's utilisation, on average
GPU_MEMORY_FULL = 0.85
FULL_SOON_HOURS = 48.0
GROWN = 0.1  # of what was available, from which a few minutes of growth say something of hours to come
LEAST_SECONDS = 60.0  # of history from which anything is said
GROWTH_SECONDS = 600.0  # and from which growth is


@dataclass(frozen=True, slots=True)
class Setup:
    """What the run was given, by the names of params.yaml; None where it is not known.

    workers: tracing processes that there were. memory_limit_bytes: compute.memory_limit_bytes.
    """

    workers: int | None = None
    n_envs: int | None = None
    batch_size: int | None = None
    images_per_category: int | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceFinding:
    """kind: a stable word. text: a sentence or two with the numbers. evidence: the numbers themselves."""

    kind: str
    level: Level
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def find(history: Sequence[ResourceSample], setup: Setup | None = None) -> list[ResourceFinding]:
    """What matters most first: attention, then the rest. Nothing for a history of less than a minute."""
    if sum(sample.interval_seconds for sample in history) < LEAST_SECONDS:
        return []
    found = [finding for kind in KINDS for finding in kind(history, setup or Setup())]
    return sorted(found, key=lambda finding: finding.level != "attention")


def cpu(history: Sequence[ResourceSample], setup: Setup) -> Iterator[ResourceFinding]:
    cores, busy = history[-1].cpu_cores, _mean(history, lambda s: s.cpu_ratio)
    ours = _mean(history, lambda s: s.training_cpu_cores)
    waiting = _mean(history, lambda s: s.cpu_iowait_ratio)
    others = max(0.0, busy * cores - ours)
    evidence = {"cpu_ratio": busy, "cpu_cores": cores, "training_cpu_cores": ours, "cpu_iowait_ratio": waiting}
    said = f"The {words.counted(cores, 'core')} were busy {busy:.0%} of the time, {ours:.1f} of them with the training"
    if others >= OTHERS * cores:
        text = f"{said} and {others:.1f} with other programs: end those, or lower compute.workers{_now(setup.workers)}."
        yield ResourceFinding("cpu_others", "info", text, evidence)
    elif busy >= BUSY:
        yield ResourceFinding(
            "cpu_bound", "info", f"{said}: they are what limits it. {_when_bound(cores, setup)}", evidence
        )
    elif busy < IDLE:
        yield ResourceFinding("cpu_idle", "info", f"{said}: the cores waited. {_when_idle(cores, setup)}", evidence)
    else:
        yield ResourceFinding("cpu", "info", f"{said}.", evidence)


def _when_bound(cores: int, setup: Setup) -> str:
    more = (
        f"More compute.workers{_now(setup.workers)} would gain nothing here; "
        if setup.workers is not None and setup.workers >= cores
        else f"compute.workers{_now(setup.workers)} may rise to {cores}, little more; "
    )
    return (
        f"{more}a machine with more cores would, and on this one a smaller tracing.prescale or fewer "
        f"validation.images_per_category{_now(setup.images_per_category)}."
    )


def _when_idle(cores: int, setup: Setup) -> str:
    if setup.workers is not None and setup.workers < cores:
        return f"Raise compute.workers from {setup.workers} to {cores}."
    envs = f" from {setup.n_envs} to {2 * setup.n_envs}" if setup.n_envs else ""
    batch = f" from {setup.batch_size} to {2 * setup.batch_size}" if setup.batch_size else ""
    return (
        f"Raise train.n_envs{envs}, so that more is traced at once, or train.ppo.batch_size{batch}, for "
        "fewer and larger updates."
    )


def waiting(history: Sequence[ResourceSample], setup: Setup) -> Iterator[ResourceFinding]:
    disk = max(_mean(history, lambda s: s.cpu_iowait_ratio), _mean(history, lambda s: s.pressure_io_ratio))
    if disk >= WAITING:
        text = (
            f"Some process waited for the disk {disk:.0%} of the time: put the project's folder on a faster one, "
            "or raise checkpoints.every_timesteps and checkpoints.every_seconds."
        )
        yield ResourceFinding("disk_wait", "attention", text, {"waiting_ratio": disk})
    memory = _mean(history, lambda s: s.pressure_memory_ratio)
    if memory >= WAITING:
        text = f"Some process waited for memory {memory:.0%} of the time: lower compute.workers{_now(setup.workers)}."
        yield ResourceFinding("memory_wait", "attention", text, {"waiting_ratio": memory})


def memory(history: Sequence[ResourceSample], setup: Setup) -> Iterator[ResourceFinding]:
    worst = max(history, key=lambda s: s.memory_used_bytes / s.memory_size_bytes)
    share, ours = worst.memory_used_bytes / worst.memory_size_bytes, max(s.training_memory_bytes for s in history)
    evidence = {"peak_ratio": share, "peak_bytes": worst.memory_used_bytes, "training_peak_bytes": ours}
    used, size = words.storage(worst.memory_used_bytes), words.storage(worst.memory_size_bytes)
    said = f"At most {used} of {size} of memory were used ({share:.0%}), {words.storage(ours)} at most by the training"
    if share >= FULL:
        text = f"{said}: lower compute.workers{_now(setup.workers)} or train.n_envs{_now(setup.n_envs)}."
        yield ResourceFinding("memory_full", "attention", text, evidence)
    elif share < ROOMY:
        text = f"{said}: there is room for more compute.workers{_now(setup.workers)} where there are cores for them."
        yield ResourceFinding("memory_room", "good", text, evidence)
    else:
        yield ResourceFinding("memory", "info", f"{said}.", evidence)
    limit = setup.memory_limit_bytes
    if limit and ours >= FULL * limit:
        text = (
            f"The training came to {words.storage(ours)}, close to its limit of {words.storage(limit)} at which it "
            f"stops: raise compute.memory_limit_bytes, or lower compute.workers{_now(setup.workers)}."
        )
        yield ResourceFinding("memory_limit", "attention", text, {"training_peak_bytes": ours, "limit_bytes": limit})


def swap(history: Sequence[ResourceSample], setup: Setup) -> Iterator[ResourceFinding]:
    grown = max(s.swap_used_bytes for s in history) - history[0].swap_used_bytes
    if grown >= SWAPPED_BYTES:
        text = f"{words.storage(grown)} were moved to swap, which is slow: lower compute.workers{_now(setup.workers)}."
        yield ResourceFinding("swap", "attention", text, {"grown_bytes": grown})


def disk(history: Sequence[ResourceSample], setup: Setup) -> Iterator[ResourceFinding]:
    """Growth is the slope between the means of the first and of the last tenth, so that one large file is no trend."""
    part = max(1, len(history) // 10)
    first, last = history[:part], history[-part:]
    seconds = _middle(last) - _middle(first)
    available = history[-1].disk_available_bytes
    if seconds < GROWTH_SECONDS:
        return
    per_hour = 3600 * (_mean(last, lambda s: s.disk_used_bytes) - _mean(first, lambda s: s.disk_used_bytes)) / seconds
    evidence = {"growth_bytes_per_hour": per_hour, "available_bytes": available}
    if per_hour < 1e6:
        return
    hours = available / per_hour
    left = f"the {words.storage(available)} that are left last for {_hours(hours)}"
    said = f"The disk filled by {words.storage(round(per_hour))} an hour; {left}"
    evidence["hours_to_full"] = hours
    if hours < FULL_SOON_HOURS and per_hour * seconds / 3600 >= GROWN * first[0].disk_available_bytes:
        text = f"{said}: free some, or lower checkpoints.max_bytes and compute.store_bytes."
        yield ResourceFinding("disk_full_soon", "attention", text, evidence)
    else:
        yield ResourceFinding("disk_growth", "info", f"{said}.", evidence)


def gpu(history: Sequence[ResourceSample], setup: Setup) -> Iterator[ResourceFinding]:
    for card in history[-1].gpus:
        seen = [(s.interval_seconds, g) for s in history for g in s.gpus if g.index == card.index]
        busy = _weighted([(seconds, g.utilization_ratio) for seconds, g in seen])
        if busy is not None:
            yield from _gpu_use(card, busy, setup)
        yield from _gpu_memory(card, [g for _, g in seen])


def _gpu_use(card: GpuSample, busy: float, setup: Setup) -> Iterator[ResourceFinding]:
    evidence = {"gpu": card.index, "utilization_ratio": busy}
    if busy < GPU_IDLE:
        text = (
            f"GPU {card.index} was idle ({busy:.0%} used): tracing runs on the cores and the networks are small. "
            f"It can serve others; a larger train.ppo.batch_size{_now(setup.batch_size)} would give it little to do."
        )
        yield ResourceFinding("gpu_idle", "info", text, evidence)
    elif busy >= GPU_BUSY:
        text = f"GPU {card.index} was busy {busy:.0%} of the time: it may be what limits; see who else uses it."
        yield ResourceFinding("gpu_busy", "info", text, evidence)


def _gpu_memory(card: GpuSample, seen: Sequence[GpuSample]) -> Iterator[ResourceFinding]:
    shares = [g.memory_used_bytes / g.memory_size_bytes for g in seen if g.memory_used_bytes and g.memory_size_bytes]
    if shares and max(shares) >= GPU_MEMORY_FULL:
        peak = max(shares)
        text = f"GPU {card.index}'s memory was {peak:.0%} full: lower train.ppo.batch_size, or see who else uses it."
        yield ResourceFinding("gpu_memory_full", "attention", text, {"gpu": card.index, "peak_ratio": peak})


KINDS: tuple[Callable[[Sequence[ResourceSample], Setup], Iterator[ResourceFinding]], ...] = (
    cpu,
    waiting,
    memory,
    swap,
    disk,
    gpu,
)


def _mean(history: Sequence[ResourceSample], value: Callable[[ResourceSample], float | None]) -> float:
    """Over time; 0 where it was never measured."""
    return _weighted([(s.interval_seconds, value(s)) for s in history]) or 0.0


def _weighted(pairs: Sequence[tuple[float, float | None]]) -> float | None:
    known = [(seconds, value) for seconds, value in pairs if value is not None]
    whole = sum(seconds for seconds, _ in known)
    return sum(seconds * value for seconds, value in known) / whole if whole else None


def _middle(samples: Sequence[ResourceSample]) -> float:
    return sum(s.time_seconds for s in samples) / len(samples)


def _now(value: int | None) -> str:
    return "" if value is None else f" ({value} now)"


def _hours(hours: float) -> str:
    return (
        f"{hours / 24:,.0f} days"
        if hours >= 48
        else f"{hours:.0f} hours"
        if hours >= 2
        else f"{hours * 60:.0f} minutes"
    )
