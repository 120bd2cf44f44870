"""Overview: what goes on, what the newest run is worth, who is champion, what needs a look, the latest runs."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import streamlit as st

from dashboard import frame, registry
from dashboard.frame import PageContext
from dashboard.queries import RunView
from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS, PORTFOLIO, RANDOM, TPE, Duel
from pipeline.reports import words
from pipeline.reports.parts import Finding
from pipeline.reports.run_report import RunReport
from pipeline.runs.state import ACTIVE

RIVALS = (DEFAULT, FIXED, PORTFOLIO, TPE, RANDOM)
LISTED = 50
CARD_PIXELS = 168


def page(here: PageContext) -> None:
    st.title("tracewright")
    if not here.runs:
        frame.empty(
            "Nothing has been run in this folder yet. This takes logos, trains, compares and reports:", "make repro"
        )
        return
    for run in here.runs:
        if run.state in ACTIVE:
            _going_on(here, run)
    newest = here.newest_reported
    if newest and newest.report:
        _headline(here, newest, newest.report)
    else:
        frame.empty("No run has a report yet; it is written at the end of:", "make repro")
    left, right = st.columns([3, 2], gap="large")
    with left:
        _attention(here, newest)
    with right:
        _champion(here)
    _latest(here)


def _going_on(here: PageContext, run: RunView) -> None:
    status = run.status
    if status is None:
        return
    with st.container(border=True):
        share = min(1.0, status.timesteps / status.total_timesteps) if status.total_timesteps else 0.0
        left = f", about {words.duration(status.seconds_left)} left" if status.seconds_left else ""
        said = f"{status.timesteps:,} of {status.total_timesteps:,} timesteps{left}"
        if run.state == "preparing":
            said = f"preparing: {status.phase}"
        st.progress(share, text=f"Run {run.short} is being trained: {frame.plain(said)}")
        st.page_link(
            here.pages["training"], label="Follow it", icon=":material/monitoring:", query_params={"run": run.run_id}
        )


def _headline(here: PageContext, run: RunView, report: RunReport) -> None:
    comparison = report.comparison
    st.markdown(f"**{frame.plain(report.headline)}**")
    duels = [d for name in RIVALS if (d := comparison.duel(name, comparison.headline_traces))]
    if duels:
        what = {"sharper": "Colour error", "balanced": "The objective's ratio"}.get(comparison.objective.name, "Bytes")
        st.caption(
            f"{what} at {words.counted(comparison.headline_traces, 'trace')}, against each rival, with the "
            f"{words.percent(comparison.confidence)} interval; better and worse are beyond chance:"
        )
        with st.container(horizontal=True):
            for duel in duels:
                with st.container(width=CARD_PIXELS, gap=None):
                    _duel(report, duel)
    st.caption(
        f"Run {run.short}, {words.moment(run.started_seconds)}, on "
        f"{words.counted(comparison.images, 'test image')} that nobody trained on. The page Results has every method "
        "at every number of traces."
    )


def _duel(report: RunReport, duel: Duel) -> None:
    gain = duel.difference
    colour = {True: "green", False: "orange", None: "gray"}[duel.better]
    said = {True: "better", False: "worse", None: "undecided"}[duel.better]
    st.metric(
        frame.plain(report.comparison.label(duel.against)),
        words.signed_percent(gain.mean),
        said,
        delta_color=colour,  # type: ignore[arg-type]
        delta_arrow="off",
        border=True,
    )
    st.caption(f"{words.signed_percent(gain.high)} to {words.signed_percent(gain.low)}")


def _attention(here: PageContext, newest: RunView | None) -> None:
    st.subheader("What needs attention")
    found = [*_of_runs(here)]
    if newest and newest.report:
        resources = newest.report.resources.findings if newest.report.resources else ()
        found += [f for f in (*newest.report.findings, *resources) if f.level == "attention"]
    if found:
        frame.findings(found, 8)
    else:
        frame.findings([Finding("good", "Nothing: no finding of the newest report asks for a look.")])


def _of_runs(here: PageContext) -> Iterator[Finding]:
    for run in here.runs[:LISTED]:
        if run.state == "killed":
            yield Finding("attention", f"Run {run.short} was killed; `make repro` resumes from its last checkpoint.")
        elif run.state == "failed" and run is here.runs[0]:
            yield Finding("attention", f"Run {run.short}, the newest, failed; the page Training says why.")
        if run.trouble:
            yield Finding("attention", run.trouble.text)


def _champion(here: PageContext) -> None:
    st.subheader("Champion")
    known = registry.read(here.root, here.runs)
    champion = next((v for v in known.versions if "champion" in v.aliases), None)
    if champion is None:
        st.markdown("No model is champion yet; the stage `register` decides at the end of `make repro`.")
    else:
        st.markdown(f"**{frame.plain(known.name)} version {frame.plain(champion.version)}**")
        if champion.reason:
            st.markdown(frame.plain(champion.reason))
    if known.trouble:
        st.caption(frame.plain(known.trouble))
    st.page_link(here.pages["models"], label="All versions", icon=":material/deployed_code:")


def _latest(here: PageContext) -> None:
    st.subheader("Latest runs")
    shown = list(here.runs[:LISTED])
    rows = pd.DataFrame([_row(run) for run in shown])
    picked = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="latest",
        placeholder=words.DASH,
        alt="The latest runs",
        column_config={
            "ratio": st.column_config.NumberColumn("ratio to the default", format="%.3f"),
            "value": st.column_config.NumberColumn("best validation value", format="%.3f"),
            "timesteps": st.column_config.NumberColumn(format="localized"),
        },
    )
    chosen = picked["selection"]["rows"] if picked else []
    if chosen:
        run = shown[chosen[0]]
        target = "results" if run.report else "training"
        st.switch_page(here.pages[target], query_params={"run": run.run_id})
    more = f"{len(here.runs) - LISTED} older runs are not listed. " if len(here.runs) > LISTED else ""
    st.caption(f"{more}Click a row to open the run. Ratio: {_what_ratio(here)}; lower is better.")


def _what_ratio(here: PageContext) -> str:
    return f"{words.RATIO_WORDS} at the most traces compared"


def _row(run: RunView) -> dict[str, object]:
    report, status = run.report, run.status
    ours = report.comparison.method(OURS) if report else None
    ratio = ours.at(max(report.comparison.traces)) if report and ours else None
    best = report.training.best if report else None
    timesteps = report.training.total_timesteps if report else status.timesteps if status else None
    return {
        "started": words.moment(run.started_seconds),
        "run": run.short,
        "state": run.state,
        "timesteps": timesteps,
        "value": best.value if best else status.validation.value if status and status.validation else None,
        "ratio": ratio.mean if ratio else None,
        "took": words.duration(report.training.seconds) if report else words.DASH,
        "registry": report.registry.decision if report and report.registry else words.DASH,
    }
