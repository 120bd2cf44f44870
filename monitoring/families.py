"""Readings as families of Prometheus. A value that is None makes no sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from monitoring.metrics import BY_NAME
from monitoring.runs import GONE
from monitoring.status import FAILURE_KINDS, STATES
from pipeline.machine.readings import DiskSpace, Gpu, Host, Pressure, Training, Trainings

Labels = tuple[str, ...]
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

FIGURES = {
    "timesteps": "training_timesteps",
    "total_timesteps": "training_planned_timesteps",
    "steps_per_second": "training_timesteps_per_second",
    "return_mean": "training_return_mean",
    "success_rate": "training_success_ratio",
    "stage_number": "training_stage_number",
    "stages": "training_stages",
    "replica_unsent_records": "replica_unsent_records",
    "replica_lag_seconds": "replica_lag_seconds",
}
"""Single numbers of a status file, and the metric that each one is."""

TOTALS = {
    "evaluations_asked": "training_evaluations_total",
    "evaluations_found": "training_evaluations_found_total",
    "nonfinite_metrics": "training_nonfinite_metrics_total",
}


class Families:
    """Samples by family, and their text as Prometheus reads it (exposition format 0.0.4).

    prometheus_client writes the same text; it took half of a scrape's time to check and quote anew what never changes.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """name: of monitoring.metrics, without the prefix."""
        if value is not None:
            self._lines.setdefault(name, []).append(f"{_series(name, labels)} {float(value)!r}\n")

    def text(self) -> bytes:
        return "".join(part for name, lines in self._lines.items() for part in (_head(name), *lines)).encode(
            errors="replace"
        )


@lru_cache(maxsize=512)
def _head(name: str) -> str:
    metric = BY_NAME[f"tracewright_{name}"]
    return f"# HELP {metric.name} {metric.text}\n# TYPE {metric.name} {metric.kind}\n"


@lru_cache(maxsize=8192)
def _series(name: str, labels: Labels) -> str:
    metric = BY_NAME[f"tracewright_{name}"]
    pairs = zip(metric.labels, labels, strict=True)
    quoted = ",".join(f'{label}="{value.translate(_ESCAPED)}"' for label, value in pairs)
    return f"{metric.name}{{{quoted}}}" if quoted else metric.name


class Totals:
    """Counters that only rise while this exporter lives, whatever their origin does.

    A process that ends unseen takes its time along, and a training that goes on from a checkpoint counts some things
    again: Prometheus would take a drop for a restart and add the whole count once more.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, Labels], tuple[float, float]] = {}

    def rise(self, name: str, value: float, *labels: str) -> float:
        key = name, labels
        last, total = self._known.get(key, (value, value))
        total += max(0.0, value - last)
        self._known[key] = value, total
        return total

    def keep_only(self, runs: set[str]) -> None:
        """Forget runs that are not shown any more; the first label is the run's."""
        self._known = {key: known for key, known in self._known.items() if key[1][0] in runs}


def host(families: Families, reading: Host) -> None:
    add = families.add
    add("boot_time_seconds", reading.boot_time_seconds)
    add("cpu_cores", reading.cpu_cores)
    for mode, seconds in reading.cpu_seconds.items():
        add("cpu_seconds_total", seconds, mode)
    for minutes, load in zip((1, 5, 15), reading.load, strict=True):
        add(f"load{minutes}", load)
    add("memory_size_bytes", reading.memory_size_bytes)
    add("memory_available_bytes", reading.memory_available_bytes)
    add("memory_cached_bytes", reading.memory_cached_bytes)
    add("swap_size_bytes", reading.swap.size_bytes)
    add("swap_used_bytes", reading.swap.used_bytes)
    add("swap_in_bytes_total", reading.swap.in_bytes)
    add("swap_out_bytes_total", reading.swap.out_bytes)
    _devices(families, reading)


def _devices(families: Families, reading: Host) -> None:
    for device, disk in reading.disks.items():
        families.add("disk_read_bytes_total", disk.read_bytes, device)
        families.add("disk_written_bytes_total", disk.written_bytes, device)
        families.add("disk_busy_seconds_total", disk.busy_seconds, device)
    for interface, traffic in reading.interfaces.items():
        families.add("network_received_bytes_total", traffic.received_bytes, interface)
        families.add("network_transmitted_bytes_total", traffic.transmitted_bytes, interface)
        families.add("network_errors_total", traffic.errors, interface)
        families.add("network_dropped_total", traffic.dropped, interface)


def pressure(families: Families, reading: Mapping[str, Pressure]) -> None:
    for resource, waited in reading.items():
        families.add("pressure_some_seconds_total", waited.some_seconds, resource)
        families.add("pressure_full_seconds_total", waited.full_seconds, resource)


def disk(families: Families, path: str, space: DiskSpace) -> None:
    families.add("disk_size_bytes", space.size_bytes, path)
    families.add("disk_used_bytes", space.used_bytes, path)
    families.add("disk_available_bytes", space.available_bytes, path)
    families.add("disk_inodes", space.inodes, path)
    families.add("disk_inodes_available", space.inodes_available, path)


def gpus(families: Families, cards: Iterable[Gpu], training_pids: frozenset[int]) -> None:
    """training_pids: of all processes of trainings; others' are `other`."""
    for card in cards:
        label = str(card.index)
        families.add("gpu_up", card.up, label)
        if not card.up:
            continue
        families.add("gpu_info", 1, label, card.uuid, card.name, card.driver_version)
        for name in (
            "utilization_ratio", "memory_busy_ratio", "memory_size_bytes", "memory_used_bytes", "temperature_celsius",
            "power_watts", "power_limit_watts",
        ):  # fmt: skip
            families.add(f"gpu_{name}", getattr(card, name), label)
        families.add("gpu_energy_joules_total", card.energy_joules, label)
        for part, clock in card.clocks.items():
            families.add("gpu_clock_hertz", clock.hertz, label, part)
            families.add("gpu_clock_max_hertz", clock.max_hertz, label, part)
        for reason, active in (card.throttled or {}).items():
            families.add("gpu_throttled", active, label, reason)
        _gpu_processes(families, card, training_pids)


def _gpu_processes(families: Families, card: Gpu, training_pids: frozenset[int]) -> None:
    if card.process_bytes is None:
        return
    for owner in ("training", "other"):
        held = [h for pid, h in card.process_bytes.items() if (pid in training_pids) == (owner == "training")]
        families.add("gpu_processes", len(held), str(card.index), owner)
        if None not in held:
            families.add("gpu_process_memory_bytes", sum(h or 0 for h in held), str(card.index), owner)


def trainings(families: Families, reading: Trainings, totals: Totals) -> None:
    for condition, count in reading.files.items():
        families.add("status_files", count, condition)
    for training in reading.runs:
        _life(families, training)
        _figures(families, training, totals)
        _validation(families, training)
        _checkpoint(families, training)
        _tree(families, training, totals)
    totals.keep_only({training.run for training in reading.runs})


def _life(families: Families, training: Training) -> None:
    run, status = training.run, training.status
    families.add("training_alive", training.alive, run)
    for state in (*STATES, GONE):
        families.add("training_state", state == training.state, run, state)
    families.add("training_info", 1, run, status.seed, status.phase)
    families.add("training_start_time_seconds", status.process_started_seconds, run)
    families.add("training_status_age_seconds", training.status_age_seconds, run)


def _figures(families: Families, training: Training, totals: Totals) -> None:
    run, status = training.run, training.status
    for figure, value in status.figures.items():
        if figure in FIGURES:
            families.add(FIGURES[figure], value, run)
        else:
            families.add(TOTALS[figure], totals.rise(TOTALS[figure], value, run), run)
    if status.stage:
        families.add("training_stage_info", 1, run, status.stage)
    for kind, count in (dict.fromkeys(FAILURE_KINDS, 0.0) | dict(status.failures)).items():
        families.add("training_failures_total", totals.rise("failures", count, run, kind), run, kind)


def _validation(families: Families, training: Training) -> None:
    run, found = training.run, training.status.validation
    if found is None:
        return
    for name in ("timesteps", "value", "bytes_ratio", "skill", "ssim"):
        families.add(f"validation_{name}", getattr(found, name), run)
    for category, part in found.by_category.items():
        families.add("validation_category_bytes_ratio", part.get("bytes_ratio"), run, category)
        families.add("validation_category_skill", part.get("skill"), run, category)


def _checkpoint(families: Families, training: Training) -> None:
    run, found = training.run, training.status.checkpoint
    if found is None:
        return
    families.add("checkpoint_saved_time_seconds", found.saved_seconds, run)
    families.add("checkpoint_age_seconds", training.checkpoint_age_seconds, run)
    for name in ("save_seconds", "size_bytes", "timesteps"):
        families.add(f"checkpoint_{name}", getattr(found, name), run)


def _tree(families: Families, training: Training, totals: Totals) -> None:
    run, tree = training.run, training.tree
    if tree is None:
        return
    families.add("training_processes", len(tree.pids), run)
    families.add("training_cpu_seconds_total", totals.rise("cpu", tree.cpu_seconds, run), run)
    families.add("training_resident_memory_bytes", tree.resident_bytes, run)
    families.add("training_threads", tree.threads, run)
    families.add("training_open_files", tree.open_files, run)
