"""The machine over an interval of time, as one flat value: what the history of a run is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter

from pipeline.machine.readings import DiskSpace, Gpu, Host, Pressure, ProcessTree

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class GpuSample:
    index: int
    utilization_ratio: float | None
    memory_used_bytes: int | None
    memory_size_bytes: int | None
    temperature_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """Ratios (0 to 1), cores and rates are means over the interval, the rest is as it was at its end.

    time_seconds: Unix time of that end. memory_used_bytes: what programs cannot have. disk_*: of the file system that
    holds the run. network_*_bytes: since the recording began. pressure_*: share of the time in which some task waited.
    training_*: of the training's process and all below it; training_cpu_cores: cores that they kept busy.
    """

    time_seconds: float
    interval_seconds: float
    cpu_cores: int
    cpu_ratio: float
    cpu_iowait_ratio: float
    load1: float
    memory_used_bytes: int
    memory_size_bytes: int
    swap_used_bytes: int
    disk_used_bytes: int
    disk_available_bytes: int
    disk_size_bytes: int
    disk_read_bytes_per_second: float
    disk_written_bytes_per_second: float
    network_received_bytes: int
    network_transmitted_bytes: int
    network_received_bytes_per_second: float
    network_transmitted_bytes_per_second: float
    pressure_cpu_ratio: float | None
    pressure_memory_ratio: float | None
    pressure_io_ratio: float | None
    training_cpu_cores: float
    training_memory_bytes: int
    training_processes: int
    training_threads: int
    training_open_files: int | None
    gpus: tuple[GpuSample, ...] = ()


_LINE = TypeAdapter(ResourceSample)


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is read at one instant. monotonic_seconds: of a clock that never goes back."""

    time_seconds: float
    monotonic_seconds: float
    host: Host
    disk: DiskSpace
    pressure: Mapping[str, Pressure]
    tree: ProcessTree
    gpus: Sequence[Gpu]


def sample_between(before: Moment, now: Moment, first: Moment) -> ResourceSample:
    """What happened from `before` to `now`. first: when the recording began."""
    seconds = max(now.monotonic_seconds - before.monotonic_seconds, 1e-3)
    host, disk, tree = now.host, now.disk, now.tree
    received, transmitted = _of_interfaces("received_bytes"), _of_interfaces("transmitted_bytes")

    def per_second(total: Callable[[Moment], float]) -> float:
        return max(0.0, total(now) - total(before)) / seconds

    def waited(resource: str) -> float | None:
        if resource not in before.pressure or resource not in now.pressure:
            return None
        return min(1.0, per_second(lambda moment: moment.pressure[resource].some_seconds))

    return ResourceSample(
        time_seconds=now.time_seconds,
        interval_seconds=seconds,
        cpu_cores=host.cpu_cores,
        cpu_ratio=_share_of_cpu(before.host, host, lambda mode: mode not in ("idle", "iowait")),
        cpu_iowait_ratio=_share_of_cpu(before.host, host, lambda mode: mode == "iowait"),
        load1=host.load[0],
        memory_used_bytes=host.memory_size_bytes - host.memory_available_bytes,
        memory_size_bytes=host.memory_size_bytes,
        swap_used_bytes=host.swap.used_bytes,
        disk_used_bytes=disk.used_bytes,
        disk_available_bytes=disk.available_bytes,
        disk_size_bytes=disk.size_bytes,
        disk_read_bytes_per_second=per_second(_of_disks("read_bytes")),
        disk_written_bytes_per_second=per_second(_of_disks("written_bytes")),
        network_received_bytes=int(max(0, received(now) - received(first))),
        network_transmitted_bytes=int(max(0, transmitted(now) - transmitted(first))),
        network_received_bytes_per_second=per_second(received),
        network_transmitted_bytes_per_second=per_second(transmitted),
        pressure_cpu_ratio=waited("cpu"),
        pressure_memory_ratio=waited("memory"),
        pressure_io_ratio=waited("io"),
        training_cpu_cores=per_second(lambda moment: moment.tree.cpu_seconds),
        training_memory_bytes=tree.resident_bytes,
        training_processes=len(tree.pids),
        training_threads=tree.threads,
        training_open_files=tree.open_files,
        gpus=tuple(
            GpuSample(**{field.name: getattr(gpu, field.name) for field in fields(GpuSample)})
            for gpu in now.gpus
            if gpu.up
        ),
    )


def _share_of_cpu(before: Host, now: Host, chosen: Callable[[str], bool]) -> float:
    """Of the CPU time of all cores that passed."""
    passed = {mode: max(0.0, now.cpu_seconds[mode] - before.cpu_seconds.get(mode, 0.0)) for mode in now.cpu_seconds}
    everything = sum(passed.values())
    return sum(seconds for mode, seconds in passed.items() if chosen(mode)) / everything if everything else 0.0


def _of_disks(counter: str) -> Callable[[Moment], float]:
    return lambda moment: sum(getattr(disk, counter) for disk in moment.host.disks.values())


def _of_interfaces(counter: str) -> Callable[[Moment], float]:
    return lambda moment: sum(getattr(traffic, counter) for traffic in moment.host.interfaces.values())


def to_line(sample: ResourceSample) -> str:
    """One line of JSON, without its end."""
    rounded = {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(sample).items()}
    return json.dumps(rounded, allow_nan=False, separators=(",", ":"))


def from_line(line: str | bytes) -> ResourceSample:
    """Raises ValueError for anything else than `to_line` gives; names that a later release adds are passed over."""
    return _LINE.validate_json(line, strict=True)


def merged(earlier: ResourceSample, later: ResourceSample) -> ResourceSample:
    """One sample over both intervals: means stay means, of what was used the most is kept, so no peak is lost."""
    both = _merge(earlier, later, earlier.interval_seconds, later.interval_seconds)
    same_cards = [gpu.index for gpu in earlier.gpus] == [gpu.index for gpu in later.gpus]
    gpus = later.gpus
    if same_cards:
        pairs = zip(earlier.gpus, later.gpus, strict=True)
        gpus = tuple(_merge(a, b, earlier.interval_seconds, later.interval_seconds) for a, b in pairs)
    whole = earlier.interval_seconds + later.interval_seconds
    return replace(both, time_seconds=later.time_seconds, interval_seconds=whole, gpus=gpus)


S = TypeVar("S", ResourceSample, GpuSample)
_LATEST = ("time_seconds", "interval_seconds", "disk_used_bytes", "disk_available_bytes", "disk_size_bytes", "gpus")
_MEAN = ("_ratio", "_per_second", "_cores", "load1", "_watts")


def _merge(earlier: S, later: S, earlier_seconds: float, later_seconds: float) -> S:
    changes: dict[str, Any] = {}
    for field in fields(later):
        name, a, b = field.name, getattr(earlier, field.name), getattr(later, field.name)
        if name in _LATEST or a is None or b is None:
            changes[name] = a if b is None else b
        elif name.endswith(_MEAN) and name != "cpu_cores":
            changes[name] = (a * earlier_seconds + b * later_seconds) / (earlier_seconds + later_seconds)
        else:
            changes[name] = max(a, b)
    return replace(later, **changes)


def system_metrics(sample: ResourceSample) -> dict[str, float]:
    """The sample by the names, and in the units, under which MLflow's pages show the system metrics of a run."""
    values = {
        "cpu_utilization_percentage": 100 * sample.cpu_ratio,
        "system_memory_usage_megabytes": sample.memory_used_bytes / MEGABYTE,
        "system_memory_usage_percentage": 100 * sample.memory_used_bytes / sample.memory_size_bytes,
        "disk_usage_percentage": 100
        * sample.disk_used_bytes
        / max(1, sample.disk_used_bytes + sample.disk_available_bytes),
        "disk_usage_megabytes": sample.disk_used_bytes / MEGABYTE,
        "disk_available_megabytes": sample.disk_available_bytes / MEGABYTE,
        "network_receive_megabytes": sample.network_received_bytes / MEGABYTE,
        "network_transmit_megabytes": sample.network_transmitted_bytes / MEGABYTE,
    }
    for gpu in sample.gpus:
        values |= _gpu_metrics(gpu)
    return {f"system/{name}": value for name, value in values.items()}


def _gpu_metrics(gpu: GpuSample) -> dict[str, float]:
    parts = {
        "memory_usage_percentage": _percent(gpu.memory_used_bytes, gpu.memory_size_bytes),
        "memory_usage_megabytes": None if gpu.memory_used_bytes is None else gpu.memory_used_bytes / MEGABYTE,
        "utilization_percentage": _percent(gpu.utilization_ratio, 1),
        "power_usage_watts": gpu.power_watts,
        "power_usage_percentage": _percent(gpu.power_watts, gpu.power_limit_watts),
    }
    return {f"gpu_{gpu.index}_{name}": value for name, value in parts.items() if value is not None}


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole
