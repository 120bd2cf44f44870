"""Overview: what goes on, what the newest run is worth, who is champion, what needs a look, the latest runs."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import streamlit as st

from dashboard import frame, queries, registry
from dashboard.frame import PageContext
from dashboard.queries import RunView
from dashboard.viewer import viewer
from dashboard.viewer.viewer import Pane
from pipeline.core.facts.comparison import DEFAULT, OURS, Duel
from pipeline.core.records import VISIBLE_DAMAGE
from pipeline.reports import tables, words
from pipeline.reports.parts import Finding
from pipeline.reports.run_report import RunReport
from pipeline.runs.state import ACTIVE

LISTED = 50
FIGURE_PIXELS = 320
PICTURE_PIXELS = 260


def page(here: PageContext) -> None:
    st.title("tracewright")
    st.markdown(
        "Turns raster logos into the smallest SVGs that show no visible damage, by learning VTracer's settings."
    )
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
    duel = comparison.duel(DEFAULT, comparison.headline_traces)
    if duel:
        _figures(report, duel)
    _before_after(here, run, report)
    st.markdown(frame.plain(report.headline))
    duels = tables.duels(comparison)
    if duels.rows:
        st.subheader(f"Against each rival, at {words.counted(comparison.headline_traces, 'trace')}")
        frame.table(duels, alt="Ours against each rival")
    st.page_link(
        here.pages["results"],
        label=f"Run {run.short} of {words.moment(run.started_seconds)}: every method at every number of traces",
        icon=":material/bar_chart:",
        query_params={"run": run.run_id},
    )


def _figures(report: RunReport, duel: Duel) -> None:
    """What the run is worth, in two figures of the table below them."""
    comparison = report.comparison
    name, images = comparison.objective.name, words.counted(comparison.images, "test logo")
    sure = f"{words.percent(comparison.confidence)} interval {words.gain_range(duel.difference, name)}"
    figures = (
        ("Against VTracer's default", words.change(duel.difference.mean, name), sure,
         f"Geometric mean over {images} that nobody trained on, at {words.counted(duel.traces, 'trace')} per logo: "
         "so many settings were tried on each. Both SVGs are minified by the same program. With the interval's "
         "probability, the mean over all logos like these lies within it."),
        ("Logos with visible damage", f"{duel.damaged} of {comparison.images}",
         f"VTracer's default: {duel.rival_damaged}",
         f"A drawing counts as visibly damaged where more than {VISIBLE_DAMAGE:g} px of it differ from the original "
         "so much that a person sees it: a lost colour or detail, a moved edge, lost transparency or a spot."),
    )  # fmt: skip
    with st.container(horizontal=True):
        for label, value, beside, means in figures:
            st.metric(
                label, value, beside, delta_color="off", delta_arrow="off", border=True, help=means, width=FIGURE_PIXELS
            )


def _before_after(here: PageContext, run: RunView, report: RunReport) -> None:
    """One logo of the report's random sample: the one whose change in size is in the middle."""
    data = queries.data_root(here.root, run)
    for image in tables.from_the_middle(report.sample):
        original = queries.original(data, image.path, image.digest) if data else None
        default, ours = (queries.svg(here.root, run, version, image.digest) for version in ("default", "ours"))
        if original and default and ours:
            break
    else:
        return
    panes = [
        Pane(label="Original", says=f"{original[1]:,} × {original[2]:,} pixels", picture=original[0]),
        Pane(label="VTracer's default", says=_said(image.default_bytes, image.default_damage), picture=default),
        Pane(label=report.comparison.label(OURS), says=_said(image.bytes, image.damage), picture=ours, ours=True),
    ]
    viewer.show(panes, width=original[1], height=original[2], tallest=PICTURE_PIXELS, key="before-after")
    st.page_link(
        here.pages["images"],
        label=f"{frame.plain(words.shortened(words.visible(image.path)))}, the middle of a random sample; all images",
        icon=":material/compare:",
        query_params={"run": run.run_id, "image": image.digest},
    )


def _said(size: int, damage: float) -> str:
    return f"{size:,} bytes · {words.damage_of(damage)}"


def _attention(here: PageContext, newest: RunView | None) -> None:
    st.subheader("What needs action")
    found = [*_of_runs(here)]
    if newest and newest.report:
        resources = newest.report.resources.findings if newest.report.resources else ()
        found += [f for f in (*newest.report.findings, *resources) if f.level == "attention"]
    if found:
        frame.findings(found, 8)
    else:
        frame.findings([Finding("good", "Nothing.")])


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
            st.markdown(frame.plain(champion.verdict))
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
            "ratio": st.column_config.NumberColumn("bytes of the default's", format="percent"),
            "damaged": st.column_config.NumberColumn("visibly damaged", format="percent"),
            "timesteps": st.column_config.NumberColumn(format="localized"),
        },
    )
    chosen = picked["selection"]["rows"] if picked else []
    if chosen:
        run = shown[chosen[0]]
        target = "results" if run.report else "training"
        st.switch_page(here.pages[target], query_params={"run": run.run_id})
    more = f"{len(here.runs) - LISTED} older runs are not listed. " if len(here.runs) > LISTED else ""
    st.caption(
        f"{more}Click a row to open the run. Bytes: {words.RATIO_WORDS}, and damaged: of the test images, both at the "
        "headline's number of traces; of a run without a report, of its last validation."
    )


def _row(run: RunView) -> dict[str, object]:
    report, status = run.report, run.status
    ours = report.comparison.method(OURS) if report else None
    tested = ours.point_at(report.comparison.headline_traces) if report and ours else None
    validation = status.validation if status and not tested else None
    timesteps = report.training.total_timesteps if report else status.timesteps if status else None
    return {
        "started": words.moment(run.started_seconds),
        "run": run.short,
        "state": run.state,
        "timesteps": timesteps,
        "ratio": tested.ratio.mean if tested else validation.bytes_ratio if validation else None,
        "damaged": tested.damaged.mean if tested else validation.damaged_ratio if validation else None,
        "took": words.duration(report.training.seconds) if report else words.DASH,
        "registry": report.registry.decision if report and report.registry else words.DASH,
    }
