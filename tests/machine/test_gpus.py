from __future__ import annotations

import pynvml
import pytest

from pipeline.machine.gpus import RETRY_SECONDS, Gpus
from pipeline.machine.readings import Gpu, GpuClock
from pipeline.machine.sources import SourceAbsentError
from tests.support.machine import GIB, Clock, FakeCard, FakeNvml


def gpus_of(nvml: FakeNvml, clock: Clock | None = None) -> Gpus:
    time = clock or Clock()
    return Gpus(lambda: time.monotonic, lambda: nvml)


def test_a_card_is_read_in_base_units() -> None:
    assert gpus_of(FakeNvml(FakeCard())).read() == (
        Gpu(
            index=0,
            uuid="GPU-0",
            name="NVIDIA Fake",
            driver_version="580.65.06",
            utilization_ratio=0.37,
            memory_busy_ratio=0.12,
            memory_size_bytes=8 * GIB,
            memory_used_bytes=3 * GIB,
            temperature_celsius=61,
            power_watts=250.5,
            power_limit_watts=700.0,
            energy_joules=9000.0,
            clocks={"sm": GpuClock(1.98e9, 2e9), "memory": GpuClock(3.201e9, 3.201e9)},
            throttled={
                "power_cap": False,
                "hardware": False,
                "thermal": True,
                "hardware_thermal": False,
                "power_brake": False,
            },
            process_bytes={10: GIB, 99: GIB // 2},
        ),
    )


def test_what_a_card_does_not_support_is_not_zero() -> None:
    silent = frozenset({"utilization", "power", "reasons", "processes", "memory"})
    [card] = gpus_of(FakeNvml(FakeCard(silent=silent))).read()
    assert card.up
    assert (card.utilization_ratio, card.memory_busy_ratio, card.memory_used_bytes) == (None, None, None)
    assert (card.power_watts, card.throttled, card.process_bytes) == (None, None, None)
    assert card.temperature_celsius == 61


def test_an_older_driver_knows_the_older_name() -> None:
    nvml = FakeNvml(FakeCard())
    nvml.nvmlDeviceGetCurrentClocksThrottleReasons = lambda handle: 0x04  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetCurrentClocksEventReasons = None  # type: ignore[method-assign, assignment]
    [card] = gpus_of(nvml).read()
    assert card.throttled is not None
    assert card.throttled["power_cap"]


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_no_driver_is_no_failure(code: int) -> None:
    with pytest.raises(SourceAbsentError):
        gpus_of(FakeNvml(init_error=code)).read()


def test_a_driver_that_refuses_is_a_failure() -> None:
    with pytest.raises(pynvml.NVMLError):
        gpus_of(FakeNvml(init_error=pynvml.NVML_ERROR_UNKNOWN)).read()


def test_pynvml_may_be_missing() -> None:
    def missing() -> None:
        raise ImportError("No module named 'pynvml'")

    with pytest.raises(SourceAbsentError, match="not installed"):
        Gpus(lambda: 0.0, missing).read()


def test_a_driver_that_comes_later_is_found() -> None:
    nvml = FakeNvml(FakeCard(), init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    gpus = gpus_of(nvml)
    with pytest.raises(SourceAbsentError):
        gpus.read()
    nvml.init_error = None
    assert [card.up for card in gpus.read()] == [True]


def test_a_lost_card_costs_itself_only_and_comes_back() -> None:
    clock = Clock()
    nvml = FakeNvml(FakeCard(), FakeCard())
    gpus = gpus_of(nvml, clock)
    gpus.read()
    nvml.lose(0)
    lost, well = gpus.read()
    assert lost == Gpu(0, up=False)
    assert well.up
    nvml.find(0)
    assert [card.up for card in gpus.read()] == [True, True]


def test_nvml_is_started_anew_for_a_lost_card_but_not_at_every_scrape() -> None:
    clock = Clock()
    nvml = FakeNvml(FakeCard())
    gpus = gpus_of(nvml, clock)
    nvml.lose(0)
    for _ in range(20):
        gpus.read()
        clock.pass_(RETRY_SECONDS / 4)
    assert 4 <= nvml.starts <= 6


def test_a_card_that_is_not_even_counted_any_more_is_missed() -> None:
    nvml = FakeNvml(FakeCard(), FakeCard())
    gpus = gpus_of(nvml)
    gpus.read()
    nvml.cards.pop()
    assert [card.up for card in gpus.read()] == [True, False]


def test_a_driver_that_stops_is_started_anew() -> None:
    nvml = FakeNvml(FakeCard())
    gpus = gpus_of(nvml)
    gpus.read()
    nvml.running = False
    with pytest.raises(pynvml.NVMLError):
        gpus.read()
    assert [card.up for card in gpus.read()] == [True]
    assert nvml.starts == 2


def test_a_card_that_is_lost_while_it_is_asked_is_lost_whole() -> None:
    nvml = FakeNvml(FakeCard(lost=True))
    nvml.nvmlDeviceGetHandleByIndex = lambda index: index  # type: ignore[method-assign]
    assert gpus_of(nvml).read() == (Gpu(0, up=False),)
