"""Every metric of the exporter, once: name, type, labels and meaning. docs/monitoring.md is held to this list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True)
class Metric:
    """name: as it is scraped, with `_total` where it is a counter. source: whose failure makes it absent."""

    name: str
    kind: Kind
    unit: str
    source: str
    text: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, unit: str, source: str, text: str, *labels: str) -> Metric:
    return Metric(f"tracewright_{name}", "gauge", unit, source, text, labels)


def _counter(name: str, unit: str, source: str, text: str, *labels: str) -> Metric:
    return Metric(f"tracewright_{name}_total", "counter", unit, source, text, labels)


_EXPORTER = (
    _gauge("source_up", "1 or 0", "exporter", "Whether the source answered at this scrape, in time.", "source"),
    _gauge("source_duration_seconds", "seconds", "exporter", "What reading the source took, or took so far.", "source"),
    _counter("exporter_process_cpu_seconds", "seconds", "exporter", "CPU time of the exporter."),
    _gauge("exporter_process_resident_memory_bytes", "bytes", "exporter", "Memory of the exporter."),
    _gauge("exporter_process_virtual_memory_bytes", "bytes", "exporter", "Its address space."),
    _gauge("exporter_process_start_time_seconds", "unix time", "exporter", "When the exporter was started."),
    _gauge("exporter_process_open_fds", "files", "exporter", "Its open files and connections."),
    _gauge("exporter_process_max_fds", "files", "exporter", "How many it may open."),
)

_HOST = (
    _gauge("boot_time_seconds", "unix time", "host", "When the machine was started."),
    _gauge("cpu_cores", "cores", "host", "Logical CPU cores of the machine."),
    _counter(
        "cpu_seconds",
        "seconds",
        "host",
        "CPU time of all cores by mode: user, nice, system, irq, softirq, steal, iowait, idle.",
        "mode",
    ),
    _gauge("load1", "tasks", "host", "Tasks that run or wait, average over 1 minute."),
    _gauge("load5", "tasks", "host", "Tasks that run or wait, average over 5 minutes."),
    _gauge("load15", "tasks", "host", "Tasks that run or wait, average over 15 minutes."),
    _gauge("memory_size_bytes", "bytes", "host", "Memory of the machine."),
    _gauge("memory_available_bytes", "bytes", "host", "Memory that programs can have without swapping."),
    _gauge("memory_cached_bytes", "bytes", "host", "Memory that caches files; given back when needed."),
    _gauge("swap_size_bytes", "bytes", "host", "Swap space."),
    _gauge("swap_used_bytes", "bytes", "host", "Swap space in use."),
    _counter("swap_in_bytes", "bytes", "host", "Read back from swap."),
    _counter("swap_out_bytes", "bytes", "host", "Written to swap."),
    _counter("disk_read_bytes", "bytes", "host", "Read from the disk.", "device"),
    _counter("disk_written_bytes", "bytes", "host", "Written to the disk.", "device"),
    _counter("disk_busy_seconds", "seconds", "host", "Time in which the disk had work.", "device"),
    _counter("network_received_bytes", "bytes", "host", "Received by the interface.", "interface"),
    _counter("network_transmitted_bytes", "bytes", "host", "Sent by the interface.", "interface"),
    _counter("network_errors", "packets", "host", "Packets that failed, received or sent.", "interface"),
    _counter("network_dropped", "packets", "host", "Packets that were dropped, received or sent.", "interface"),
    _counter(
        "pressure_some_seconds",
        "seconds",
        "pressure",
        "Time in which some task waited for the resource: cpu, memory, io.",
        "resource",
    ),
    _counter(
        "pressure_full_seconds", "seconds", "pressure", "Time in which every task waited for the resource.", "resource"
    ),
    _gauge("disk_size_bytes", "bytes", "disk", "Size of the file system that holds the path.", "path"),
    _gauge("disk_used_bytes", "bytes", "disk", "Used of it.", "path"),
    _gauge("disk_available_bytes", "bytes", "disk", "Free of it for users other than root.", "path"),
    _gauge("disk_inodes", "files", "disk", "Files that it can hold; absent where it has no limit.", "path"),
    _gauge("disk_inodes_available", "files", "disk", "Files that it can still take.", "path"),
)

_GPU = (
    _gauge("gpu_info", "1", "gpu", "Which card it is.", "gpu", "uuid", "name", "driver_version"),
    _gauge("gpu_up", "1 or 0", "gpu", "Whether the card answers; 0 when it was lost.", "gpu"),
    _gauge("gpu_utilization_ratio", "0 to 1", "gpu", "Share of the time in which a kernel ran on it.", "gpu"),
    _gauge("gpu_memory_busy_ratio", "0 to 1", "gpu", "Share of the time in which its memory was in use.", "gpu"),
    _gauge("gpu_memory_size_bytes", "bytes", "gpu", "Memory of the card.", "gpu"),
    _gauge("gpu_memory_used_bytes", "bytes", "gpu", "Used of it.", "gpu"),
    _gauge("gpu_temperature_celsius", "degrees Celsius", "gpu", "Temperature of the chip.", "gpu"),
    _gauge("gpu_power_watts", "watts", "gpu", "Power drawn.", "gpu"),
    _gauge("gpu_power_limit_watts", "watts", "gpu", "Power that it may draw.", "gpu"),
    _counter("gpu_energy_joules", "joules", "gpu", "Energy used since the driver was loaded.", "gpu"),
    _gauge("gpu_clock_hertz", "hertz", "gpu", "Clock of the part: sm, memory.", "gpu", "clock"),
    _gauge("gpu_clock_max_hertz", "hertz", "gpu", "Highest clock of the part.", "gpu", "clock"),
    _gauge(
        "gpu_throttled",
        "1 or 0",
        "gpu",
        "Whether its clock is held down for the reason: power_cap, hardware, thermal, hardware_thermal, power_brake.",
        "gpu",
        "reason",
    ),
    _gauge("gpu_processes", "processes", "gpu", "Processes that use it, by owner: training or other.", "gpu", "owner"),
    _gauge("gpu_process_memory_bytes", "bytes", "gpu", "Memory of the card that they hold.", "gpu", "owner"),
)

_PROCESSES = (
    _gauge("training_processes", "processes", "training", "Processes of the training: itself and all below it.", "run"),
    _counter("training_cpu_seconds", "seconds", "training", "CPU time of all its processes, ended ones too.", "run"),
    _gauge(
        "training_resident_memory_bytes",
        "bytes",
        "training",
        "Memory of all its processes; what they share is counted for each.",
        "run",
    ),
    _gauge("training_threads", "threads", "training", "Threads of all its processes.", "run"),
    _gauge("training_open_files", "files", "training", "Open files and connections of all its processes.", "run"),
)

_TRAINING = (
    _gauge("training_alive", "1 or 0", "training", "Whether the process that trains is there.", "run"),
    _gauge(
        "training_state",
        "1 or 0",
        "training",
        "1 for its state: waiting, preparing, training, finished, stopped, failed or killed.",
        "run",
        "state",
    ),
    _gauge("training_info", "1", "training", "The run's seed and the phase it is in.", "run", "seed", "phase"),
    _gauge("training_start_time_seconds", "unix time", "training", "When its process began.", "run"),
    _gauge("training_status_age_seconds", "seconds", "training", "Since the training last told its state.", "run"),
    _gauge("training_timesteps", "timesteps", "training", "Timesteps spent.", "run"),
    _gauge("training_planned_timesteps", "timesteps", "training", "Timesteps planned.", "run"),
    _gauge("training_timesteps_per_second", "1/s", "training", "Timesteps per second in the latest rollout.", "run"),
    _gauge("training_stage_number", "1 to stages", "training", "Stage of the curriculum it is in.", "run"),
    _gauge("training_stages", "stages", "training", "Stages of the curriculum.", "run"),
    _gauge("training_stage_info", "1", "training", "Name of the stage it is in.", "run", "stage"),
    _gauge("training_return_mean", "ln ratio", "training", "Mean return of the stage's latest 200 episodes.", "run"),
    _gauge("training_success_ratio", "0 to 1", "training", "Share of these episodes that reached the goal.", "run"),
    _gauge(
        "training_ppo",
        "see docs/metrics.md",
        "training",
        "Diagnostics of PPO's latest update.",
        "run",
        "diagnostic",
    ),
    _counter("training_evaluations", "evaluations", "training", "Different evaluations that were requested.", "run"),
    _counter("training_evaluations_found", "evaluations", "training", "Of these, found in the store.", "run"),
    _counter("training_failures", "traces", "training", "Traces that failed in training, by kind.", "run", "kind"),
    _counter("training_nonfinite_metrics", "values", "training", "Metrics that were NaN or infinite.", "run"),
    _gauge("validation_timesteps", "timesteps", "training", "When the latest validation was.", "run"),
    _gauge("validation_value", "ln ratio", "training", "Its mean value.", "run"),
    _gauge("validation_bytes_ratio", "ratio", "training", "Its bytes over the default's, geometric mean.", "run"),
    _gauge("validation_damaged_ratio", "0 to 1", "training", "Share of its images with visible damage.", "run"),
    _gauge("validation_damage_pixels", "pixels", "training", "Mean damage of its images: 1 is visible.", "run"),
    _gauge(
        "validation_category_bytes_ratio", "ratio", "training", "The same of one category's images.", "run", "category"
    ),
    _gauge(
        "validation_category_damaged_ratio",
        "0 to 1",
        "training",
        "The same of one category's images.",
        "run",
        "category",
    ),
    _gauge("checkpoint_saved_time_seconds", "unix time", "training", "When the latest checkpoint was saved.", "run"),
    _gauge("checkpoint_age_seconds", "seconds", "training", "Since then.", "run"),
    _gauge("checkpoint_save_seconds", "seconds", "training", "What saving it took.", "run"),
    _gauge("checkpoint_size_bytes", "bytes", "training", "Its size.", "run"),
    _gauge("checkpoint_timesteps", "timesteps", "training", "The timestep it goes on from.", "run"),
    _gauge("replica_unsent_records", "records", "training", "Records of the journal that MLflow lacks so far.", "run"),
    _gauge("replica_lag_seconds", "seconds", "training", "Age of the oldest of them.", "run"),
    _gauge(
        "status_files",
        "files",
        "training",
        "Status files in the runs' folder: shown, expired (an old run), over_limit, unreadable.",
        "condition",
    ),
)

METRICS: tuple[Metric, ...] = (*_EXPORTER, *_HOST, *_GPU, *_PROCESSES, *_TRAINING)
BY_NAME = {metric.name: metric for metric in METRICS}
