"""Compare: two or more runs beside each other: settings that differ, curves, and image by image who wins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, frame, queries
from dashboard.frame import PageContext
from dashboard.queries import RunView
from pipeline.core.facts.comparison import OURS
from pipeline.core.facts.decision import better
from pipeline.reports import tables, words
from pipeline.reports.run_report import RunReport
from pipeline.reports.trouble import Trouble

MOST_RUNS = 6
MOST_ROWS = 500
OFFERED = 16
TIE = 1e-9
RunWithReport = tuple[RunView, RunReport]


def page(here: PageContext) -> None:
    st.title("Compare")
    reported = {run.run_id: (run, run.report) for run in here.runs if run.report}
    if len(reported) < 2:
        frame.empty(
            f"{words.counted(len(reported), 'run has', 'runs have')} a report; two are needed. Another one, with a "
            "setting changed:",
            "dvc exp run -S train.seed=2",
        )
        return
    picked = _picked(reported)
    chosen = [reported[run_id] for run_id in picked if run_id in reported]
    if len(chosen) < 2:
        frame.empty("Choose two or more runs.")
        return
    st.subheader("Results")
    frame.table(_figures(chosen), alt="The runs' figures beside each other")
    _settings(chosen)
    _curves(chosen)
    _images(here, chosen)


def _picked(reported: dict[str, RunWithReport]) -> list[str]:
    """The runs that the address names, else the newest two; what is picked goes into the address."""
    state, asked = st.session_state, st.query_params.get("runs")
    if asked != state.get("runs_in_address") or "runs" not in state:
        named = [run_id for run_id in (asked or "").split(",") if run_id in reported]
        state["runs"] = named[:MOST_RUNS] or list(reported)[:2]
    offered = [run_id for number, run_id in enumerate(reported) if number < OFFERED or run_id in state["runs"]]
    picked = list(
        st.pills("Runs", offered, format_func=lambda i: reported[i][0].label, key="runs", selection_mode="multi") or ()
    )
    if len(reported) > len(offered):
        st.caption(f"The newest {OFFERED} of {len(reported)}; an older one can be named in the address, after runs=.")
    st.query_params["runs"] = state["runs_in_address"] = ",".join(picked)
    return picked[:MOST_RUNS]


def _figures(chosen: list[RunWithReport]) -> tables.TextTable:
    most = min(max(report.comparison.traces) for _, report in chosen)
    rows = []
    for run, report in chosen:
        ours = report.comparison.method(OURS)
        point = ours.point_at(most) if ours else None
        rows.append(
            (
                run.label,
                words.interval(point.ratio if point else None, 3),
                words.share(point.damaged.mean if point else None),
                words.count(report.comparison.images),
                words.count(report.training.total_timesteps),
                words.duration(report.training.seconds),
                report.registry.decision if report.registry else words.DASH,
            )
        )
    columns = (
        "Run", f"Ratio at {words.counted(most, 'trace')}", "Visibly damaged", "Test images", "Timesteps",
        "Training took", "Registry",
    )  # fmt: skip
    return tables.TextTable(columns, tuple(rows), left=frozenset({0, 6}))


def _settings(chosen: list[RunWithReport]) -> None:
    st.subheader("Settings that differ")
    sets = [queries.settings(run) for run, _ in chosen]
    if not all(sets):
        missing = words.listed([run.short for (run, _), found in zip(chosen, sets, strict=True) if not found])
        st.caption(f"Not every setting is known of {frame.plain(missing)}.")
    rows = differing(sets)
    if not rows:
        st.markdown("None: these runs had the same settings.")
        return
    names = [run.short for run, _ in chosen]
    frame.table(
        tables.TextTable(("Setting", *names), tuple(rows), left=frozenset(range(len(names) + 1))),
        alt="Settings that differ between the runs",
    )


def differing(sets: list[dict[str, str]]) -> list[tuple[str, ...]]:
    """(dotted name, value in each), for those that are not the same everywhere; a dash where one has none."""
    every = sorted(set().union(*sets))
    rows = [(name, *(values.get(name, words.DASH) for values in sets)) for name in every]
    return [row for row in rows if len(set(row[1:])) > 1]


def _curves(chosen: list[RunWithReport]) -> None:
    st.subheader("By number of traces")
    objectives = {report.comparison.objective.name for _, report in chosen}
    if len(objectives) > 1:
        st.markdown(f"These runs sought different things ({', '.join(sorted(objectives))}): no curve compares them.")
        return
    digests = {report.comparison.test_digest for _, report in chosen}
    if len(digests) > 1:
        st.markdown(":orange[:material/error:] The runs were tested on different images: compare with care.")
    st.altair_chart(
        charts.runs_curves(
            [(f"{run.short}, {words.moment(run.started_seconds)}", r) for run, r in chosen], frame.palette()
        ),
        alt="Ratio to the default by number of traces, run by run",
    )


def _images(here: PageContext, chosen: list[RunWithReport]) -> None:
    st.subheader("Image by image")
    (first, _), *others = chosen
    base = queries.images(first)
    if isinstance(base, Trouble):
        frame.trouble(base)
        return
    for other, _ in others:
        table = queries.images(other)
        if isinstance(table, Trouble):
            frame.trouble(table)
            continue
        _pair(here, first, other, paired(base, table))


def paired(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Images that both were tested on, by their pixels; gain: other minus one, in natural log units."""
    wanted = ["digest", "path", "category", "value", "bytes"]
    joined = one[wanted].merge(other[["digest", "value", "bytes"]], on="digest", suffixes=("_one", "_other"))
    joined = joined.drop_duplicates("digest")
    return joined.assign(gain=joined["value_other"] - joined["value_one"])


def _pair(here: PageContext, one: RunView, other: RunView, joined: pd.DataFrame) -> None:
    if joined.empty:
        st.markdown(f"{other.short} and {one.short} have no test image in common.")
        return
    gains = joined["gain"].to_numpy()
    wins, losses = int((gains > TIE).sum()), int((gains < -TIE).sum())
    mean = float(np.mean(gains))
    st.markdown(
        f"**{other.short} against {one.short}**: better on {wins:,}, worse on {losses:,}, the same on "
        f"{len(joined) - wins - losses:,} of {words.counted(len(joined), 'image')}; "
        f"in the objective {better(mean)}."
    )
    ordered = joined.reindex(joined["gain"].abs().sort_values(ascending=False).index).head(MOST_ROWS)
    rows = pd.DataFrame(
        {
            "image": [words.visible(p) for p in ordered["path"]],
            "category": ordered["category"].to_list(),
            "gain": ordered["gain"].to_list(),
            f"bytes, {one.short}": ordered["bytes_one"].to_list(),
            f"bytes, {other.short} ": ordered["bytes_other"].to_list(),
        }
    )
    picked = st.dataframe(
        rows, hide_index=True, height=min(280, 40 + 35 * len(rows)), on_select="rerun", selection_mode="single-row",
        key=f"pair-{one.run_id}-{other.run_id}", alt="Images on which the two runs differ most first",
        column_config={"gain": st.column_config.NumberColumn("gain, of the objective", format="%+.3f")},
    )  # fmt: skip
    selected = picked["selection"]["rows"] if picked else []
    if selected:
        digest = str(ordered.iloc[selected[0]]["digest"])
        st.switch_page(here.pages["images"], query_params={"run": other.run_id, "image": digest})
