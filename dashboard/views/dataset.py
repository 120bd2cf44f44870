"""Dataset: what the agent learns from and is tested on; what was turned away, and what would make it better."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, frame, queries
from dashboard.frame import PageContext
from pipeline.core.facts.data import QualityReport
from pipeline.core.records import CATEGORIES, SPLITS
from pipeline.reports import tables, words
from pipeline.reports.parts import Finding
from pipeline.reports.trouble import Trouble

PER_PAGE = 24
THUMBNAIL_PIXELS = 128
MOST_ROWS = 1000
ANY = "all"
SPLIT_WORDS = {"train": "train", "val": "validation", "test": "test", "aside": "aside"}


def page(here: PageContext) -> None:
    st.title("Dataset")
    quality, catalogue = queries.quality(here.root), queries.catalogue(here.root)
    for found in (quality, catalogue):
        if isinstance(found, Trouble):
            frame.trouble(found)
    if quality is None and catalogue is None:
        frame.empty("No image has been looked at yet. This finds, checks and categorises them:", "dvc repro split")
        return
    if isinstance(quality, QualityReport):
        _figures(quality)
    left, right = st.columns([3, 2], gap="large")
    with left:
        if isinstance(catalogue, pd.DataFrame):
            _splits(catalogue)
        if isinstance(quality, QualityReport) and quality.categories:
            st.subheader("Categories")
            frame.table(tables.quality(quality), alt="Images per category, who said so, how sure and how good")
    with right:
        if isinstance(quality, QualityReport):
            _recommendations(quality)
        if isinstance(catalogue, pd.DataFrame) and "quality" in catalogue:
            st.subheader("Quality")
            st.altair_chart(
                charts.histogram(catalogue["quality"], "quality, 0 to 1", frame.palette()),
                alt="How many images have which quality",
            )
    if isinstance(quality, QualityReport) and quality.rejected:
        _rejected(quality)
    if isinstance(catalogue, pd.DataFrame):
        _duplicates(catalogue)
        _thumbnails(here, catalogue, quality)


def _figures(quality: QualityReport) -> None:
    rejected = len(quality.rejected)
    share = f"{words.percent(quality.reject_ratio)} of all files" if quality.reject_ratio else None
    copies = (quality.images or 0) - (quality.distinct_images or quality.images or 0)
    figures = (
        ("images", words.count(quality.images), None),
        ("distinct", words.count(quality.distinct_images), words.counted(copies, "copy", "copies") if copies else None),
        ("rejected", words.count(rejected), share),
        ("mean quality, of 1", words.number(quality.quality_mean), None),
    )
    with st.container(horizontal=True):
        for label, value, beside in figures:
            st.metric(label, value, beside, delta_color="off", delta_arrow="off", border=True, width=168)


def _recommendations(quality: QualityReport) -> None:
    st.subheader("What would help")
    if quality.recommendations:
        frame.findings([Finding("attention", sentence) for sentence in quality.recommendations])
    else:
        frame.findings([Finding("good", "Nothing: the dataset is in order.")])


def _splits(catalogue: pd.DataFrame) -> None:
    st.subheader("Splits")
    if "split" not in catalogue:
        frame.empty("The images are not split yet:", "dvc repro split")
        return
    counts = catalogue.groupby(["split", "category"], observed=True).size().reset_index(name="images")
    counts["split"] = counts["split"].map(lambda name: SPLIT_WORDS.get(name, str(name)))
    st.altair_chart(charts.split_counts(counts, frame.palette()), alt="Images per split and category")
    wide = counts.pivot_table(index="category", columns="split", values="images", fill_value=0, sort=False)
    order = [SPLIT_WORDS[s] for s in (*SPLITS, "aside") if SPLIT_WORDS[s] in wide.columns]
    wide = wide.reindex([c for c in CATEGORIES if c in wide.index])[order].astype(int)
    wide["all"] = wide.sum(axis=1)
    rows = [(c, *(f"{n:,}" for n in row)) for c, row in zip(wide.index, wide.to_numpy(), strict=True)]
    rows.append(("all", *(f"{int(n):,}" for n in wide.sum())))
    shown = tables.TextTable(("Category", *map(str, wide.columns)), tuple(rows), frozenset({len(rows) - 1}))
    frame.table(shown, alt="Images per category and split")


def _rejected(quality: QualityReport) -> None:
    st.subheader("Rejected files")
    reasons = ", ".join(f"{n:,} {frame.plain(reason)}" for reason, n in quality.rejects.items())
    st.markdown(f"{words.counted(len(quality.rejected), 'file')}: {reasons}.")
    shown = quality.rejected[:MOST_ROWS]
    rows = pd.DataFrame(
        {
            "file": [words.visible(r.path) for r in shown],
            "reason": [r.reason for r in shown],
            "detail": [words.visible(r.detail) for r in shown],
        }
    )
    st.dataframe(rows, hide_index=True, height=min(320, 40 + 35 * len(rows)), alt="Rejected files with their reasons")


def _duplicates(catalogue: pd.DataFrame) -> None:
    if "group" not in catalogue:
        return
    sizes = catalogue.groupby("group", observed=True).agg(images=("path", "size"), distinct=("digest", "nunique"))
    several = sizes[sizes["images"] > 1].sort_values("images", ascending=False)
    st.subheader("Duplicates and variants")
    if several.empty:
        st.markdown("No image resembles another one.")
        return
    copies = int((several["images"] - several["distinct"]).sum())
    st.markdown(
        f"{words.counted(len(several), 'group')} of images that belong together (copies, near-duplicates, variants of "
        f"one brand), {int(several['images'].sum()):,} images in all; no group is in two splits. "
        f"{words.counted(copies, 'image is', 'images are')} the same as another, pixel by pixel."
    )
    first = several.head(MOST_ROWS)
    members = catalogue[catalogue["group"].isin(first.index)].groupby("group", observed=True)["path"].agg(list)
    rows = pd.DataFrame(
        {
            "images": first["images"].to_list(),
            "same pixels": (first["images"] - first["distinct"]).to_list(),
            "files": [", ".join(words.visible(p) for p in members[g][:12]) for g in first.index],
        }
    )
    st.dataframe(
        rows, hide_index=True, height=min(250, 40 + 35 * len(rows)), alt="Groups of images that belong together"
    )


def _thumbnails(here: PageContext, catalogue: pd.DataFrame, quality: Any) -> None:
    st.subheader("Images")
    left, middle, right = st.columns([2, 2, 3])
    with left:
        category = st.selectbox("Category", [ANY, *CATEGORIES], key="category", bind="query-params")
    with middle:
        split = st.selectbox("Split", [ANY, *SPLITS], key="split", bind="query-params") if "split" in catalogue else ANY
    with right:
        orders = ["path", "lowest quality", "least sure category", "largest file", "most complex"]
        order = st.selectbox("Order", orders, key="order", bind="query-params")
    chosen = catalogue
    if category != ANY:
        chosen = chosen[chosen["category"] == category]
    if split != ANY:
        chosen = chosen[chosen["split"] == split]
    chosen = _ordered(chosen, order)
    root = quality.root if isinstance(quality, QualityReport) else None
    if chosen.empty or root is None:
        frame.empty("No image is like that." if root else "data/quality.json says no folder of images.")
        return
    pages = -(-len(chosen) // PER_PAGE)
    number = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    part = chosen.iloc[(number - 1) * PER_PAGE : number * PER_PAGE]
    st.caption(f"{(number - 1) * PER_PAGE + 1:,}–{(number - 1) * PER_PAGE + len(part):,} of {len(chosen):,} images")
    _grid(here, part, root)


def _ordered(table: pd.DataFrame, order: str | None) -> pd.DataFrame:
    columns = {
        "lowest quality": ("quality", True),
        "least sure category": ("confidence", True),
        "largest file": ("file_bytes", False),
        "most complex": ("complexity", False),
    }
    column, rising = columns.get(order or "", ("path", True))
    return table.sort_values([column, "path"], ascending=[rising, True]) if column in table else table


def _grid(here: PageContext, part: pd.DataFrame, root: str) -> None:
    with st.container(horizontal=True, gap="medium"):
        for row in part.to_dict("records"):
            path = str(row["path"])
            name = words.visible(path)
            with st.container(width=THUMBNAIL_PIXELS + 24, border=True, gap=None):
                png = queries.thumbnail(here.root / root, path, THUMBNAIL_PIXELS)
                if png is None:
                    st.caption("gone, or unreadable now")
                else:
                    st.image(png, width=THUMBNAIL_PIXELS, alt=name)
                st.caption(frame.plain(words.shortened(name.rpartition("/")[2], 17)))
                st.caption(f"{row['category']}, {row.get('width', 0):,} × {row.get('height', 0):,}")
