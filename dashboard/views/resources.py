"""Resources: what a run took of the machine, what limited it, and what to change."""

from __future__ import annotations

import os

import streamlit as st

from dashboard import charts, frame, queries
from dashboard.frame import PageContext
from pipeline.reports import tables, words
from pipeline.reports.parts import Resources

GRAFANA = "TRACEWRIGHT_GRAFANA"
"""Names Grafana's address; that of `make up` by default."""

CHARTS = (
    ("Processor", "ratio", ("processor", "waiting for the disk")),
    ("Cores that the training kept busy", "count", ("training's cores",)),
    ("Memory", "bytes", ("memory", "training's memory", "swap")),
    ("GPU", "ratio", ("GPU 0", "GPU 1", "GPU 2", "GPU 3")),
    ("GPU memory", "bytes", ("GPU 0 memory", "GPU 1 memory", "GPU 2 memory", "GPU 3 memory")),
    (
        "GPU temperature",
        "celsius",
        ("GPU 0 temperature", "GPU 1 temperature", "GPU 2 temperature", "GPU 3 temperature"),
    ),
)


def page(here: PageContext) -> None:
    st.title("Resources")
    run = here.run
    if run is None:
        frame.empty("Nothing has been run in this folder yet:", "make repro")
        return
    rows, summary = queries.resources(run)
    if summary is None:
        frame.empty(f"No resources were sampled during run {run.short}. They are sampled while it is trained.")
    else:
        _summary(summary)
        _history(rows)
    address = os.environ.get(GRAFANA, "http://127.0.0.1:3000").rstrip("/")
    if address.startswith(("http://", "https://")) and queries.answers(address):
        st.link_button("Open Grafana", f"{address}/d/tracewright-resources", icon=":material/open_in_new:")
    else:
        st.caption("Grafana shows this machine now, all runs together. It does not answer; where it is installed:")
        st.code("make up", language=None, wrap_lines=True)


def _summary(summary: Resources) -> None:
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.subheader("Findings")
        if summary.findings:
            frame.findings(summary.findings)
        else:
            st.markdown("Nothing is said of less than a minute.")
    with right:
        st.subheader("Use")
        frame.table(tables.usage(summary.usage), alt="Mean and highest use of each resource")
        st.caption(f"{words.counted(summary.samples, 'sample')} over {words.duration(summary.seconds)}.")


def _history(rows: list[dict[str, float]]) -> None:
    st.subheader("History")
    for title, unit, names in CHARTS:
        present = [name for name in names if any(name in row for row in rows)]
        if present:
            st.markdown(f"**{title}**")
            st.altair_chart(charts.resource(rows, present, unit, frame.palette()), alt=f"{title} over the run")
