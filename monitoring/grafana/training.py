"""How a training does: where it is, whether it learns, what fails, and whether it could go on after a fall."""

from __future__ import annotations

from monitoring.grafana.page import ALARMS, ENDS, RUNS, STAGES, page
from monitoring.grafana.panels import BLUE, GREEN, GREY, RED, RUN, YELLOW, lines, list_panel, stat_panel, states

ALIVE = f"tracewright_training_alive{{{RUN}}} == 1"
RATE = "[$__rate_interval]"

TOP = (
    stat_panel(
        "Under way",
        "Trainings whose process is there, of those chosen above.",
        (f"sum(tracewright_training_alive{{{RUN}}}) or vector(0)", ""),
        unit="none",
        below=GREY,
        steps=[(1, GREEN)],
        width=3,
    ),
    stat_panel(
        "Ended badly",
        "Trainings that failed, or whose process vanished. `make repro` resumes from the last checkpoint.",
        (f'sum(tracewright_training_state{{{RUN}, state=~"failed|killed"}}) or vector(0)', ""),
        unit="none",
        steps=[(1, RED)],
        width=3,
    ),
    stat_panel(
        "Done",
        "Timesteps spent, of those planned; a stage that is tried again adds to them.",
        (f"min(tracewright_training_timesteps{{{RUN}}} / tracewright_training_planned_timesteps{{{RUN}}})", ""),
        unit="percentunit",
        below=BLUE,
        none="no training",
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Time left",
        "Timesteps left at the pace of the last ten minutes, validations included.",
        (f"max(run:tracewright_time_left:seconds{{{RUN}}} and on (instance, run) {ALIVE})", ""),
        unit="s",
        below=BLUE,
        none="no training",
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Bytes of the default's",
        "The latest validation of the worst run: bytes over those of VTracer's default. Lower is better.",
        (f"max(tracewright_validation_bytes_ratio{{{RUN}}})", ""),
        unit="percentunit",
        steps=[(0.9, YELLOW), (1, RED)],
        none="not validated",
        decimals=0,
        width=3,
    ),
    stat_panel(
        "Traces that fail",
        "Share of the evaluations of the last ten minutes that gave no picture, of the worst run.",
        (f"max(run:tracewright_failures:ratio{{{RUN}}})", ""),
        unit="percentunit",
        steps=[(0.05, YELLOW), (0.2, RED)],
        none="none",
        decimals=1,
        width=3,
    ),
    stat_panel(
        "Last checkpoint",
        "Since it was saved, of trainings under way: what a fall would cost.",
        (f"max(tracewright_checkpoint_age_seconds{{{RUN}}} and on (instance, run) {ALIVE})", ""),
        unit="s",
        steps=[(600, YELLOW), (1800, RED)],
        none="none",
        width=3,
    ),
    stat_panel(
        "NaN or infinite",
        "Metrics that were not numbers. One is enough to look at the learning rate and the reward.",
        (f"sum(tracewright_training_nonfinite_metrics_total{{{RUN}}})", ""),
        unit="none",
        steps=[(1, RED)],
        none="no training",
        width=3,
    ),
)

LEARNING = (
    lines(
        "Mean return",
        "Of the latest 200 episodes of the stage, in natural log units over VTracer's default: 0.69 is twice as good.",
        (f"tracewright_training_return_mean{{{RUN}}}", "{{run}}"),
        unit="none",
        low=None,
        width=6,
    ),
    lines(
        "Episodes that reach the goal",
        "Share of these episodes; each stage has its own goal and pass rate in params.yaml.",
        (f"tracewright_training_success_ratio{{{RUN}}}", "{{run}}"),
        unit="percentunit",
        high=1,
        width=6,
    ),
    lines(
        "PPO's latest update",
        "Divergences in nats, shares, and the explained variance of the returns; docs/metrics.md defines each.",
        (f'tracewright_training_ppo{{{RUN}, diagnostic!="value_loss"}}', "{{run}} {{diagnostic}}"),
        unit="none",
        low=None,
        width=6,
    ),
    states(
        "Curriculum",
        "The stage that each run is in.",
        (f"max by (run, stage) (tracewright_training_stage_info{{{RUN}}})", "{{run}} {{stage}}"),
        words={1: ("in it", BLUE)},
        width=6,
    ),
)

VALIDATION = (
    lines(
        "Bytes of the default's by category",
        "Held-out images, geometric mean. Lower is better; at 100 % nothing is gained.",
        (f"tracewright_validation_bytes_ratio{{{RUN}}}", "{{run}} all"),
        (f"tracewright_validation_category_bytes_ratio{{{RUN}}}", "{{run}} {{category}}"),
        unit="percentunit",
        steps=[(1, RED)],
    ),
    lines(
        "Visibly damaged images by category",
        "Share of the held-out images whose SVG shows damage. Lower is better.",
        (f"tracewright_validation_damaged_ratio{{{RUN}}}", "{{run}} all"),
        (f"tracewright_validation_category_damaged_ratio{{{RUN}}}", "{{run}} {{category}}"),
        unit="percentunit",
        high=1,
    ),
    lines(
        "Value and damage",
        "Value: gain in the objective over the default, natural log units. Damage: mean of the images, in pixels; "
        "from 1 on it is visible.",
        (f"tracewright_validation_value{{{RUN}}}", "{{run}} value"),
        (f"tracewright_validation_damage_pixels{{{RUN}}}", "{{run}} damage, px"),
        unit="none",
        low=None,
    ),
)

THROUGHPUT = (
    lines(
        "Timesteps per second",
        "In the latest rollout; one timestep is one trace.",
        (f"tracewright_training_timesteps_per_second{{{RUN}}}", "{{run}}"),
        unit="ops",
        width=6,
    ),
    lines(
        "Evaluations per second",
        "All requests, of training and validation, and those that the store answered.",
        (f"rate(tracewright_training_evaluations_total{{{RUN}}}{RATE})", "{{run}} asked"),
        (f"rate(tracewright_training_evaluations_found_total{{{RUN}}}{RATE})", "{{run}} found"),
        unit="ops",
        width=6,
    ),
    lines(
        "Found in the store",
        "Share of the evaluations of the last ten minutes that were made before and need no trace.",
        (f"run:tracewright_evaluations_found:ratio{{{RUN}}}", "{{run}}"),
        unit="percentunit",
        high=1,
        width=6,
    ),
    lines(
        "Failures by kind",
        "Traces per second that gave no picture. died, timeout and memory are the machine's, not the setting's.",
        (f"sum by (kind) (rate(tracewright_training_failures_total{{{RUN}}}{RATE}))", "{{kind}}"),
        unit="ops",
        width=6,
    ),
)

SAFETY = (
    lines(
        "Age of the latest checkpoint",
        "A saw whose teeth are `checkpoints.every_seconds` or `every_timesteps` apart.",
        (f"tracewright_checkpoint_age_seconds{{{RUN}}}", "{{run}}"),
        unit="s",
        steps=[(600, RED)],
        width=6,
    ),
    lines(
        "Time to save it",
        "The training waits for it.",
        (f"tracewright_checkpoint_save_seconds{{{RUN}}}", "{{run}}"),
        unit="s",
        width=6,
    ),
    lines(
        "Its size",
        "`checkpoints.max_bytes` bounds all of them together.",
        (f"tracewright_checkpoint_size_bytes{{{RUN}}}", "{{run}}"),
        unit="bytes",
        width=6,
    ),
    list_panel(
        "Runs shown",
        "Runs that are under way, or ended within a quarter of an hour.",
        f"tracewright_training_info{{{RUN}}} * on (instance, run) group_right (seed, phase) "
        f"(tracewright_training_state{{{RUN}}} == 1)",
        ("run", "state", "phase", "seed"),
        width=6,
    ),
)


def dashboard() -> str:
    return page(
        "tracewright-training",
        "Whether the training learns, how fast, and what a fall would cost.",
        [
            ("", TOP),
            ("Learning", LEARNING),
            ("Validation on held-out images", VALIDATION),
            ("Throughput and failures", THROUGHPUT),
            ("Checkpoints and runs", SAFETY),
        ],
        marks=[RUNS, STAGES, ENDS, ALARMS],
        of_runs=True,
    )
