"""Results: ours against its rivals by number of traces, per category and image by image, wins and losses alike."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts, frame, queries
from dashboard.frame import PageContext
from dashboard.queries import RunView
from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS, PORTFOLIO, TPE, ImageResult
from pipeline.reports import tables, words
from pipeline.reports.archive import VALUE_OF
from pipeline.reports.run_report import RunReport
from pipeline.reports.trouble import Trouble

BARS = (OURS, FIXED, PORTFOLIO, TPE)


def page(here: PageContext) -> None:
    st.title("Results")
    found = frame.report_of(here)
    if found is None:
        return
    run, report = found
    st.markdown(f"**{frame.plain(report.headline)}**")
    _curves(report)
    _tradeoff(report)
    _categories(run, report)
    _duels(report)
    _gap(run, report)
    _images(here, run, report)
    st.subheader("Findings")
    frame.findings(report.findings)
    _downloads(run)


def _curves(report: RunReport) -> None:
    comparison = report.comparison
    st.subheader("By number of traces")
    st.altair_chart(
        charts.curves(comparison, frame.palette()), alt="Ratio to the default by number of traces, for every method"
    )
    sure = f"{words.percent(comparison.confidence)} interval"
    st.caption(
        f"{words.RATIO_WORDS}, geometric mean over "
        f"{words.counted(comparison.images, 'test image')}; lower is better. The band is ours' {sure}. "
        f"What more traces do not change is dashed. {tables.aside(comparison)}"
    )
    frame.table(tables.methods(comparison), alt="Every method at every number of traces")


def _tradeoff(report: RunReport) -> None:
    comparison = report.comparison
    if not comparison.tradeoff:
        return
    st.subheader("Size against damage")
    traces = words.counted(comparison.headline_traces, "trace")
    st.markdown(
        f"Over the {traces} made: the smallest of each image within the damage allowed, or the least damaged one. In "
        "bold the knee, beyond which more damage saves little; `tracewright vectorize --max-damage N` chooses another "
        "point."
    )
    frame.table(tables.tradeoff(comparison), alt="Bytes by the damage that is allowed")


def _categories(run: RunView, report: RunReport) -> None:
    comparison = report.comparison
    if not comparison.categories:
        return
    st.subheader(f"Per category, at {words.counted(comparison.headline_traces, 'trace')}")
    st.altair_chart(
        charts.categories(comparison, BARS, frame.palette()), alt="Ratio to the default per category and method"
    )
    with st.expander("As a table"):
        frame.table(tables.categories(comparison, ()), alt="Every method per category")


def _duels(report: RunReport) -> None:
    duels = tables.duels(report.comparison)
    if duels.rows:
        st.subheader(f"Image by image, at {words.counted(report.comparison.headline_traces, 'trace')}")
        frame.table(duels, alt="Ours against each rival, image by image")


def _gap(run: RunView, report: RunReport) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Gap closed")
        share = gap_closed(queries.images(run))
        if share is None:
            st.markdown("It cannot be told from what this run left.")
        else:
            traces = words.counted(report.comparison.headline_traces, "trace")
            st.markdown(
                f"At {traces} {frame.plain(report.comparison.label(OURS))} reaches **{words.percent(share)}** of what "
                "the best of all methods reaches, chosen image by image with hindsight."
            )
    with right:
        st.subheader("Seeds")
        spread, seeds = report.training.seed_spread, report.training.seeds
        if spread is None:
            st.markdown("One seed was trained; more of them (train.n_seeds) would show how much is luck.")
        else:
            st.markdown(
                f"Over {len(seeds)} seeds the best validation value is {words.number(spread.mean, 3)} ± "
                f"{words.number(spread.std, 3)}."
            )
            rows = tuple((str(s.seed), words.number(s.best_value, 3), s.run_id or words.DASH) for s in seeds)
            frame.table(
                tables.TextTable(("Seed", "Best validation value", "Run"), rows, left=frozenset({2})), alt="Seeds"
            )


def gap_closed(images: pd.DataFrame | Trouble) -> float | None:
    """Ours as a share of the best of all methods, image by image, in natural log units; None where nothing gained."""
    if isinstance(images, Trouble) or images.empty:
        return None
    others = [name for name in images.columns if name.startswith(VALUE_OF) and name != f"{VALUE_OF}{DEFAULT}"]
    best = images[["value", *others]].max(axis=1).mean()
    return float(images["value"].mean() / best) if best > 0 else None


def _images(here: PageContext, run: RunView, report: RunReport) -> None:
    images = queries.images(run)
    st.subheader(f"Each image, at {words.counted(report.comparison.headline_traces, 'trace')}")
    if isinstance(images, Trouble):
        frame.trouble(images)
        return
    st.altair_chart(charts.gains(images, frame.palette()), alt="Each image's change against the default")
    titles = (
        ("A random sample", report.sample), ("Most improved", report.most_improved), ("Worst", report.least_improved)
    )  # fmt: skip
    for column, (title, chosen) in zip(st.columns(3, gap="large"), titles, strict=True):
        with column:
            _listed(here, run, title, chosen)


def _listed(here: PageContext, run: RunView, title: str, chosen: tuple[ImageResult, ...]) -> None:
    st.markdown(f"**{title}**")
    if not chosen:
        st.markdown("None.")
    for image in chosen[:6]:
        name = words.shortened(words.visible(image.path), 40)
        st.page_link(
            here.pages["images"],
            label=f"{frame.plain(name)}: {tables.change_in_bytes(image)}",
            query_params={"run": run.run_id, "image": image.digest},
        )


def _downloads(run: RunView) -> None:
    if run.archive is None:
        return
    st.subheader("Written report")
    with st.container(horizontal=True):
        for name, kind, label in queries.REPORT_FILES:
            content = queries.report_file(run, name)
            if content is not None:
                st.download_button(
                    label, content, file_name=f"{run.run_id}-{name}", mime=kind, key=name, on_click="ignore",
                    icon=":material/download:",
                )  # fmt: skip
