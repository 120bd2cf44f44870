"""Models: the registered versions, who holds which alias, and what the gate said of each."""

from __future__ import annotations

from urllib.parse import quote

import pandas as pd
import streamlit as st

from dashboard import frame, queries, registry
from dashboard.frame import PageContext
from dashboard.queries import RunView
from dashboard.registry import KnownVersions, ModelVersion
from pipeline.core.facts.decision import better
from pipeline.reports import words
from pipeline.reports.parts import Finding

ALIASES = {
    "champion": "what `tracewright vectorize` uses",
    "challenger": "the newest that was refused",
    "previous": "the champion before, for `tracewright models rollback`",
}
DECISIONS = {"promoted": "good", "first": "good", "refused": "attention"}


def page(here: PageContext) -> None:
    st.title("Models")
    known = registry.read(here.root, here.runs)
    if known.trouble:
        st.info(frame.plain(known.trouble), icon=":material/cloud_off:")
    if not known.versions:
        frame.empty("No model is registered yet; the stage `register` does it at the end of:", "make repro")
        return
    _holders(known)
    _versions(here, known)
    _gate(known)
    if known.link and queries.answers(known.link):
        st.link_button("Open in MLflow", known.link, icon=":material/open_in_new:")
    else:
        st.caption("MLflow shows its artifacts too. It does not answer; this starts it:")
        st.code("make ui", language=None, wrap_lines=True)


def _holders(known: KnownVersions) -> None:
    held = [(alias, v) for alias in ALIASES for v in known.versions if alias in v.aliases]
    if not held:
        frame.empty("No version holds an alias.")
        return
    for column, (alias, version) in zip(st.columns(max(3, len(held))), held, strict=False):
        with column:
            st.metric(alias, f"version {version.version}", border=True, help=ALIASES[alias])


def _versions(here: PageContext, known: KnownVersions) -> None:
    st.subheader(f"Versions of {frame.plain(known.name)}")
    runs = {str(run.report.registry.version): run for run in here.runs if run.report and run.report.registry}
    rows = pd.DataFrame([_row(version, runs.get(version.version)) for version in known.versions])
    st.dataframe(
        rows,
        hide_index=True,
        alt="Registered versions",
        placeholder=words.DASH,
        column_config={
            "gain": st.column_config.TextColumn("gain in the objective", width=250),
            "run": st.column_config.LinkColumn(display_text=r"run=(.*)$", width=230),
            "MLflow run": st.column_config.TextColumn(width=290),
        },
    )
    st.caption(
        f"From {known.source}. Gain: over the champion of its time on the same test images, or over VTracer's default "
        "for the first, with its interval. A version is promoted when all of the interval is better. The objective "
        "counts visible damage before bytes."
    )


def _row(version: ModelVersion, run: RunView | None) -> dict[str, object]:
    gain = words.DASH
    if version.gain:
        mean, low, high = map(better, version.gain)
        gain = mean if mean == low == high else f"{mean} ({low} to {high})"
    return {
        "version": version.version,
        "alias": ", ".join(version.aliases) or words.DASH,
        "made": words.moment(version.created_seconds),
        "decision": version.decision or words.DASH,
        "gain": gain,
        "wins": version.wins,
        "losses": version.losses,
        "images": version.images,
        "test set": (version.test_digest or words.DASH)[:8],
        "run": f"/results?run={quote(run.run_id)}" if run else None,
        "MLflow run": version.run_id or words.DASH,
    }


def _gate(known: KnownVersions) -> None:
    st.subheader("What the gate said")
    for version in known.versions[:20]:
        if version.verdict:
            level = DECISIONS.get(version.decision or "", "info")
            frame.findings([Finding(level, f"Version {version.version}: {version.verdict}.")])  # type: ignore[arg-type]
