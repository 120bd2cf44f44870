"""A machine to order: what answers like psutil and pynvml, and a folder of /proc files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
from pynvml import (
    NVML_CLOCK_MEM,
    NVML_CLOCK_SM,
    NVML_ERROR_DRIVER_NOT_LOADED,
    NVML_ERROR_GPU_IS_LOST,
    NVML_ERROR_LIBRARY_NOT_FOUND,
    NVML_ERROR_NOT_SUPPORTED,
    NVML_ERROR_UNINITIALIZED,
    NVML_TEMPERATURE_GPU,
    NVMLError,
)

from pipeline.machine.sources import Machine

PROC = Path(__file__).parent / "proc"
GIB = 1 << 30
NOW = 1_800_000_000.0


class Clock:
    """Unix time and a monotonic clock that tests turn by hand."""

    def __init__(self, unix: float = NOW, monotonic: float = 1000.0) -> None:
        self.unix, self.monotonic = unix, monotonic

    def pass_(self, seconds: float) -> None:
        self.unix += seconds
        self.monotonic += seconds


@dataclass
class FakeProcess:
    """What psutil.Process answers. ended: raises as a process does that is not there any more."""

    pid: int
    started: float = NOW - 100
    user: float = 1.0
    system: float = 0.5
    children_user: float = 0.0
    children_system: float = 0.0
    rss: int = 100
    threads: int = 2
    files: int = 3
    state: str = psutil.STATUS_RUNNING
    ended: bool = False
    secret: bool = False
    below: list[FakeProcess] = field(default_factory=list)

    def _there(self) -> None:
        if self.ended:
            raise psutil.NoSuchProcess(self.pid)

    @contextmanager
    def oneshot(self) -> Iterator[None]:
        self._there()
        yield

    def create_time(self) -> float:
        self._there()
        return self.started

    def is_running(self) -> bool:
        return not self.ended

    def status(self) -> str:
        self._there()
        return self.state

    def cpu_times(self) -> Any:
        self._there()
        return SimpleNamespace(
            user=self.user,
            system=self.system,
            children_user=self.children_user,
            children_system=self.children_system,
        )

    def memory_info(self) -> Any:
        self._there()
        return SimpleNamespace(rss=self.rss)

    def num_threads(self) -> int:
        self._there()
        return self.threads

    def num_fds(self) -> int:
        self._there()
        if self.secret:
            raise psutil.AccessDenied(self.pid)
        return self.files

    def children(self, recursive: bool) -> list[FakeProcess]:
        self._there()
        assert recursive
        return [process for child in self.below for process in (child, *child.children(recursive))]


@dataclass
class FakePsutil:
    """A machine of two cores. processes: by number; the first one is our own."""

    processes: dict[int, FakeProcess] = field(default_factory=lambda: {1: FakeProcess(1)})
    cpu: dict[str, float] = field(default_factory=lambda: {"user": 60.0, "system": 10.0, "idle": 100.0, "iowait": 5.0})
    memory_available: int = 6 * GIB
    received: int = 5000
    written: int = 2000
    broken: Exception | None = None

    def Process(self, pid: int | None = None) -> FakeProcess:
        process = next(iter(self.processes.values())) if pid is None else self.processes.get(pid)
        if process is None or process.ended:
            raise psutil.NoSuchProcess(pid or 0)
        return process

    def cpu_times(self) -> Any:
        if self.broken:
            raise self.broken
        return SimpleNamespace(**{"nice": 0.0, "irq": 0.0, "softirq": 1.0, "steal": 0.0, "guest": 9.0} | self.cpu)

    def cpu_count(self) -> int:
        return 2

    def boot_time(self) -> float:
        return NOW - 5000

    def getloadavg(self) -> tuple[float, float, float]:
        return 1.5, 1.0, 0.5

    def virtual_memory(self) -> Any:
        return SimpleNamespace(total=8 * GIB, available=self.memory_available, cached=GIB)

    def swap_memory(self) -> Any:
        return SimpleNamespace(total=GIB, used=1024, sin=11, sout=22)

    def disk_io_counters(self, perdisk: bool, nowrap: bool) -> dict[str, Any]:
        assert perdisk
        assert not nowrap  # it would remember, and hold, what fell
        one = SimpleNamespace(read_bytes=1000, write_bytes=self.written, busy_time=1500)
        return {"sda": one, "sda1": one, "loop0": one}

    def net_io_counters(self, pernic: bool, nowrap: bool) -> dict[str, Any]:
        assert pernic
        assert not nowrap
        one = SimpleNamespace(bytes_recv=self.received, bytes_sent=7000, errin=1, errout=2, dropin=3, dropout=4)
        return {"eth0": one, "lo": one, "veth12ab": one}


def statvfs(path: str) -> Any:
    """A file system of 100 blocks of 1 MB, 20 of them free, 15 of these for anybody."""
    return SimpleNamespace(f_blocks=100, f_bfree=20, f_bavail=15, f_frsize=1_000_000, f_files=1000, f_favail=900)


def machine_of(ps: FakePsutil | None = None, clock: Clock | None = None, proc: Path = PROC) -> Machine:
    """sys has one whole disk, sda."""
    time = clock or Clock()
    return Machine(
        psutil=ps or FakePsutil(),
        proc=proc,
        sys=PROC.parent / "sys",
        statvfs=statvfs,
        clock=lambda: time.unix,
        monotonic=lambda: time.monotonic,
    )


@dataclass(frozen=True)
class FakeCard:
    """silent: names of functions that it does not support."""

    lost: bool = False
    silent: frozenset[str] = frozenset()
    utilization: int = 37
    used: int = 3 * GIB
    reasons: int = 0x20
    processes: tuple[tuple[int, int | None], ...] = ((10, GIB), (99, GIB // 2))


class FakeNvml:
    """Shaped like the module pynvml. wait: called at every question, so that it can hang or fail."""

    NVMLError = NVMLError
    NVML_ERROR_LIBRARY_NOT_FOUND = NVML_ERROR_LIBRARY_NOT_FOUND
    NVML_ERROR_DRIVER_NOT_LOADED = NVML_ERROR_DRIVER_NOT_LOADED
    NVML_ERROR_GPU_IS_LOST = NVML_ERROR_GPU_IS_LOST
    NVML_ERROR_UNINITIALIZED = NVML_ERROR_UNINITIALIZED
    NVML_TEMPERATURE_GPU = NVML_TEMPERATURE_GPU
    NVML_CLOCK_SM, NVML_CLOCK_MEM = NVML_CLOCK_SM, NVML_CLOCK_MEM

    def __init__(self, *cards: FakeCard, init_error: int | None = None) -> None:
        self.cards = list(cards)
        self.init_error = init_error
        self.starts = 0
        self.running = False
        self.wait: Callable[[], object] = lambda: None

    def lose(self, index: int) -> None:
        self.cards[index] = replace(self.cards[index], lost=True)

    def find(self, index: int) -> None:
        self.cards[index] = replace(self.cards[index], lost=False)

    def nvmlInit(self) -> None:
        self.starts += 1
        if self.init_error is not None:
            raise NVMLError(self.init_error)
        self.running = True

    def nvmlShutdown(self) -> None:
        if not self.running:
            raise NVMLError(NVML_ERROR_UNINITIALIZED)
        self.running = False

    def nvmlDeviceGetCount(self) -> int:
        self.wait()
        if not self.running:
            raise NVMLError(NVML_ERROR_UNINITIALIZED)
        return len(self.cards)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if self.cards[index].lost:
            raise NVMLError(NVML_ERROR_GPU_IS_LOST)
        return index

    def _card(self, handle: int, question: str) -> FakeCard:
        card = self.cards[handle]
        if card.lost:
            raise NVMLError(NVML_ERROR_GPU_IS_LOST)
        if question in card.silent:
            raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
        return card

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=self._card(handle, "utilization").utilization, memory=12)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=8 * GIB, used=self._card(handle, "memory").used)

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return f"GPU-{handle}".encode()

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA Fake"

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        assert sensor == NVML_TEMPERATURE_GPU
        self._card(handle, "temperature")
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._card(handle, "power")
        return 250_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 700_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return 9_000_000

    def nvmlDeviceGetClockInfo(self, handle: int, part: int) -> int:
        return {NVML_CLOCK_SM: 1980, NVML_CLOCK_MEM: 3201}[part]

    def nvmlDeviceGetMaxClockInfo(self, handle: int, part: int) -> int:
        return {NVML_CLOCK_SM: 2000, NVML_CLOCK_MEM: 3201}[part]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return self._card(handle, "reasons").reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        held = self._card(handle, "processes").processes
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in held]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[Any]:
        self._card(handle, "processes")
        return []
