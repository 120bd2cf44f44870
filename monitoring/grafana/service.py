"""Is all well? The first page that opens: alarms, exporter, trainings, and whether what is shown can be believed."""

from __future__ import annotations

from monitoring.grafana.page import ALARMS, page
from monitoring.grafana.panels import BLUE, GREY, HERE, RED, UP_OR_DOWN, YELLOW, lines, list_panel, stat_panel, states

TOP = (
    stat_panel(
        "Alarms",
        "Alarms that fire now. Anything but 0 wants a person; the list below says what to do.",
        (f'count(ALERTS{{alertstate="firing", {HERE}}}) or vector(0)', ""),
        unit="none",
        steps=[(1, RED)],
    ),
    stat_panel(
        "Exporter",
        "Whether Prometheus can read the exporter. While it is down nothing else here is known.",
        (f'min(up{{job="tracewright", {HERE}}})', ""),
        unit="none",
        words=UP_OR_DOWN,
        below=RED,
        steps=[(1, "green")],
        none="unknown",
    ),
    stat_panel(
        "Sources that fail",
        "Parts of the machine that the exporter could not read: host, pressure, disk, gpu, training.",
        (f"count(tracewright_source_up{{{HERE}}} == 0) or vector(0)", ""),
        unit="none",
        steps=[(1, YELLOW), (3, RED)],
    ),
    stat_panel(
        "Trainings under way",
        "Trainings whose process is there.",
        (f"sum(tracewright_training_alive{{{HERE}}}) or vector(0)", ""),
        unit="none",
        below=GREY,
        steps=[(1, BLUE)],
    ),
    stat_panel(
        "Silent for",
        "Since a training that is under way last told its state. A rollout takes seconds, a validation up to minutes.",
        (f"max(tracewright_training_status_age_seconds{{{HERE}}} and tracewright_training_alive{{{HERE}}} == 1)", ""),
        unit="s",
        steps=[(300, YELLOW), (900, RED)],
        none="no training",
    ),
    stat_panel(
        "Disk in use",
        "Of the fullest file system that is watched.",
        (f"max(instance_path:tracewright_disk_used:ratio{{{HERE}}})", ""),
        unit="percentunit",
        steps=[(0.85, YELLOW), (0.95, RED)],
        decimals=0,
    ),
)

ALARM_PANELS = (
    list_panel(
        "Alarms that fire",
        "What is wrong, how bad it is and where. Prometheus' page /alerts adds what to do about each.",
        f'ALERTS{{alertstate="firing", {HERE}}}',
        ("alertname", "severity", "instance", "run"),
    ),
    states(
        "Alarms over time",
        "When each alarm was pending (it has not lasted long enough yet) or fired.",
        (f"max by (alertname, alertstate) (ALERTS{{{HERE}}})", "{{alertname}} {{alertstate}}"),
        words={1: ("on", RED)},
    ),
)

WATCHING = (
    states(
        "Services that Prometheus reads",
        "Whether each answered when it was last asked.",
        ("min by (job, instance) (up)", "{{job}} {{instance}}"),
        words=UP_OR_DOWN,
        width=8,
    ),
    states(
        "Sources of the exporter",
        "Whether each part of the machine could be read in time. One that is down costs its own metrics only.",
        (f"min by (source) (tracewright_source_up{{{HERE}}})", "{{source}}"),
        words=UP_OR_DOWN,
        width=8,
    ),
    lines(
        "Time to read each source",
        "What reading took at each scrape. Near a second the source is given up for that scrape.",
        (f"max by (source) (tracewright_source_duration_seconds{{{HERE}}})", "{{source}}"),
        unit="s",
        steps=[(1, RED)],
    ),
    lines(
        "Time to scrape",
        "From asking to the whole answer, as Prometheus measures it.",
        ("max by (job) (scrape_duration_seconds)", "{{job}}"),
        unit="s",
    ),
    lines(
        "Series per scrape",
        "How many values each service gives. A steady climb is labels without end.",
        ("sum by (job) (scrape_samples_post_metric_relabeling)", "{{job}}"),
        unit="short",
    ),
    lines(
        "The exporter itself",
        "Memory of the exporter's process; it should stay level.",
        (f"tracewright_exporter_process_resident_memory_bytes{{{HERE}}}", "{{instance}}"),
        unit="bytes",
        steps=[(60e6, RED)],
    ),
)

RECORDS = (
    lines(
        "MLflow is behind by",
        "Age of the oldest record of a run that MLflow does not have. `tracewright sync` sends the rest.",
        (f"max by (run) (tracewright_replica_lag_seconds{{{HERE}}})", "{{run}}"),
        unit="s",
        steps=[(600, RED)],
    ),
    lines(
        "Records that MLflow does not have",
        "They are safe in the run's journal. Rising without end: MLflow is down or refuses them.",
        (f"max by (run) (tracewright_replica_unsent_records{{{HERE}}})", "{{run}}"),
        unit="short",
    ),
    lines(
        "Status files",
        "Of runs in the project's folder: shown, expired (the run is over), over_limit, unreadable.",
        (f"max by (condition) (tracewright_status_files{{{HERE}}})", "{{condition}}"),
        unit="short",
    ),
)


def dashboard() -> str:
    return page(
        "tracewright-service",
        "Whether all is well: alarms, what is watched, and whether MLflow keeps up.",
        [("", TOP), ("What is wrong", ALARM_PANELS), ("What is watched", WATCHING), ("What is kept", RECORDS)],
        marks=[ALARMS],
        of_runs=False,
    )
