from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from pipeline.machine.readings import Gpu, GpuClock, Pressure, ProcessTree
from pipeline.machine.samples import (
    GpuSample,
    Moment,
    ResourceSample,
    from_line,
    merged,
    sample_between,
    system_metrics,
    to_line,
)
from pipeline.machine.sources import disk_space, read_host
from tests.support.machine import GIB, NOW, FakePsutil, machine_of
from tests.support.samples import CARD, SAMPLE
from tests.support.source import ROOT


def moment(ps: FakePsutil, seconds: float, pressure: float | None = None, cpu_seconds: float = 0.0) -> Moment:
    machine = machine_of(ps)
    waited = {} if pressure is None else {"cpu": Pressure(pressure, None)}
    tree = ProcessTree(frozenset({1}), cpu_seconds, 100, 2, 3)
    card = Gpu(0, uuid="GPU-0", utilization_ratio=0.4, clocks={"sm": GpuClock(1e9, None)})
    return Moment(
        NOW + seconds, seconds, read_host(machine), disk_space(machine, "/"), waited, tree, [card, Gpu(1, up=False)]
    )


def test_shares_and_rates_are_of_the_interval() -> None:
    before = moment(FakePsutil(), 0.0, pressure=7.0, cpu_seconds=100.0)
    # Of 10 s on two cores: 14 user, 2 system, 1 waiting for the disk, 3 idle.
    cpu = {"user": 74.0, "system": 12.0, "idle": 103.0, "iowait": 6.0}
    now = moment(FakePsutil(cpu=cpu, received=8000, written=7000), 10.0, pressure=8.5, cpu_seconds=115.0)
    sample = sample_between(before, now, before)
    assert sample.cpu_ratio == pytest.approx(16 / 20)
    assert sample.cpu_iowait_ratio == pytest.approx(1 / 20)
    assert sample.training_cpu_cores == pytest.approx(1.5)
    assert sample.pressure_cpu_ratio == pytest.approx(0.15)
    assert sample.pressure_io_ratio is None
    assert sample.network_received_bytes_per_second == pytest.approx(300)
    assert sample.network_received_bytes == 3000
    assert sample.disk_written_bytes_per_second == pytest.approx(500)
    assert sample.memory_used_bytes == 2 * GIB
    assert (sample.interval_seconds, sample.time_seconds) == (10.0, NOW + 10)
    assert sample.gpus == (GpuSample(0, 0.4, None, None, None, None, None),)


def test_counters_that_fall_give_no_negative_rate() -> None:
    before = moment(FakePsutil(received=9000), 0.0, cpu_seconds=100.0)
    sample = sample_between(before, moment(FakePsutil(received=10), 5.0, cpu_seconds=20.0), before)
    assert (sample.network_received_bytes_per_second, sample.network_received_bytes) == (0, 0)
    assert sample.training_cpu_cores == 0
    assert sample.cpu_ratio == 0


def test_a_line_is_the_sample() -> None:
    sample = replace(SAMPLE, gpus=(CARD,), pressure_io_ratio=None)
    line = to_line(sample)
    assert "\n" not in line
    assert from_line(line) == sample
    assert len(line) < 1200


def test_a_later_release_may_add_to_a_line() -> None:
    values = json.loads(to_line(SAMPLE)) | {"colour": "blue"}
    assert from_line(json.dumps(values)) == SAMPLE


@pytest.mark.parametrize("spoil", [{"cpu_ratio": "much"}, {"cpu_ratio": True}, {"gpus": [{"index": 0}]}, {"gpus": 3}])
def test_what_is_no_sample_is_refused(spoil: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Sample"):
        from_line(json.dumps(json.loads(to_line(SAMPLE)) | spoil))


def test_two_samples_become_one_without_losing_a_peak() -> None:
    later = replace(
        SAMPLE,
        time_seconds=NOW + 15,
        interval_seconds=15.0,
        cpu_ratio=0.1,
        memory_used_bytes=GIB,
        disk_used_bytes=70_000_000,
        pressure_cpu_ratio=None,
        network_received_bytes=5_000_000,
        gpus=(replace(CARD, utilization_ratio=0.9, memory_used_bytes=GIB),),
    )
    both = merged(replace(SAMPLE, gpus=(CARD,)), later)
    assert (both.time_seconds, both.interval_seconds) == (NOW + 15, 20.0)
    assert both.cpu_ratio == pytest.approx(0.3)
    assert both.pressure_cpu_ratio == 0.3
    assert both.memory_used_bytes == 2 * GIB
    assert both.disk_used_bytes == 70_000_000
    assert both.network_received_bytes == 5_000_000
    assert both.cpu_cores == 2
    assert both.gpus[0].utilization_ratio == pytest.approx(0.8)
    assert both.gpus[0].memory_used_bytes == 2 * GIB


def test_merging_touches_every_field() -> None:
    """Of two equal samples the result differs in its interval only."""
    sample = replace(SAMPLE, gpus=(CARD,))
    both = merged(sample, sample)
    different = {
        f.name for f in fields(ResourceSample) if getattr(both, f.name) != pytest.approx(getattr(sample, f.name))
    }
    assert different == {"interval_seconds"}


def test_system_metrics_are_those_of_mlflow() -> None:
    metrics = system_metrics(replace(SAMPLE, gpus=(CARD, replace(CARD, index=1, power_limit_watts=None))))
    assert metrics["system/cpu_utilization_percentage"] == pytest.approx(90)
    assert metrics["system/system_memory_usage_megabytes"] == pytest.approx(2147.483648)
    assert metrics["system/system_memory_usage_percentage"] == pytest.approx(25)
    assert metrics["system/disk_usage_percentage"] == pytest.approx(80)
    assert metrics["system/network_receive_megabytes"] == pytest.approx(3)
    assert metrics["system/gpu_0_power_usage_percentage"] == pytest.approx(50)
    assert metrics["system/gpu_1_utilization_percentage"] == pytest.approx(50)
    assert "system/gpu_1_power_usage_percentage" not in metrics


def test_the_names_are_the_ones_that_mlflow_logs_itself() -> None:
    cpu = pytest.importorskip("mlflow.system_metrics.metrics.cpu_monitor").CPUMonitor()
    disk = pytest.importorskip("mlflow.system_metrics.metrics.disk_monitor").DiskMonitor()
    network = pytest.importorskip("mlflow.system_metrics.metrics.network_monitor").NetworkMonitor()
    theirs = set()
    for monitor in (cpu, disk, network):
        monitor.collect_metrics()
        theirs |= {f"system/{name}" for name in monitor.aggregate_metrics()}
    assert set(system_metrics(SAMPLE)) == theirs


def test_every_field_is_documented() -> None:
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    for name in (*(f.name for f in fields(ResourceSample)), *(f.name for f in fields(GpuSample))):
        assert f"`{name}`" in text or f"`{name}[]`" in text, name
