"""The charts of the app: the report's figures, drawn in the browser with the colours of pipeline/reports/colours.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard.trial import ParetoPoint
from pipeline.core.facts.comparison import OURS, Comparison
from pipeline.core.records import VISIBLE_DAMAGE
from pipeline.reports import words
from pipeline.reports.colours import Palette
from pipeline.reports.run_folder import SeriesPoint
from pipeline.reports.run_report import RunReport

RenderedChart = Any
"""A chart of altair, whose own types tell its kinds apart by accident."""

HEIGHT = 360
NAMES_HIGH = 22  # lines of names that fit beside the curves
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
SHARES = alt.Axis(format=".0%")
PERCENT = "format(datum.value * 100, '.0f') + ' %'"


def curves(comparison: Comparison, palette: Palette) -> RenderedChart:
    """Ratio to the default over traces, each curve named at its end; what more traces do not change is dashed."""
    rows = [
        {
            "method": method.label,
            "traces": point.traces,
            "ratio": point.ratio.mean,
            "low": point.ratio.low,
            "high": point.ratio.high,
            "searches": not method.is_flat,
            "band": method.name == OURS,
        }
        for method in comparison.methods
        if not method.name.startswith("preset_")
        for point in method.curve
        if point.ratio
    ]
    shown = [m for m in comparison.methods if not m.name.startswith("preset_")]
    scale = alt.Scale(domain=[m.label for m in shown], range=[palette.method(m.name) for m in shown])
    colour = alt.Color("method:N", scale=scale, legend=None)
    ends = _at_the_end(rows)
    first, last = min(comparison.traces), max(comparison.traces)
    x = alt.X(
        "traces:Q",
        scale=alt.Scale(type="log", base=2, nice=False, domain=[first, last * max(2.0, (last / first) ** 0.7)]),
        axis=alt.Axis(values=list(comparison.traces), format="d", grid=False),
        title="traces per image",
    )
    ticks = alt.Axis(format=".0%", values=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10])
    y = alt.Y("ratio:Q", title=words.RATIO_WORDS, scale=alt.Scale(type="log", nice=False), axis=ticks)
    dash = alt.StrokeDash("searches:N", scale=alt.Scale(domain=[True, False], range=[[1, 0], [5, 4]]), legend=None)
    shape = alt.Shape("method:N", scale=alt.Scale(domain=scale.domain, range=SHAPES[: len(shown)]), legend=None)
    tips = [
        alt.Tooltip("method:N"),
        alt.Tooltip("traces:Q"),
        *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("ratio", "low", "high")),
    ]
    base = alt.Chart(pd.DataFrame(rows)).encode(x=x, color=colour, tooltip=tips)
    ours = comparison.label(OURS)
    band = base.transform_filter(alt.datum.method == ours).mark_area(opacity=0.15, line=False)
    width = alt.condition(alt.datum.method == ours, alt.value(3.2), alt.value(1.5))
    lines = base.mark_line(interpolate="linear").encode(y=y, strokeDash=dash, strokeWidth=width)
    dots = base.transform_filter(alt.datum.searches).mark_point(filled=True, size=70, opacity=1)
    spread = {"y": alt.Y("low:Q", title=words.RATIO_WORDS), "y2": alt.Y2("high:Q")}
    names = alt.Chart(pd.DataFrame(ends)).mark_text(align="left", dx=9, fontSize=11)
    named = names.encode(x=x, y=alt.Y("place:Q", title=words.RATIO_WORDS), text="method:N", color=colour)
    layers = alt.layer(band.encode(**spread), lines, dots.encode(y=y, shape=shape), named)
    return layers.properties(height=HEIGHT + 60)


def _at_the_end(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The last point of each method, and where its name stands: at it, or as far above as the names below need."""
    last = {str(row["method"]): row for row in rows}
    ordered = sorted(last.values(), key=lambda row: float(row["ratio"]))
    ours = [float(row[name]) for row in rows for name in ("ratio", "low", "high") if name == "ratio" or row["band"]]
    room = (max(ours) / min(ours)) ** (1 / NAMES_HIGH)
    placed: list[dict[str, Any]] = []
    for row in ordered:
        least = placed[-1]["place"] * room if placed else 0.0
        placed.append({"method": row["method"], "traces": row["traces"], "place": max(float(row["ratio"]), least)})
    return placed


def categories(comparison: Comparison, methods: Sequence[str], palette: Palette) -> RenderedChart:
    """Methods beside each other in each category, at the headline's number of traces."""
    traces = comparison.headline_traces
    chosen = [m for name in methods if (m := comparison.method(name))]
    rows = [
        {"category": c, "method": m.label, "ratio": r.mean, "low": r.low, "high": r.high}
        for m in chosen
        for c in comparison.categories
        if (r := m.in_category(c, traces))
    ]
    labels = [m.label for m in chosen]
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("category:N", sort=list(comparison.categories), title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("method:N", sort=labels),
        tooltip=["category:N", "method:N", *(alt.Tooltip(f"{n}:Q", format=".1%") for n in ("ratio", "low", "high"))],
    )
    colour = alt.Color(
        "method:N",
        scale=alt.Scale(domain=labels, range=[palette.method(m.name) for m in chosen]),
        title=None,
        legend=_below(1),
    )
    bars = base.mark_bar().encode(y=alt.Y("ratio:Q", title=words.RATIO_WORDS, stack=None, axis=SHARES), color=colour)
    rules = base.mark_rule(color=palette.ink, strokeWidth=1.4).encode(y="low:Q", y2="high:Q")
    default = alt.Chart(pd.DataFrame({"y": [1.0]})).mark_rule(strokeDash=[5, 4], color=palette.muted).encode(y="y:Q")
    return alt.layer(bars, rules, default).properties(height=HEIGHT)


def gains(table: pd.DataFrame, palette: Palette) -> RenderedChart:
    """Each image's change against the default, from the most to the least improved, coloured by category."""
    ordered = table.sort_values(["ratio", "path"], ignore_index=True)
    if len(ordered) > 600:  # as many bars as a screen has pixels for
        ordered = ordered.iloc[[round(k * (len(ordered) - 1) / 599) for k in range(600)]].reset_index(drop=True)
    rows = pd.DataFrame({"rank": range(1, len(ordered) + 1), "category": ordered["category"]})
    rows["change"] = ordered["ratio"] - 1
    present = [c for c in palette.categories if c in set(rows["category"])]
    colour = alt.Color(
        "category:N",
        scale=alt.Scale(domain=present, range=[palette.category(c) for c in present]),
        title=None,
        legend=_below(4),
    )
    axis = alt.Axis(labelExpr=PERCENT)
    bars = (
        alt.Chart(rows)
        .mark_bar(binSpacing=0)
        .encode(
            x=alt.X("rank:O", title="test images, the most improved first", axis=alt.Axis(labels=False, ticks=False)),
            y=alt.Y("change:Q", title="change against the default", axis=axis),
            color=colour,
            tooltip=["category:N", alt.Tooltip("change:Q", format="+.1%")],
        )
    )
    zero = alt.Chart(pd.DataFrame({"y": [0.0]})).mark_rule(color=palette.muted).encode(y="y:Q")
    return alt.layer(bars, zero).properties(height=HEIGHT - 60)


def training(
    returns: Sequence[SeriesPoint],
    values: Sequence[Mapping[str, Any]],
    stages: Sequence[tuple[str, float, float]],
    best: int | None,
    palette: Palette,
) -> RenderedChart:
    """Return and validation value over timesteps.

    returns: (timesteps, mean return). values: timesteps, mean and, where known, low and high of each validation.
    stages: (name, first, last timestep). best: timesteps of the model that was kept.
    """
    layers: list[alt.Chart] = []
    if stages:
        layers += _stage_bands(stages, palette)
    domain, colours = ["mean return, training", "validation value"], [palette.method("random"), palette.strong]
    colour = alt.Color("what:N", scale=alt.Scale(domain=domain, range=colours), title=None, legend=_below(2))
    x = alt.X("timesteps:Q", title="timesteps (one is one trace)", axis=alt.Axis(grid=False, format=",d"))
    said = "value of the objective, 0 is the default"
    y = alt.Y("value:Q", title=said, scale=alt.Scale(zero=False))
    tips = [alt.Tooltip("what:N"), alt.Tooltip("timesteps:Q", format=",d"), alt.Tooltip("value:Q", format=".3f")]
    if returns:
        frame = pd.DataFrame(returns, columns=["timesteps", "value"]).assign(what=domain[0])
        layers.append(alt.Chart(frame).mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour, tooltip=tips))
    if values:
        frame = pd.DataFrame(values).assign(what=domain[1]).rename(columns={"mean": "value"})
        base = alt.Chart(frame).encode(x=x, color=colour, tooltip=tips)
        if {"low", "high"} <= set(frame.columns):
            layers.append(base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=said), y2="high:Q"))
        layers.append(base.mark_line(strokeWidth=2.6, point=alt.OverlayMarkDef(size=50, filled=True)).encode(y=y))
        kept = frame[frame["timesteps"] == best] if best is not None else frame[:0]
        if len(kept):
            ring = alt.Chart(kept.assign(said="best, kept"))
            layers.append(ring.mark_point(size=230, color=palette.strong, strokeWidth=2).encode(x=x, y=y))
            words_of = ring.mark_text(dy=-16, color=palette.strong, fontWeight="bold")
            layers.append(words_of.encode(x=x, y=y, text="said:N"))
    return alt.layer(*layers).properties(height=HEIGHT + 60)


def _stage_bands(stages: Sequence[tuple[str, float, float]], palette: Palette) -> list[alt.Chart]:
    frame = pd.DataFrame(
        [{"stage": n, "from": a, "to": b, "middle": (a + b) / 2, "odd": k % 2} for k, (n, a, b) in enumerate(stages)]
    )
    bands = (
        alt.Chart(frame)
        .mark_rect(color=palette.faint)
        .encode(
            x=alt.X("from:Q", title="timesteps (one is one trace)"),
            x2="to:Q",
            opacity=alt.Opacity("odd:N", scale=alt.Scale(domain=[0, 1], range=[0.75, 0.3]), legend=None),
        )
    )
    names = alt.Chart(frame).mark_text(baseline="top", dy=4, color=palette.muted).encode(x="middle:Q", text="stage:N")
    return [bands, names.encode(y=alt.value(0))]


def tradeoff(points: Sequence[ParetoPoint], palette: Palette) -> RenderedChart:
    """Damage over bytes: the Pareto front of an image's traces, with its knee and what was chosen."""
    rows = pd.DataFrame(
        [
            {
                "bytes": p.bytes,
                "damage": p.damage,
                "said": words.listed([w for w, holds in (("chosen", p.chosen), ("knee", p.knee)) if holds]),
            }
            for p in points
        ]
    )
    ticks = [0, 1, 10, 100, 1000, 10_000]
    scale = alt.Scale(type="symlog", constant=1, domainMin=0)
    x = alt.X("bytes:Q", title="bytes of the SVG", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(format=",d"))
    y = alt.Y("damage:Q", title="damage, pixels", scale=scale, axis=alt.Axis(values=ticks, format=",d"))
    tips = [alt.Tooltip("bytes:Q", format=",d"), alt.Tooltip("damage:Q", format=",.1f"), alt.Tooltip("said:N")]
    base = alt.Chart(rows).encode(x=x, y=y, tooltip=tips)
    line = base.mark_line(interpolate="step-after", color=palette.muted, strokeWidth=1.5)
    dots = base.mark_point(filled=True, size=70, opacity=1, color=palette.muted)
    marked = base.transform_filter("datum.said != ''")
    rings = marked.mark_point(filled=True, size=150, opacity=1, color=palette.strong)
    names = marked.mark_text(dy=-14, dx=6, align="left", color=palette.strong, fontWeight="bold").encode(text="said:N")
    limit = alt.Chart(pd.DataFrame({"y": [VISIBLE_DAMAGE]})).mark_rule(strokeDash=[5, 4], color=palette.muted)
    return alt.layer(limit.encode(y="y:Q"), line, dots, rings, names).properties(height=HEIGHT - 60)


def methods(rows: pd.DataFrame, comparison: Comparison, palette: Palette) -> RenderedChart:
    """Damage over bytes of every method on one image; ours stands out. rows: method, bytes (% of default), damage."""
    ours = comparison.label(OURS)
    x = alt.X("bytes:Q", title="bytes, % of the default's", scale=alt.Scale(nice=True, zero=True))
    axis = alt.Axis(values=[0, 1, 10, 100, 1000, 10_000], format=",d")
    y = alt.Y("damage:Q", title="damage, pixels", scale=alt.Scale(type="symlog", constant=1, domainMin=0), axis=axis)
    colour = alt.condition(alt.datum.method == ours, alt.value(palette.strong), alt.value(palette.muted))
    tips: list[Any] = ["method:N", alt.Tooltip("bytes:Q", format=".0f"), alt.Tooltip("damage:Q", format=",.1f")]
    base = alt.Chart(rows).encode(x=x, y=y, color=colour, tooltip=tips)
    dots = base.mark_point(filled=True, size=90, opacity=0.9)
    name = base.transform_filter(alt.datum.method == ours).mark_text(dy=-14, fontWeight="bold").encode(text="method:N")
    limit = alt.Chart(pd.DataFrame({"y": [VISIBLE_DAMAGE]})).mark_rule(strokeDash=[5, 4], color=palette.muted)
    return alt.layer(limit.encode(y="y:Q"), dots, name).properties(height=HEIGHT - 160)


def failures(counted: Mapping[str, int], palette: Palette) -> RenderedChart:
    """Failed traces by kind."""
    rows = [{"kind": words.FAILURE_WORDS.get(k, (k, k))[1], "traces": n} for k, n in counted.items() if n]
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(color=palette.muted)
        .encode(
            x=alt.X("traces:Q", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("kind:N", sort="-x", title=None, axis=alt.Axis(labelLimit=220)),
            tooltip=["kind:N", "traces:Q"],
        )
        .properties(height=alt.Step(26))
    )


def split_counts(counts: pd.DataFrame, palette: Palette) -> RenderedChart:
    """counts: columns category, split and images."""
    present = [c for c in palette.categories if c in set(counts["category"])]
    return (
        alt.Chart(counts)
        .mark_bar()
        .encode(
            x=alt.X("images:Q", title="images"),
            y=alt.Y("split:N", sort=["train", "validation", "test", "aside"], title=None),
            color=alt.Color(
                "category:N",
                scale=alt.Scale(domain=present, range=[palette.category(c) for c in present]),
                title=None,
                legend=_below(4),
            ),
            order=alt.Order("category:N"),
            tooltip=["split:N", "category:N", "images:Q"],
        )
        .properties(height=alt.Step(34))
    )


def histogram(values: pd.Series[float], title: str, palette: Palette) -> RenderedChart:
    """How often a measure of 0 to 1 takes which value."""
    counts = pd.cut(values.clip(0, 1), [k / 20 for k in range(21)], include_lowest=True, labels=False).value_counts()
    rows = pd.DataFrame({"from": [k / 20 for k in range(20)], "images": [int(counts.get(k, 0)) for k in range(20)]})
    rows["to"] = rows["from"] + 0.05
    return (
        alt.Chart(rows)
        .mark_bar(color=palette.muted, binSpacing=1)
        .encode(
            x=alt.X("from:Q", title=title, bin="binned", scale=alt.Scale(domain=[0, 1])),
            x2="to:Q",
            y=alt.Y("images:Q", title="images"),
            tooltip=[alt.Tooltip("from:Q", format=".2f"), alt.Tooltip("to:Q", format=".2f"), "images:Q"],
        )
        .properties(height=200)
    )


def resource(rows: Sequence[Mapping[str, float]], names: Sequence[str], unit: str, palette: Palette) -> RenderedChart:
    """Resources of one unit over the minutes of a run."""
    factor, title = {"ratio": (100, "per cent"), "bytes": (1e-9, "GB"), "celsius": (1, "°C"), "watts": (1, "W")}.get(
        unit, (1, "")
    )
    frame = pd.DataFrame(
        [
            {"minutes": row["minutes"], "resource": name, "value": row[name] * factor}
            for row in rows
            for name in names
            if name in row
        ]
    )
    colours = [palette.strong, palette.method("fixed"), palette.muted, palette.method("untrained"), palette.attention]
    return (
        alt.Chart(frame)
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("minutes:Q", title="minutes since the run began", axis=alt.Axis(grid=False)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(domainMin=0)),
            color=alt.Color(
                "resource:N", scale=alt.Scale(domain=list(names), range=colours), title=None, legend=_below(4)
            ),
            tooltip=["resource:N", alt.Tooltip("minutes:Q", format=".1f"), alt.Tooltip("value:Q", format=".2f")],
        )
        .properties(height=HEIGHT - 100)
    )


RUN_DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [1, 3])


def runs_curves(reports: Sequence[tuple[str, RunReport]], palette: Palette) -> RenderedChart:
    """Ours of several runs over traces: told apart by dashes, since the colour says who it is."""
    rows = [
        {"run": name, "traces": p.traces, "ratio": p.ratio.mean, "low": p.ratio.low, "high": p.ratio.high}
        for name, report in reports
        if (ours := report.comparison.method(OURS))
        for p in ours.curve
        if p.ratio
    ]
    names = [name for name, _ in reports]
    shades = [palette.strong, palette.attention, palette.good, palette.muted, *palette.categories.values()]
    colour = alt.Color("run:N", scale=alt.Scale(domain=names, range=shades), title=None, legend=_below(1))
    dash = alt.StrokeDash("run:N", scale=alt.Scale(domain=names, range=list(RUN_DASHES)), legend=None)
    ticks = sorted({traces for _, report in reports for traces in report.comparison.traces})
    x = alt.X(
        "traces:Q",
        scale=alt.Scale(type="log", base=2, nice=False),
        axis=alt.Axis(values=ticks, format="d", grid=False),
        title="traces per image",
    )
    tips: list[Any] = ["run:N", "traces:Q", *(alt.Tooltip(f"{n}:Q", format=".1%") for n in ("ratio", "low", "high"))]
    base = alt.Chart(pd.DataFrame(rows)).encode(x=x, color=colour, tooltip=tips)
    line = base.mark_line(strokeWidth=2.4, point=True).encode(
        y=alt.Y("ratio:Q", title=words.RATIO_WORDS, scale=alt.Scale(zero=False), axis=SHARES), strokeDash=dash
    )
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", title=words.RATIO_WORDS), y2="high:Q")
    return alt.layer(bars, line).properties(height=HEIGHT)


def _below(columns: int) -> alt.Legend:
    return alt.Legend(orient="bottom", columns=columns, labelLimit=240, symbolStrokeWidth=3, symbolOpacity=1)
