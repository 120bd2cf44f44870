"""Models: the registered versions, who holds which alias, and what the gate said of each."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import frame, registry
from dashboard.frame import PageContext
from dashboard.registry import KnownVersions, ModelVersion
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
    _versions(known)
    _gate(here, known)
    if known.link:
        st.link_button("Open in MLflow", known.link, icon=":material/open_in_new:")
        st.caption("Where MLflow does not run, make ui starts it.")


def _holders(known: KnownVersions) -> None:
    held = [(alias, v) for alias in ALIASES for v in known.versions if alias in v.aliases]
    if not held:
        frame.empty("No version holds an alias.")
        return
    for column, (alias, version) in zip(st.columns(max(3, len(held))), held, strict=False):
        with column:
            st.metric(alias, f"version {version.version}", border=True, help=ALIASES[alias])


def _versions(known: KnownVersions) -> None:
    st.subheader(f"Versions of {frame.plain(known.name)}")
    rows = pd.DataFrame([_row(version) for version in known.versions])
    st.dataframe(
        rows,
        hide_index=True,
        alt="Registered versions",
        placeholder=words.DASH,
        column_config={
            "gain": st.column_config.NumberColumn("gain (ln)", format="%+.3f"),
            "low": st.column_config.NumberColumn("lower limit", format="%+.3f"),
            "high": st.column_config.NumberColumn("upper limit", format="%+.3f"),
        },
    )
    st.caption(
        f"From {known.source}. Gain: over the champion of its time on the same test images, or over VTracer's default "
        "for the first; natural log units. A version is promoted when the lower limit is above 0."
    )


def _row(version: ModelVersion) -> dict[str, object]:
    mean, low, high = version.gain or (None, None, None)
    return {
        "version": version.version,
        "alias": ", ".join(version.aliases) or words.DASH,
        "made": words.moment(version.created_seconds),
        "decision": version.decision or words.DASH,
        "gain": mean,
        "low": low,
        "high": high,
        "wins": version.wins,
        "losses": version.losses,
        "images": version.images,
        "test set": (version.test_digest or words.DASH)[:8],
        "run": version.run_id or words.DASH,
    }


def _gate(here: PageContext, known: KnownVersions) -> None:
    st.subheader("What the gate said")
    for version in known.versions[:20]:
        if version.reason:
            level = DECISIONS.get(version.decision or "", "info")
            frame.findings([Finding(level, f"Version {version.version}: {version.reason}.")])  # type: ignore[arg-type]
    reported = {str(run.report.registry.version): run for run in here.runs if run.report and run.report.registry}
    for version in known.versions[:20]:
        if run := reported.get(version.version):
            st.page_link(
                here.pages["results"],
                label=f"Results of version {version.version}",
                icon=":material/bar_chart:",
                query_params={"run": run.run_id},
            )
