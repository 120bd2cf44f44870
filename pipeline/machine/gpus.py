"""NVIDIA's cards by NVML. A card that is lost costs its own values only, and is looked for again."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipeline.machine.readings import Gpu, GpuClock
from pipeline.machine.sources import SourceAbsentError

RETRY_SECONDS = 60.0
"""Between two new starts of NVML while a card is lost; NVML sees a card that came back only after one."""

_THROTTLE_REASONS = {
    "power_cap": 0x04,
    "hardware": 0x08,
    "thermal": 0x20,
    "hardware_thermal": 0x40,
    "power_brake": 0x80,
}
"""Bits of NVML's clocks event reasons. Idle clocks, chosen clocks and those of a synced group hold nothing down."""


class Gpus:
    """load: gives the module pynvml; raises ImportError where it is not installed. monotonic: seconds."""

    def __init__(self, monotonic: Callable[[], float], load: Callable[[], Any] | None = None) -> None:
        self._load = load or (lambda: importlib.import_module("pynvml"))
        self._monotonic = monotonic
        self._nvml: Any = None
        self._started_at = 0.0
        self._most_cards = 0

    def read(self) -> tuple[Gpu, ...]:
        """Every card seen so far. Raises SourceAbsentError without a driver, NVMLError when the driver refuses."""
        if self._nvml is None:
            self._nvml = self._start()
            self._started_at = self._monotonic()
        nvml = self._nvml
        try:
            count, driver = nvml.nvmlDeviceGetCount(), nvml.nvmlSystemGetDriverVersion()
        except nvml.NVMLError:
            self._stop()
            raise
        cards = [_card(nvml, index, _text(driver)) for index in range(count)]
        cards += [Gpu(index, up=False) for index in range(count, self._most_cards)]
        self._most_cards = len(cards)
        if not all(card.up for card in cards) and self._monotonic() - self._started_at >= RETRY_SECONDS:
            self._stop()
        return tuple(cards)

    def _start(self) -> Any:
        try:
            nvml = self._load()
        except ImportError as error:
            raise SourceAbsentError("nvidia-ml-py is not installed") from error
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            no_driver = (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
            if error.value in no_driver:
                raise SourceAbsentError(str(error)) from error
            raise
        return nvml

    def _stop(self) -> None:
        nvml, self._nvml = self._nvml, None
        with contextlib.suppress(nvml.NVMLError):  # it may not be running any more
            nvml.nvmlShutdown()


def _card(nvml: Any, index: int, driver: str) -> Gpu:
    """One that is lost, before or while it is read, has `up` False."""
    try:
        return _answering(partial(_ask, nvml, nvml.nvmlDeviceGetHandleByIndex(index)), nvml, index, driver)
    except nvml.NVMLError:
        return Gpu(index, up=False)


def _answering(ask: Callable[..., Any], nvml: Any, index: int, driver: str) -> Gpu:
    busy, memory = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetMemoryInfo")
    return Gpu(
        index=index,
        uuid=_text(ask("nvmlDeviceGetUUID")),
        name=_text(ask("nvmlDeviceGetName")),
        driver_version=driver,
        utilization_ratio=None if busy is None else busy.gpu / 100,
        memory_busy_ratio=None if busy is None else busy.memory / 100,
        memory_size_bytes=None if memory is None else memory.total,
        memory_used_bytes=None if memory is None else memory.used,
        temperature_celsius=ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
        power_watts=_scaled(ask("nvmlDeviceGetPowerUsage"), 1e-3),
        power_limit_watts=_scaled(ask("nvmlDeviceGetEnforcedPowerLimit"), 1e-3),
        energy_joules=_scaled(ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3),
        clocks={"sm": _clock(ask, nvml.NVML_CLOCK_SM), "memory": _clock(ask, nvml.NVML_CLOCK_MEM)},
        throttled=_throttled(ask),
        process_bytes=_process_bytes(ask),
    )


def _ask(nvml: Any, handle: Any, name: str, *arguments: Any) -> Any:
    """None for what the card, the driver or this pynvml does not tell. Raises NVMLError when the card is lost."""
    function = getattr(nvml, name, None)
    if function is None:
        return None
    try:
        return function(handle, *arguments)
    except nvml.NVMLError as error:
        if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_UNINITIALIZED):
            raise
        return None


def _clock(ask: Callable[..., Any], part: int) -> GpuClock:
    now, most = ask("nvmlDeviceGetClockInfo", part), ask("nvmlDeviceGetMaxClockInfo", part)
    return GpuClock(_scaled(now, 1e6), _scaled(most, 1e6))


def _throttled(ask: Callable[..., Any]) -> Mapping[str, bool] | None:
    """Drivers before 535 know the older name only."""
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return None if reasons is None else {name: bool(reasons & bit) for name, bit in _THROTTLE_REASONS.items()}


def _process_bytes(ask: Callable[..., Any]) -> Mapping[int, int | None] | None:
    compute, graphics = ask("nvmlDeviceGetComputeRunningProcesses"), ask("nvmlDeviceGetGraphicsRunningProcesses")
    if compute is None and graphics is None:
        return None
    return {process.pid: process.usedGpuMemory for process in [*(graphics or ()), *(compute or ())]}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _text(value: Any) -> str:
    """Older pynvml answers in bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
