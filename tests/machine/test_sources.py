from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pipeline.machine.readings import DiskSpace, DiskTraffic, NetworkTraffic, Pressure, Swap
from pipeline.machine.sources import Machine, SourceAbsentError, disk_space, read_host, read_pressure
from tests.support.machine import GIB, NOW, FakePsutil, machine_of


def test_the_host_is_read_in_base_units() -> None:
    host = read_host(machine_of())
    assert (host.boot_time_seconds, host.cpu_cores, host.load) == (NOW - 5000, 2, (1.5, 1.0, 0.5))
    assert (host.memory_size_bytes, host.memory_available_bytes, host.memory_cached_bytes) == (8 * GIB, 6 * GIB, GIB)
    assert host.swap == Swap(GIB, 1024, 11, 22)


def test_the_modes_of_the_cpu_are_disjoint() -> None:
    """Guests are counted in user already."""
    assert sum(read_host(machine_of()).cpu_seconds.values()) == 60 + 10 + 100 + 5 + 1


def test_only_whole_disks_and_real_interfaces_are_shown() -> None:
    host = read_host(machine_of())
    assert host.disks == {"sda": DiskTraffic(1000, 2000, 1.5)}
    assert host.interfaces == {"eth0": NetworkTraffic(5000, 7000, 3, 7)}


def test_pressure_is_read_in_seconds() -> None:
    assert read_pressure(machine_of()) == {
        "cpu": Pressure(18.398391, 0.0),
        "memory": Pressure(0.00025, 0.000125),
        "io": Pressure(4.389353, 3.820064),
    }


def test_an_older_kernel_does_not_tell_when_all_wait_for_the_cpu(tmp_path: Path) -> None:
    for resource in ("cpu", "memory", "io"):
        (tmp_path / "pressure").mkdir(exist_ok=True)
        (tmp_path / "pressure" / resource).write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000\n")
    assert read_pressure(machine_of(proc=tmp_path))["cpu"] == Pressure(5.0, None)


def test_a_kernel_without_pressure_has_no_such_source(tmp_path: Path) -> None:
    with pytest.raises(SourceAbsentError):
        read_pressure(machine_of(proc=tmp_path))


def test_what_root_alone_may_use_of_a_disk_is_not_available() -> None:
    assert disk_space(machine_of(), "/data") == DiskSpace(100_000_000, 80_000_000, 15_000_000, 1000, 900)


def test_a_disk_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        disk_space(Machine(), str(tmp_path / "gone"))


def test_a_failing_system_is_not_hidden() -> None:
    with pytest.raises(psutil.AccessDenied):
        read_host(machine_of(FakePsutil(broken=psutil.AccessDenied())))


def test_this_machine_is_read() -> None:
    host = read_host(Machine())
    assert 0 < host.memory_available_bytes < host.memory_size_bytes
    assert host.cpu_seconds["user"] > 0
