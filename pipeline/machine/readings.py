"""What a source answers: frozen values in base units. None is a value that this machine does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Host:
    """cpu_seconds: by mode, of all cores. disks, interfaces: by name of the device."""

    boot_time_seconds: float
    cpu_cores: int
    cpu_seconds: Mapping[str, float]
    load: tuple[float, float, float]
    memory_size_bytes: int
    memory_available_bytes: int
    memory_cached_bytes: int
    swap: Swap
    disks: Mapping[str, DiskTraffic]
    interfaces: Mapping[str, NetworkTraffic]


@dataclass(frozen=True, slots=True)
class Swap:
    size_bytes: int
    used_bytes: int
    in_bytes: int
    out_bytes: int


@dataclass(frozen=True, slots=True)
class DiskTraffic:
    """Since the machine was started. busy_seconds: None where the system does not count it."""

    read_bytes: int
    written_bytes: int
    busy_seconds: float | None


@dataclass(frozen=True, slots=True)
class NetworkTraffic:
    received_bytes: int
    transmitted_bytes: int
    errors: int
    dropped: int


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Of the file system that holds a path. inodes: None where there is no limit."""

    size_bytes: int
    used_bytes: int
    available_bytes: int
    inodes: int | None
    inodes_available: int | None


@dataclass(frozen=True, slots=True)
class Pressure:
    """Seconds since the start in which some task, or every task, waited for the resource."""

    some_seconds: float
    full_seconds: float | None


@dataclass(frozen=True, slots=True)
class GpuClock:
    hertz: float | None
    max_hertz: float | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card. A lost one has `up` False and nothing else. process_bytes: memory held by process id, None unknown."""

    index: int
    up: bool = True
    uuid: str = ""
    name: str = ""
    driver_version: str = ""
    utilization_ratio: float | None = None
    memory_busy_ratio: float | None = None
    memory_size_bytes: int | None = None
    memory_used_bytes: int | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    energy_joules: float | None = None
    clocks: Mapping[str, GpuClock] = field(default_factory=dict)
    throttled: Mapping[str, bool] | None = None
    process_bytes: Mapping[int, int | None] | None = None


@dataclass(frozen=True, slots=True)
class ProcessTree:
    """A process and all below it, in sums. open_files: None where one of them may not be looked into."""

    pids: frozenset[int]
    cpu_seconds: float
    resident_bytes: int
    threads: int
    open_files: int | None
