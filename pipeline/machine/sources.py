"""The machine as it is now: psutil, /proc and the file systems, all handed in, so that tests can be the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipeline.machine.readings import DiskSpace, DiskTraffic, Host, NetworkTraffic, Pressure, Swap

CPU_MODES = ("user", "nice", "system", "irq", "softirq", "steal", "iowait", "idle")
"""Disjoint: psutil counts guests in user already."""

PRESSURE_RESOURCES = ("cpu", "memory", "io")
MOST_DEVICES = 32
"""Disks or interfaces shown, the first by name: a host of containers has thousands."""

_UNSEEN_DISKS = ("loop", "ram", "zram", "fd", "sr")
_UNSEEN_INTERFACES = ("lo", "veth", "ifb", "docker", "br-", "cali", "cni", "flannel")


class SourceAbsentError(Exception):
    """The machine has no such source. That is no failure."""


@dataclass(frozen=True, slots=True)
class Machine:
    """psutil: the module, or what answers like it. proc, sys: its files. clock: Unix time, which may be set back.

    monotonic: seconds that never go back.
    """

    psutil: Any = psutil
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    statvfs: Callable[[str], Any] = os.statvfs
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


def read_host(machine: Machine) -> Host:
    """Raises OSError or psutil.Error where the system refuses."""
    ps = machine.psutil
    times, memory, swap = ps.cpu_times(), ps.virtual_memory(), ps.swap_memory()
    return Host(
        boot_time_seconds=ps.boot_time(),
        cpu_cores=ps.cpu_count(),
        cpu_seconds={mode: getattr(times, mode) for mode in CPU_MODES if hasattr(times, mode)},
        load=ps.getloadavg(),
        memory_size_bytes=memory.total,
        memory_available_bytes=memory.available,
        memory_cached_bytes=getattr(memory, "cached", 0),
        swap=Swap(swap.total, swap.used, swap.sin, swap.sout),
        disks=_disks(machine),
        interfaces=_interfaces(machine),
    )


def _disks(machine: Machine) -> dict[str, DiskTraffic]:
    """Whole disks: what is in /sys/block, where there is one, is no partition."""
    counters = machine.psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
    try:
        whole = {entry.name for entry in (machine.sys / "block").iterdir()}
    except OSError:
        whole = set(counters)
    names = [name for name in _first(counters, _UNSEEN_DISKS) if name in whole]
    return {name: _disk_traffic(counters[name]) for name in names}


def _disk_traffic(counter: Any) -> DiskTraffic:
    milliseconds = getattr(counter, "busy_time", None)
    busy = None if milliseconds is None else milliseconds / 1000
    return DiskTraffic(counter.read_bytes, counter.write_bytes, busy)


def _interfaces(machine: Machine) -> dict[str, NetworkTraffic]:
    counters = machine.psutil.net_io_counters(pernic=True, nowrap=False) or {}
    return {
        name: NetworkTraffic(c.bytes_recv, c.bytes_sent, c.errin + c.errout, c.dropin + c.dropout)
        for name in _first(counters, _UNSEEN_INTERFACES)
        if (c := counters[name])
    }


def _first(counters: Mapping[str, Any], unseen: tuple[str, ...]) -> list[str]:
    return [name for name in sorted(counters) if not name.startswith(unseen)][:MOST_DEVICES]


def read_pressure(machine: Machine) -> dict[str, Pressure]:
    """Linux's pressure stall information by resource. Raises SourceAbsentError where the kernel keeps none."""
    folder = machine.proc / "pressure"
    if not folder.is_dir():
        raise SourceAbsentError("the kernel keeps no pressure stall information")
    return {resource: _pressure((folder / resource).read_text()) for resource in PRESSURE_RESOURCES}


def _pressure(text: str) -> Pressure:
    """Of lines like `some avg10=0.00 avg60=0.00 avg300=0.00 total=1234`, in microseconds."""
    totals = {words[0]: int(words[-1].removeprefix("total=")) / 1e6 for words in map(str.split, text.splitlines())}
    return Pressure(totals["some"], totals.get("full"))


def disk_space(machine: Machine, path: str) -> DiskSpace:
    """Raises OSError, naming the path, where it is not there."""
    found = machine.statvfs(path)
    return DiskSpace(
        size_bytes=found.f_blocks * found.f_frsize,
        used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
        available_bytes=found.f_bavail * found.f_frsize,
        inodes=found.f_files or None,
        inodes_available=found.f_favail if found.f_files else None,
    )
