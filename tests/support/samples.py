"""One sample of a machine, with every value set."""

from __future__ import annotations

from pipeline.machine.samples import (
    GpuSample,
    ResourceSample,
)
from tests.support.machine import GIB, NOW

CARD = GpuSample(0, 0.5, 2 * GIB, 8 * GIB, 60.0, 200.0, 400.0)
SAMPLE = ResourceSample(
    time_seconds=NOW,
    interval_seconds=5.0,
    cpu_cores=2,
    cpu_ratio=0.9,
    cpu_iowait_ratio=0.01,
    load1=2.0,
    memory_used_bytes=2 * GIB,
    memory_size_bytes=8 * GIB,
    swap_used_bytes=0,
    disk_used_bytes=80_000_000,
    disk_available_bytes=20_000_000,
    disk_size_bytes=110_000_000,
    disk_read_bytes_per_second=10.0,
    disk_written_bytes_per_second=20.0,
    network_received_bytes=3_000_000,
    network_transmitted_bytes=4_000_000,
    network_received_bytes_per_second=30.0,
    network_transmitted_bytes_per_second=40.0,
    pressure_cpu_ratio=0.3,
    pressure_memory_ratio=0.0,
    pressure_io_ratio=0.0,
    training_cpu_cores=1.7,
    training_memory_bytes=GIB,
    training_processes=3,
    training_threads=20,
    training_open_files=40,
)
