"""What the machine has left, and what the training takes of it. Thresholds are those of the alarms."""

from __future__ import annotations

from monitoring.grafana.page import ALARMS, RUNS, page
from monitoring.grafana.panels import BLUE, GREEN, HERE, RED, RUN, YELLOW, YES_OR_NO, Steps, lines, stat_panel, states

RATE = "[$__rate_interval]"
MEMORY: Steps = [(0.8, YELLOW), (0.95, RED)]
DISK: Steps = [(0.85, YELLOW), (0.95, RED)]
GPU: Steps = [(0.9, YELLOW), (0.98, RED)]
GPU_MEMORY: Steps = [(0.85, YELLOW), (0.95, RED)]
GPU_CELSIUS: Steps = [(80, YELLOW), (90, RED)]

CPU_BUSY = f"instance:tracewright_cpu_busy:ratio{{{HERE}}}"
CPU_OTHER = f"instance:tracewright_cpu_other:ratio{{{HERE}}}"
MEMORY_USED = f"instance:tracewright_memory_used:ratio{{{HERE}}}"
DISK_USED = f"instance_path:tracewright_disk_used:ratio{{{HERE}}}"
FULL_IN = f"instance_path:tracewright_disk_full:seconds{{{HERE}}}"
GPU_MEMORY_USED = f"instance_gpu:tracewright_gpu_memory_used:ratio{{{HERE}}}"
"""Of monitoring/prometheus/rules/recording.yml, as the alarms have them."""

TOP = (
    stat_panel(
        "CPU busy",
        "Cores that work, of all. A training is meant to use them all, so this has no colour of its own.",
        (f"max({CPU_BUSY})", ""),
        unit="percentunit",
        below=BLUE,
        decimals=0,
        width=3,
    ),
    stat_panel(
        "CPU of others",
        "Cores that work for programs other than our trainings, of all: they slow a training down.",
        (f"max({CPU_OTHER})", ""),
        unit="percentunit",
        steps=[(0.2, YELLOW), (0.8, RED)],
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Memory used",
        "What programs cannot have without swapping, of all.",
        (f"max({MEMORY_USED})", ""),
        unit="percentunit",
        steps=MEMORY,
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Disk used",
        "Of the fullest that is watched.",
        (f"max({DISK_USED})", ""),
        unit="percentunit",
        steps=DISK,
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Disk full in",
        "At the pace of the last hour, once half of it is used.",
        (f"min({FULL_IN} and {DISK_USED} > 0.5)", ""),
        unit="s",
        below=RED,
        steps=[(2 * 3600, YELLOW), (24 * 3600, GREEN)],
        none="not soon",
        decimals=0,
        width=3,
    ),
    stat_panel(
        "GPU busy",
        "Time in which a kernel ran, on the card that did least.",
        (f"min(tracewright_gpu_utilization_ratio{{{HERE}}})", ""),
        unit="percentunit",
        below=BLUE,
        none="no GPU",
        decimals=0,
        width=3,
    ),
    stat_panel(
        "GPU memory used",
        "Of the fullest card.",
        (f"max({GPU_MEMORY_USED})", ""),
        unit="percentunit",
        steps=GPU_MEMORY,
        none="no GPU",
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Hottest GPU",
        "Temperature of the hottest card.",
        (f"max(tracewright_gpu_temperature_celsius{{{HERE}}})", ""),
        unit="celsius",
        steps=GPU_CELSIUS,
        none="no GPU",
        decimals=0,
        width=3,
    ),
)

PROCESSOR = (
    lines(
        "CPU by mode",
        "Share of all cores. iowait is idle time spent waiting for disks.",
        (
            f'sum by (mode) (rate(tracewright_cpu_seconds_total{{{HERE}, mode!="idle"}}{RATE})) '
            f"/ scalar(sum(tracewright_cpu_cores{{{HERE}}}))",
            "{{mode}}",
        ),
        unit="percentunit",
        high=1,
        stacked=True,
    ),
    lines(
        "Load",
        "Tasks that run or wait, average over 1 and 15 minutes, and the number of cores.",
        (f"tracewright_load1{{{HERE}}}", "1 minute"),
        (f"tracewright_load15{{{HERE}}}", "15 minutes"),
        (f"tracewright_cpu_cores{{{HERE}}}", "cores"),
        unit="short",
    ),
    lines(
        "Pressure",
        "Share of the time in which some task waited for the resource.",
        (f"rate(tracewright_pressure_some_seconds_total{{{HERE}}}{RATE})", "{{resource}}"),
        unit="percentunit",
        high=1,
    ),
)

MEMORY_PANELS = (
    lines(
        "Memory by use",
        "In use: not available without swapping.",
        (
            f"tracewright_memory_size_bytes{{{HERE}}} - tracewright_memory_available_bytes{{{HERE}}}",
            "in use {{instance}}",
        ),
        (f"tracewright_memory_cached_bytes{{{HERE}}}", "file cache {{instance}}"),
        (f"tracewright_memory_size_bytes{{{HERE}}}", "all {{instance}}"),
        unit="bytes",
    ),
    lines(
        "Memory in use",
        "Share of all; the lines are where the alarms are.",
        (MEMORY_USED, "{{instance}}"),
        unit="percentunit",
        high=1,
        steps=MEMORY,
    ),
    lines(
        "Swapping",
        "Bytes per second. Steady traffic here makes everything slow.",
        (f"rate(tracewright_swap_in_bytes_total{{{HERE}}}{RATE})", "in {{instance}}"),
        (f"rate(tracewright_swap_out_bytes_total{{{HERE}}}{RATE})", "out {{instance}}"),
        unit="Bps",
    ),
)

DISK_PANELS = (
    lines("Disk in use", "Share of each file system.", (DISK_USED, "{{path}}"), unit="percentunit", high=1, steps=DISK),
    lines(
        "Disk traffic",
        "Bytes per second, by device.",
        (f"rate(tracewright_disk_read_bytes_total{{{HERE}}}{RATE})", "{{device}} read"),
        (f"rate(tracewright_disk_written_bytes_total{{{HERE}}}{RATE})", "{{device}} written"),
        unit="Bps",
    ),
    lines(
        "Disk busy",
        "Share of the time in which the device had work.",
        (f"rate(tracewright_disk_busy_seconds_total{{{HERE}}}{RATE})", "{{device}}"),
        unit="percentunit",
        high=1,
    ),
    lines(
        "Network traffic",
        "Bytes per second, by interface.",
        (f"rate(tracewright_network_received_bytes_total{{{HERE}}}{RATE})", "{{interface}} received"),
        (f"rate(tracewright_network_transmitted_bytes_total{{{HERE}}}{RATE})", "{{interface}} sent"),
        unit="Bps",
        width=12,
    ),
    lines(
        "Network trouble",
        "Packets per second that failed or were dropped.",
        (f"rate(tracewright_network_errors_total{{{HERE}}}{RATE})", "{{interface}} failed"),
        (f"rate(tracewright_network_dropped_total{{{HERE}}}{RATE})", "{{interface}} dropped"),
        unit="pps",
        width=12,
    ),
)

TRAINING = (
    lines(
        "Cores that the training uses",
        "Of all its processes together. Less than `compute.workers`: something else limits it.",
        (f"rate(tracewright_training_cpu_seconds_total{{{RUN}}}{RATE})", "{{run}}"),
        unit="short",
        width=6,
    ),
    lines(
        "Memory of the training",
        "All its processes; what they share is counted for each. `compute.memory_limit_bytes` stops it.",
        (f"tracewright_training_resident_memory_bytes{{{RUN}}}", "{{run}}"),
        unit="bytes",
        width=6,
    ),
    lines(
        "Processes and threads",
        "Of the training. A climb without end is a leak.",
        (f"tracewright_training_processes{{{RUN}}}", "{{run}} processes"),
        (f"tracewright_training_threads{{{RUN}}}", "{{run}} threads"),
        unit="short",
        width=6,
    ),
    lines(
        "Open files",
        "Files and connections of all its processes.",
        (f"tracewright_training_open_files{{{RUN}}}", "{{run}}"),
        unit="short",
        width=6,
    ),
)

GPU_PANELS = (
    lines(
        "GPU utilisation",
        "Share of the time in which a kernel ran.",
        (f"tracewright_gpu_utilization_ratio{{{HERE}}}", "GPU {{gpu}}"),
        unit="percentunit",
        high=1,
        steps=GPU,
    ),
    lines(
        "GPU memory in use",
        "Share of each card's.",
        (GPU_MEMORY_USED, "GPU {{gpu}}"),
        unit="percentunit",
        high=1,
        steps=GPU_MEMORY,
    ),
    lines(
        "GPU temperature",
        "Of the chip.",
        (f"tracewright_gpu_temperature_celsius{{{HERE}}}", "GPU {{gpu}}"),
        unit="celsius",
        steps=GPU_CELSIUS,
    ),
    lines(
        "GPU power",
        "Drawn, and what the card may draw.",
        (f"tracewright_gpu_power_watts{{{HERE}}}", "GPU {{gpu}}"),
        (f"tracewright_gpu_power_limit_watts{{{HERE}}}", "GPU {{gpu}} limit"),
        unit="watt",
    ),
    lines(
        "GPU clocks",
        "Of its parts. Below their highest under load: it is held down.",
        (f"tracewright_gpu_clock_hertz{{{HERE}}}", "GPU {{gpu}} {{clock}}"),
        unit="hertz",
    ),
    states(
        "GPU held down",
        "Whether the clock is held down, by reason.",
        (f"max by (gpu, reason) (tracewright_gpu_throttled{{{HERE}}})", "GPU {{gpu}} {{reason}}"),
        words=YES_OR_NO,
        width=8,
    ),
)


def dashboard() -> str:
    return page(
        "tracewright-resources",
        "What the machine has left, and what the training takes of it.",
        [
            ("", TOP),
            ("Processor", PROCESSOR),
            ("Memory", MEMORY_PANELS),
            ("Disk and network", DISK_PANELS),
            ("The training's share", TRAINING),
            ("NVIDIA GPUs", GPU_PANELS),
        ],
        marks=[RUNS, ALARMS],
        of_runs=True,
    )
