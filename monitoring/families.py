"""Readings as Prometheus's metric families. A value that is None makes no sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from monitoring.metrics import BY_NAME
from monitoring.runs import MonitoredRun, Runs
from pipeline.machine.readings import DiskSpace, Gpu, Host, Pressure
from pipeline.runs.state import RunState

FAILURE_KINDS = ("panic", "died", "timeout", "memory", "empty", "unrenderable", "invalid")
"""Shown as 0 before the first failure: a counter that begins at 1 has no increase."""

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
"""Fields of a run's status, and the metric that each one is."""

TOTALS = {
    "evaluations_asked": "training_evaluations_total",
    "evaluations_found": "training_evaluations_found_total",
    "nonfinite_metrics": "training_nonfinite_metrics_total",
}


class Families(dict[str, GaugeMetricFamily | CounterMetricFamily]):
    """By the metric's name without its prefix."""

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """Add a sample. labels: in the order of monitoring.metrics; what UTF-8 cannot hold is replaced."""
        if value is None:
            return
        if name not in self:
            metric = BY_NAME[f"tracewright_{name}"]
            family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            self[name] = family(metric.name, metric.text, labels=metric.labels)
        self[name].add_metric([label.encode(errors="replace").decode() for label in labels], float(value))


class Totals:
    """Counters that never fall while this exporter runs, whatever their origin does.

    A process that ends unseen takes its CPU time along, and a training that resumes counts some things again:
    Prometheus would take a drop for a restart and add the whole count once more.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = {}

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
    for name in (
        "boot_time_seconds",
        "cpu_cores",
        "memory_size_bytes",
        "memory_available_bytes",
        "memory_cached_bytes",
    ):
        add(name, getattr(reading, name))
    for mode, seconds in reading.cpu_seconds.items():
        add("cpu_seconds_total", seconds, mode)
    for minutes, load in zip((1, 5, 15), reading.load, strict=True):
        add(f"load{minutes}", load)
    add("swap_size_bytes", reading.swap.size_bytes)
    add("swap_used_bytes", reading.swap.used_bytes)
    add("swap_in_bytes_total", reading.swap.in_bytes)
    add("swap_out_bytes_total", reading.swap.out_bytes)
    for device, disk in reading.disks.items():
        add("disk_read_bytes_total", disk.read_bytes, device)
        add("disk_written_bytes_total", disk.written_bytes, device)
        add("disk_busy_seconds_total", disk.busy_seconds, device)
    for interface, traffic in reading.interfaces.items():
        add("network_received_bytes_total", traffic.received_bytes, interface)
        add("network_transmitted_bytes_total", traffic.transmitted_bytes, interface)
        add("network_errors_total", traffic.errors, interface)
        add("network_dropped_total", traffic.dropped, interface)


def pressure(families: Families, reading: Mapping[str, Pressure]) -> None:
    for resource, waited in reading.items():
        families.add("pressure_some_seconds_total", waited.some_seconds, resource)
        families.add("pressure_full_seconds_total", waited.full_seconds, resource)


def disk(families: Families, path: str, space: DiskSpace) -> None:
    for name in ("size_bytes", "used_bytes", "available_bytes", "inodes", "inodes_available"):
        families.add(f"disk_{name}", getattr(space, name), path)


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
        if card.process_bytes is None:
            continue
        for owner in ("training", "other"):
            held = [h for pid, h in card.process_bytes.items() if (pid in training_pids) == (owner == "training")]
            families.add("gpu_processes", len(held), label, owner)
            if None not in held:
                families.add("gpu_process_memory_bytes", sum(h or 0 for h in held), label, owner)


def runs(families: Families, reading: Runs, totals: Totals) -> None:
    for condition, count in reading.files.items():
        families.add("status_files", count, condition)
    for run in reading.shown:
        _state(families, run)
        _figures(families, run, totals)
        _results(families, run)
        _processes(families, run, totals)
    totals.keep_only({run.name for run in reading.shown})


def _state(families: Families, run: MonitoredRun) -> None:
    status = run.status
    families.add("training_alive", run.alive, run.name)
    for state in get_args(RunState):
        families.add("training_state", state == run.state, run.name, state)
    families.add("training_info", 1, run.name, str(status.seed), status.phase)
    families.add("training_start_time_seconds", status.process_started_seconds, run.name)
    families.add("training_status_age_seconds", run.status_age_seconds, run.name)
    if status.stage:
        families.add("training_stage_info", 1, run.name, status.stage)


def _figures(families: Families, run: MonitoredRun, totals: Totals) -> None:
    for name, metric in FIGURES.items():
        families.add(metric, getattr(run.status, name), run.name)
    for name, metric in TOTALS.items():
        families.add(metric, totals.rise(metric, getattr(run.status, name), run.name), run.name)
    for diagnostic, value in run.status.ppo.items():
        families.add("training_ppo", value, run.name, diagnostic)
    for kind, count in (dict.fromkeys(FAILURE_KINDS, 0) | dict(run.status.failures)).items():
        families.add("training_failures_total", totals.rise("failures", count, run.name, kind), run.name, kind)


def _results(families: Families, run: MonitoredRun) -> None:
    if (validation := run.status.validation) is not None:
        for name in ("timesteps", "value", "bytes_ratio", "damaged_ratio"):
            families.add(f"validation_{name}", getattr(validation, name), run.name)
        families.add("validation_damage_pixels", validation.damage, run.name)
        for category, scores in validation.by_category.items():
            families.add("validation_category_bytes_ratio", scores.bytes_ratio, run.name, category)
            families.add("validation_category_damaged_ratio", scores.damaged_ratio, run.name, category)
    if (checkpoint := run.status.checkpoint) is not None:
        families.add("checkpoint_saved_time_seconds", checkpoint.saved_seconds, run.name)
        families.add("checkpoint_age_seconds", run.checkpoint_age_seconds, run.name)
        families.add("checkpoint_save_seconds", checkpoint.save_seconds, run.name)
        families.add("checkpoint_size_bytes", checkpoint.bytes, run.name)
        families.add("checkpoint_timesteps", checkpoint.timesteps, run.name)


def _processes(families: Families, run: MonitoredRun, totals: Totals) -> None:
    tree = run.tree
    if tree is None:
        return
    families.add("training_processes", len(tree.pids), run.name)
    families.add("training_cpu_seconds_total", totals.rise("cpu", tree.cpu_seconds, run.name), run.name)
    families.add("training_resident_memory_bytes", tree.resident_bytes, run.name)
    families.add("training_threads", tree.threads, run.name)
    families.add("training_open_files", tree.open_files, run.name)
