"""Training: how it goes while it goes, and how it went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from dashboard import charts, frame, queries
from dashboard.frame import PageContext
from dashboard.queries import RunView
from pipeline.reports import tables, words
from pipeline.reports.run_folder import JournalMetrics, SeriesPoint
from pipeline.reports.run_report import thinned
from pipeline.reports.training_stages import stage_spans
from pipeline.reports.trouble import Trouble
from pipeline.runs.state import ACTIVE
from pipeline.runs.status import RunStatus

REFRESH_SECONDS = 5
CHART_REFRESH_SECONDS = 20  # a chart costs ten times what the figures do, and the training needs the processor
MOST_POINTS = 400
STATE_WORDS = {
    "waiting": "waits for room on the machine",
    "preparing": "is being prepared",
    "training": "is being trained",
    "finished": "finished",
    "stopped": "was stopped; `make repro` resumes from its last checkpoint",
    "failed": "failed",
    "killed": "was killed; `make repro` resumes from its last checkpoint",
    "unknown": "left no state",
}


def page(here: PageContext) -> None:
    st.title("Training")
    run = here.run
    if run is None:
        frame.empty("Nothing has been trained in this folder yet:", "make repro")
        return
    if run.trouble:
        frame.trouble(run.trouble)
    live = run.state in ACTIVE
    st.fragment(run_every=REFRESH_SECONDS if live else None)(_now)(run, live)
    st.fragment(run_every=CHART_REFRESH_SECONDS if live else None)(_so_far)(run)
    _after(run)


def _now(run: RunView, live: bool) -> None:
    """What changes while it is trained; drawn again by itself every few seconds."""
    status, state = queries.status(run)
    if live and state not in ACTIVE:
        st.rerun()
    metrics = queries.metrics(run)
    _state(run, status, state, metrics)
    if status is not None:
        _figures(status, run)
    if metrics.trouble:
        frame.trouble(Trouble(metrics.trouble))


def _so_far(run: RunView) -> None:
    """The curves, drawn again by themselves now and then."""
    status, _ = queries.status(run)
    _curve(run, queries.metrics(run))
    _failures(run, status)


def _state(run: RunView, status: RunStatus | None, state: str, metrics: JournalMetrics) -> None:
    state = "finished" if status is None and run.report else state
    with st.container(horizontal=True, vertical_alignment="center"):
        frame.state_badge(state)
        st.markdown(f"Run {run.short} {STATE_WORDS[state]}.")
    if metrics.failure and state == "failed":
        st.warning(frame.plain(metrics.failure), icon=":material/error:")
    if status is None or state == "finished":
        return
    share = min(1.0, status.timesteps / status.total_timesteps) if status.total_timesteps else 0.0
    text = f"{status.timesteps:,} of {status.total_timesteps:,} timesteps"
    if state == "training" and status.seconds_left:
        text += f", about {words.duration(status.seconds_left)} left"
    if state == "preparing":
        text = f"preparing: {status.phase}; {words.count(status.evaluations_asked)} evaluations"
    st.progress(share, text=frame.plain(text))
    st.caption(f"written {queries.age_in_words(status.updated_seconds)}")


def _figures(status: RunStatus, run: RunView) -> None:
    stage = f"{status.stage_number} of {status.stages}" if status.stage_number else None
    validated = status.validation
    pace = run.report.training.steps_per_second if run.report else status.steps_per_second
    figures = (
        ("mean return", words.number(status.return_mean, 3), None),
        ("reached the goal", words.share(status.success_rate), None),
        ("stage", status.stage or words.DASH, stage),
        ("timesteps / second", words.number(pace, 1), None),
        ("bytes of the default", words.share(validated.bytes_ratio if validated else None),
         f"at {validated.timesteps:,} timesteps" if validated else None),
        ("visibly damaged", words.share(validated.damaged_ratio if validated else None), "of the images"),
        ("memory", words.storage(status.memory_bytes), None),
    )  # fmt: skip
    with st.container(horizontal=True):
        for label, value, beside in figures:
            st.metric(label, frame.plain(value), beside, delta_color="off", delta_arrow="off", border=True, width=158)


def _curve(run: RunView, metrics: JournalMetrics) -> None:
    returns: Sequence[SeriesPoint] = metrics.series.get("train/return_mean", [])
    values: list[dict[str, Any]] = [{"timesteps": t, "mean": v} for t, v in metrics.series.get("val/value", [])]
    spans: list[tuple[str, float, float]] = []
    best = None
    if run.report:
        training = run.report.training
        best = training.best.timesteps if training.best else None
        spans = stage_spans(training, run.report.progress)
        values = [{"timesteps": v.timesteps, **v.value.to_json()} for v in training.validations if v.value] or values
        returns = returns or [(p.timesteps, p.return_mean) for p in run.report.progress if p.return_mean is not None]
    if not returns and not values:
        frame.empty("Nothing has been measured yet; returns come with the first rollout, values with a validation.")
        return
    st.subheader("Return and validation")
    st.altair_chart(
        charts.training(thinned(returns, MOST_POINTS), values, spans, best, frame.palette()),
        alt="Mean return in training and value in validation over timesteps",
    )
    _trend(run)


def _trend(run: RunView) -> None:
    validations = run.report.training.validations if run.report else ()
    trend = validations[-1].trend if validations else None
    if trend and trend.slope is not None:
        st.markdown(f"Trend of the validation: **{trend.direction}**.")


def _failures(run: RunView, status: RunStatus | None) -> None:
    counted = status.failures if status else run.report.training.failures if run.report else {}
    st.subheader("Failed traces")
    if any(counted.values()):
        st.altair_chart(charts.failures(counted, frame.palette()), alt="Failed traces by kind")
        st.caption("Each cost only itself.")
    else:
        st.markdown("No trace failed.")


def _after(run: RunView) -> None:
    training = run.report.training if run.report else None
    if training and training.stages:
        st.subheader("Curriculum")
        frame.table(tables.curriculum(training), alt="The stages of the curriculum")
    if training and training.validations:
        st.subheader("Validation on held-out images")
        frame.table(
            tables.validations(training), height=300 if len(training.validations) > 7 else "content", alt="Validations"
        )
        st.caption("The marked row is the model that was kept. Value: of the objective; 0 is VTracer's default.")
        if training.validations[-1].by_category:
            frame.table(tables.validated_categories(training.validations[-1]), alt="Last validation per category")
    _checkpoints(run)


def _checkpoints(run: RunView) -> None:
    st.subheader("Checkpoints")
    entries = list(queries.checkpoints(run))
    if not entries:
        frame.empty("No state of this training is kept yet.")
        return
    best = run.report.training.best.timesteps if run.report and run.report.training.best else None
    frame.table(tables.checkpoints(entries, best), alt="The states that were kept of the training")
    size = words.storage(sum(entry.bytes or 0 for entry in entries))
    st.caption(f"{words.counted(len(entries), 'state')}, {size} in all. To go on from the newest:")
    st.code(f"tracewright checkpoints resume {run.run_id}", language=None, wrap_lines=True)
