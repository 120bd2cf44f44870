"""Images: original, VTracer's default and ours of each test image, as closely as one wants to look."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts, frame, queries
from dashboard.frame import PageContext
from dashboard.queries import RunView
from dashboard.viewer import viewer
from dashboard.viewer.viewer import Pane, Tile
from pipeline.core.facts.comparison import OURS, UNTRAINED
from pipeline.core.records import CATEGORIES, VISIBLE_DAMAGE
from pipeline.reports import words
from pipeline.reports.archive import DAMAGE_OF, RATIO_OF, VALUE_OF
from pipeline.reports.run_report import RunReport
from pipeline.reports.trouble import Trouble

ANY = "all"
OUTCOMES = {
    ANY: "all",
    "improved": "improved",
    "kept": "kept the default",
    "behind": "behind a rival",
}
ORDERS = {
    "ratio": "most improved",
    "-ratio": "least improved",
    "-default_bytes": "largest default",
    "-bytes": "largest of ours",
    "-damage": "most damage",
    "-delta": "largest colour error",
    "lead": "furthest behind a rival",
    "path": "name",
}
VIEWS = {
    "pair": "Original and ours",
    "beside": "With the default",
    "slider": "Slider",
    "difference": "Difference",
    "paths": "Paths",
}
PAIRS = {"original-ours": "original, ours", "default-ours": "default, ours", "original-default": "original, default"}
ZOOMS = (1, 2, 3, 6, 12)
MOST_TILES = 48  # of the grid
TILE_PIXELS = 64
MOST_ROWS = 500

COLUMNS = {
    "change": st.column_config.NumberColumn(format="%+.0f %%", help="against the default; below 0 is better"),
    "default": st.column_config.NumberColumn("default, bytes", format="localized"),
    "ours": st.column_config.NumberColumn("ours, bytes", format="localized"),
    "damage": st.column_config.NumberColumn(format="%.1f px", help="estimated area of visible damage"),
    "default's damage": st.column_config.NumberColumn(format="%.1f px"),
    "colour error": st.column_config.NumberColumn(format="%.2f", help="mean OKLab distance x 100"),
}
"""How the columns of the list are shown, those whose name does not say it all."""


def page(here: PageContext) -> None:
    st.title("Images")
    found = frame.report_of(here)
    if found is None:
        return
    run, report = found
    table = queries.images(run)
    if isinstance(table, Trouble):
        frame.trouble(table)
        return
    chosen = _filtered(table)
    digest = _chosen(here, run, table, chosen)
    row = with_lead(table[table["digest"] == digest]).iloc[0]
    _shown(here, run, report, {str(name): value for name, value in row.to_dict().items()})
    with st.expander("All of them as a table"):
        st.dataframe(
            _columns_of(chosen.head(MOST_ROWS)),
            hide_index=True,
            height=320,
            alt="Test images with their scores",
            column_config=COLUMNS,
        )
        if len(chosen) > MOST_ROWS:
            st.caption(f"The first {MOST_ROWS} of {len(chosen):,}.")


def _filtered(table: pd.DataFrame) -> pd.DataFrame:
    first, second, third, fourth = st.columns([2, 2, 3, 3])
    with first:
        category = st.selectbox("Category", [ANY, *CATEGORIES], key="category", bind="query-params")
    with second:
        outcome = st.selectbox(
            "Outcome", list(OUTCOMES), format_func=OUTCOMES.__getitem__, key="outcome", bind="query-params"
        )
    with third:
        order = st.selectbox("Order", list(ORDERS), format_func=ORDERS.__getitem__, key="order", bind="query-params")
    with fourth:
        part = st.text_input("Name contains", key="name", bind="query-params", max_chars=255)
    return filtered(with_lead(table), category or ANY, outcome or ANY, order or "ratio", part or "")


def with_lead(table: pd.DataFrame) -> pd.DataFrame:
    """With a column `lead`: ours minus the best of its rivals, in natural log units; below 0 is behind."""
    others = [name for name in table.columns if name.startswith(VALUE_OF) and name != f"{VALUE_OF}{UNTRAINED}"]
    lead = table["value"] - (table[others].max(axis=1) if others else 0.0)
    return table.assign(lead=lead)


def filtered(table: pd.DataFrame, category: str, outcome: str, order: str, part: str) -> pd.DataFrame:
    """The order of the images: a column's name, with `-` before it for the highest first."""
    keep = pd.Series(True, index=table.index)
    if category != ANY:
        keep &= table["category"] == category
    if outcome == "improved":
        keep &= table["value"] > 0
    elif outcome == "kept":
        keep &= table["value"] <= 0
    elif outcome == "behind":
        keep &= table["lead"] < -1e-9
    if part:
        keep &= table["path"].str.contains(part, case=False, regex=False)
    column = order.removeprefix("-")
    columns = [column, "path"] if column != "path" and column in table else ["path"]
    rising = [not order.startswith("-"), True][: len(columns)] if len(columns) > 1 else [True]
    return table[keep].sort_values(columns, ascending=rising)


def _chosen(here: PageContext, run: RunView, table: pd.DataFrame, listed: pd.DataFrame) -> str:
    """The digest of the image to show, which no filter and no order changes. It goes into the address."""
    digests = [str(digest) for digest in listed["digest"]]
    known = set(table["digest"])
    asked = (
        st.query_params.get("image", ""),
        st.session_state.get("image", ""),
        *digests,
        str(table.iloc[0]["digest"]),
    )
    digest = next(candidate for candidate in asked if candidate in known)
    place, steps = st.container(), st.container(horizontal=True, vertical_alignment="center")
    at = digests.index(digest) if digest in digests else -1
    if steps.button("Previous", icon=":material/chevron_left:", disabled=at < 1, shortcut="Left", key="previous"):
        digest = digests[at - 1]
    last = len(digests) - 1
    if steps.button(
        "Next", icon=":material/chevron_right:", disabled=not digests or at == last, shortcut="Right", key="next"
    ):
        digest = digests[at + 1]
    with place:
        digest = _grid(here, run, listed, digest) or digest
    position = (
        f"image {digests.index(digest) + 1:,} of them" if digest in digests else "the image below is not among them"
    )
    steps.caption(f"{len(listed):,} of {len(table):,} images; {position}.")
    st.session_state["image"] = st.query_params["image"] = digest
    return digest


def _grid(here: PageContext, run: RunView, listed: pd.DataFrame, digest: str) -> str | None:
    """Small pictures of the images around the chosen one; returns what was chosen there."""
    if listed.empty:
        frame.empty("No image is like that; widen the filter.")
        return None
    data = queries.data_root(here.root, run)
    places = (listed["digest"] == digest).to_numpy().nonzero()[0]
    first = int(places[0]) // MOST_TILES * MOST_TILES if len(places) else 0
    tiles = [
        Tile(
            label=words.visible(str(path)),
            chosen_by=str(its),
            picture=queries.thumbnail(data, str(path), TILE_PIXELS) if data else None,
        )
        for path, its in listed.iloc[first : first + MOST_TILES][["path", "digest"]].itertuples(index=False)
    ]
    picked = viewer.choose(tiles, digest, key="grid")
    return picked if picked in set(listed["digest"]) else None


def _columns_of(part: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image": [words.visible(p) for p in part["path"]],
            "category": part["category"].to_list(),
            "change": (100 * (part["ratio"] - 1)).to_list(),
            "default": part["default_bytes"].to_list(),
            "ours": part["bytes"].to_list(),
            "damage": part["damage"].to_list(),
            "default's damage": part["default_damage"].to_list(),
            "colour error": part["delta"].to_list(),
        }
    )


def _shown(here: PageContext, run: RunView, report: RunReport, row: dict[str, Any]) -> None:
    path, digest = str(row["path"]), str(row["digest"])
    st.text(words.shortened(words.visible(path), 120))
    data = queries.data_root(here.root, run)
    original = queries.original(data, path, digest) if data else None
    default, ours = (queries.svg(here.root, run, version, digest) for version in ("default", "ours"))
    if original is None and default is None and ours is None:
        frame.empty("Neither the original nor an SVG of this image is there any more.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control(
            "View", list(VIEWS), format_func=VIEWS.__getitem__, default="pair", required=True, key="view",
            bind="query-params",
        )  # fmt: skip
        pair = None
        if view == "slider":
            pair = st.segmented_control(
                "Between", list(PAIRS), format_func=PAIRS.__getitem__, default="original-ours", required=True,
                key="between", bind="query-params",
            )  # fmt: skip
        zoom = st.segmented_control(
            "Enlarged", list(ZOOMS), format_func=lambda n: f"{n} ×", default=1, required=True, key="zoom",
            bind="query-params",
        )  # fmt: skip
    panes = _panes(report, row, original, default, ours)
    size = (original[1], original[2]) if original else _size_of(ours or default or "")
    if view == "difference":
        shown = _difference_panes(data, path, queries.background(run), panes, default, ours)
    elif view == "paths":
        shown = [panes["original"], *(_path_pane(panes[n], text) for n, text in (("default", default), ("ours", ours)))]
    elif view == "slider":
        shown = [panes[name] for name in (pair or "original-ours").split("-")]
    else:
        shown = [panes[name] for name in (("original", "ours") if view == "pair" else panes)]
    viewer.show(
        shown, mode="between" if view == "slider" else "beside", width=size[0], height=size[1],
        zoom=float(zoom or 1), key=f"viewer-{view}",
    )  # fmt: skip
    _details(report, row, default, ours)


def _panes(
    report: RunReport,
    row: dict[str, Any],
    original: tuple[bytes, int, int] | None,
    default: str | None,
    ours: str | None,
) -> dict[str, Pane]:
    kept = row["value"] <= 0
    size = f"{original[1]:,} × {original[2]:,} pixels" if original else "gone, or another image now"
    change = "the default's, kept" if kept else f"{row['bytes']:,} bytes, {_signed_percent(row['ratio'] - 1)}"
    regions = next((image.regions for image in report.damaged if image.digest == row["digest"]), ())
    boxes = tuple((region.x, region.y, region.width, region.height) for region in regions)
    kinds = list(dict.fromkeys(words.DAMAGE_NOUNS[region.kind] for region in regions))
    wrong = f": {words.listed(kinds)}" if kinds else ""
    return {
        "original": Pane(label="Original", says=size, picture=original[0] if original else None, boxes=boxes),
        "default": Pane(
            label="VTracer's default",
            says=f"{row['default_bytes']:,} bytes · {words.damage_of(float(row['default_damage']))}",
            picture=default,
        ),
        "ours": Pane(
            label=report.comparison.label(OURS),
            says=f"{change} · {words.damage_of(float(row['damage']))}{wrong}",
            picture=ours,
            ours=True,
            boxes=boxes,
        ),
    }


def _signed_percent(share: float) -> str:
    return f"{'−' if share < 0 else '+'}{words.percent(share)}"


def _size_of(svg: str) -> tuple[int, int]:
    found = queries.lines_of(svg, "#000000", "#000000")
    return (found.width, found.height) if found else (256, 256)


def _difference_panes(
    data: Any, path: str, background: str, panes: dict[str, Pane], default: str | None, ours: str | None
) -> list[Pane]:
    found = queries.differences(data, path, background, ours, default) if data else Trouble("The original is gone.")
    if isinstance(found, Trouble):
        frame.trouble(found)
        return [panes["original"]]
    shown = [panes["original"]]
    for name in ("default", "ours"):
        differs = found.get(name)
        says = f"differs by {differs.mean:.2f} of 255 on average, shown 4 × as strong" if differs else "cannot be drawn"
        shown.append(
            Pane(label=panes[name].label, says=says, picture=differs.png if differs else None, ours=panes[name].ours)
        )
    return shown


def _path_pane(pane: Pane, svg: str | None) -> Pane:
    colours = frame.palette()
    lines = queries.lines_of(svg, colours.strong, colours.attention) if svg else None
    if lines is None:
        return Pane(label=pane.label, says="no paths to show", picture=None, ours=pane.ours)
    says = f"{words.counted(lines.paths, 'path')}, {words.counted(lines.nodes, 'node')}"
    return Pane(label=pane.label, says=says, picture=lines.svg, under=svg, ours=pane.ours)


def _details(report: RunReport, row: dict[str, Any], default: str | None, ours: str | None) -> None:
    with st.container(horizontal=True):
        stem = words.visible(PurePosixPath(str(row["path"])).stem)
        for name, label, text in ((stem, "SVG of ours", ours), (f"{stem}-default", "SVG of the default", default)):
            if text:
                st.download_button(
                    label, text, file_name=f"{name}.svg", mime="image/svg+xml", icon=":material/download:",
                    key=f"download-{label}", on_click="ignore",
                )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Size and damage of every method on this image**")
        rows = pd.DataFrame(_methods(report, row))
        st.altair_chart(charts.methods(rows, report.comparison, frame.palette()), alt="Damage over bytes, by method")
        st.dataframe(
            rows, hide_index=True, alt="Every method on this image",
            column_config={
                "bytes": st.column_config.NumberColumn("bytes, % of the default's", format="%.0f %%"),
                "damage": st.column_config.NumberColumn(format="%.1f px"),
            },
        )  # fmt: skip
    with right:
        st.markdown("**Setting chosen**")
        st.dataframe(_setting(row), hide_index=True, height="content", alt="The setting that ours chose")


def _methods(report: RunReport, row: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for method in report.comparison.methods:
        of, hurt = ("ratio", "damage") if method.name == OURS else (RATIO_OF + method.name, DAMAGE_OF + method.name)
        if not pd.isna(row.get(of)):
            found.append({"method": method.label, "bytes": 100 * float(row[of]), "damage": float(row[hurt])})
    return sorted(found, key=lambda r: (r["damage"] > VISIBLE_DAMAGE, r["bytes"]))


def _setting(row: dict[str, Any]) -> pd.DataFrame:
    try:
        params = json.loads(str(row.get("params")))
        pairs = [(str(name), str(value)) for name, value in params.items()]
    except (ValueError, AttributeError):
        pairs = []
    return pd.DataFrame(pairs, columns=["parameter", "value"])
