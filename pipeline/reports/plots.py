"""The pictures of figures: PNGs 1600 pixels wide that stay readable at half that.

Drawn on Figure objects without pyplot, whose global state would leak between pictures.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from pipeline.core.facts.comparison import (
    DEFAULT,
    FIXED,
    OURS,
    PORTFOLIO,
    RANDOM,
    TPE,
    UNTRAINED,
    Comparison,
    ImageResult,
    MethodResult,
)
from pipeline.core.intervals import Interval
from pipeline.core.records import CATEGORIES
from pipeline.reports import words
from pipeline.reports.colours import LIGHT
from pipeline.reports.tables import keeps_default

DPI = 200
WIDTH = 8.0  # inches

INK, MUTED, FAINT, PAPER, STRONG = LIGHT.ink, LIGHT.muted, LIGHT.faint, LIGHT.paper, LIGHT.strong
METHOD_MARKS = {OURS: "o", UNTRAINED: "o", TPE: "s", RANDOM: "^", PORTFOLIO: "D", FIXED: "D"}
DASHES = (0, (4, 3))
PERCENT = FuncFormatter(lambda y, _: f"{y * 100:.0f} %")

STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 11.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlepad": 12, "axes.labelsize": 9.5, "axes.labelcolor": INK,
    "axes.edgecolor": MUTED, "axes.linewidth": 0.8, "axes.spines.top": False, "axes.spines.right": False,
    "axes.axisbelow": True, "text.color": INK, "text.parse_math": False, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "legend.fontsize": 9, "legend.frameon": False, "grid.color": FAINT, "grid.linewidth": 0.8,
}  # fmt: skip


def png(draw: Callable[[Figure], None], height: float) -> bytes:
    """A figure of 8 x `height` inches as a PNG; the same data gives the same bytes."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font lacks
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class EndLabel:
    """A name at the right end of a curve. point: the traces of its last point; None for a mark across the picture."""

    ratio: float
    text: str
    colour: str
    point: int | None
    strong: bool = False


def headline(comparison: Comparison) -> bytes:
    """Ratio to the default over traces: curves for what searches, dashed marks for what more traces do not change."""
    return png(lambda figure: _headline(figure, comparison), 4.9)


def _headline(figure: Figure, comparison: Comparison) -> None:
    axes: Axes = figure.subplots()
    most = max(comparison.traces)
    curves = sorted((m for m in comparison.methods if not m.is_flat), key=lambda m: m.kind == "ours")
    labels: list[EndLabel] = []
    for method in comparison.methods:
        ratio = method.at(most)
        if ratio and method.is_flat and (method.name == DEFAULT or not keeps_default(method)):
            axes.axhline(ratio.mean, color=_method_colour(method), linewidth=1.1, linestyle=DASHES, zorder=2)
            labels.append(EndLabel(ratio.mean, _label(method), _method_colour(method), None))
    for index, method in enumerate(curves):
        _curve(axes, method, 1 + 0.018 * (index - len(curves) // 2))
        if last := method.at(most):
            labels.append(EndLabel(last.mean, _label(method), _method_colour(method), most, method.kind == "ours"))
    _trace_axis(axes, comparison.traces)
    axes.yaxis.set_major_formatter(PERCENT)
    axes.grid(axis="y")
    axes.set_ylabel(words.RATIO_WORDS)
    sure = f"{words.percent(comparison.confidence)} interval over {words.counted(comparison.images, 'test image')}"
    _head(axes, "How small the SVGs get",
          f"lower is better · band and bars: {sure}")  # fmt: skip
    _end_labels(axes, labels)


def _curve(axes: Axes, method: MethodResult, dodge: float) -> None:
    """Points moved sideways by `dodge`, a factor, so that the bars of two methods do not hide each other."""
    points = [(p.traces, p.ratio) for p in method.curve if p.ratio]
    x = np.array([t for t, _ in points], dtype=float)
    mean, low, high = (np.array([getattr(r, name) for _, r in points]) for name in ("mean", "low", "high"))
    colour, ours = _method_colour(method), method.kind == "ours"
    line, size = (2.8, 7) if ours else (1.5, 5)
    if ours:
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0, zorder=3)
    else:
        axes.errorbar(x * dodge, mean, [mean - low, high - mean], fmt="none", ecolor=colour, elinewidth=1, alpha=0.65)
    axes.plot(
        x if ours else x * dodge, mean, color=colour, linewidth=line, zorder=5 if ours else 4,
        marker=METHOD_MARKS.get(method.name, "o"), markersize=size, markeredgecolor=PAPER, markeredgewidth=0.8,
    )  # fmt: skip


def _trace_axis(axes: Axes, traces: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(traces), [str(t) for t in traces])
    axes.xaxis.set_minor_locator(NullLocator())
    span = max(traces) / min(traces)
    axes.set_xlim(min(traces) / max(span, 2) ** 0.05, max(traces) * max(span, 2) ** 0.05)
    axes.set_xlabel("Traces per image")


def _end_labels(axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Names and values at the right end instead of a legend, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label.ratio)
    places = spread([label.ratio for label in ordered], (high - low) * 0.047)
    beside = axes.get_yaxis_transform()
    for label, place in zip(ordered, places, strict=True):
        axes.annotate(
            f"{words.percent(label.ratio)}  {label.text}",
            (1.0, label.ratio) if label.point is None else (label.point, label.ratio),
            (1.04, place),
            xycoords=beside if label.point is None else "data",
            textcoords=beside,
            va="center",
            color=label.colour if label.strong else INK,
            fontweight="bold" if label.strong else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": label.colour,
                "linewidth": 1.6 if label.strong else 0.8,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 0 if label.point is None else 5,
            },
        )


def spread(wanted: Sequence[float], step: float) -> list[float]:
    """Rising positions moved as little as can be until neighbours are `step` apart (pool adjacent violators)."""
    groups: list[tuple[float, int]] = []  # centre, members
    for place in wanted:
        groups.append((place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < step * (groups[-1][1] + groups[-2][1]) / 2:
            (upper, n), (lower, m) = groups.pop(), groups.pop()
            groups.append(((upper * n + lower * m) / (n + m), n + m))
    return [centre + step * (k - (n - 1) / 2) for centre, n in groups for k in range(n)]


def tradeoff(comparison: Comparison) -> bytes:
    """Bytes by the damage that is allowed, the knee marked; how many images are damaged at each point."""
    return png(lambda figure: _tradeoff(figure, comparison), 4.2)


def _tradeoff(figure: Figure, comparison: Comparison) -> None:
    axes: Axes = figure.subplots()
    x = np.arange(len(comparison.tradeoff))
    mean, low, high = (np.array([getattr(p.ratio, n) for p in comparison.tradeoff]) for n in ("mean", "low", "high"))
    axes.fill_between(x, low, high, color=STRONG, alpha=0.14, linewidth=0)
    axes.plot(x, mean, color=STRONG, linewidth=2.8, marker="o", markersize=7, markeredgecolor=PAPER, zorder=4)
    for place, point in enumerate(comparison.tradeoff):
        axes.annotate(
            f"{words.percent(point.ratio.mean)}", (place, point.ratio.mean), (0, 10), textcoords="offset points",
            ha="center", fontsize=9, fontweight="bold", color=STRONG, zorder=5,
        )  # fmt: skip
        if point.max_damage == comparison.knee:
            axes.plot(
                place, point.ratio.mean, marker="o", markersize=14, markerfacecolor="none", markeredgecolor=STRONG
            )
            axes.annotate(
                "knee", (place, point.ratio.mean), (0, -20), textcoords="offset points", ha="center", fontsize=9,
                color=STRONG, fontweight="bold",
            )  # fmt: skip
    damaged = [f"{p.max_damage:g} px\n{words.percent(p.damaged.mean)}" for p in comparison.tradeoff]
    axes.set_xticks(x, damaged)
    axes.set_xlim(-0.4, len(x) - 0.6)
    axes.set_ylim(0, None)
    axes.margins(y=0.15)
    axes.grid(axis="y")
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_ylabel(words.RATIO_WORDS)
    axes.set_xlabel("Damage allowed, and the share of logos that are visibly damaged")
    sure = f"{words.percent(comparison.confidence)} interval over {words.counted(comparison.images, 'test image')}"
    traces = words.counted(comparison.headline_traces, "trace")
    _head(axes, f"Size against damage, over the {traces} made", f"lower is better · band: {sure}")


def categories(comparison: Comparison) -> bytes:
    """Ours beside the best fixed setting and TPE in each category, at the headline's number of traces."""
    return png(lambda figure: _categories(figure, comparison), 3.9)


def _categories(figure: Figure, comparison: Comparison) -> None:
    axes: Axes = figure.subplots()
    traces = comparison.headline_traces
    methods = [m for name in (OURS, FIXED, TPE) if (m := comparison.method(name))]
    width = 0.8 / max(1, len(methods))
    for k, method in enumerate(methods):
        for x, category in enumerate(comparison.categories):
            ratio = method.in_category(category, traces)
            if ratio:
                _bar(axes, x + (k - (len(methods) - 1) / 2) * width, width * 0.9, ratio, method)
    axes.axhline(1.0, color=MUTED, linewidth=1.1, linestyle=DASHES, zorder=3)
    axes.text(
        len(comparison.categories) - 0.5, 1.012, "VTracer default", ha="right", va="bottom", fontsize=9, color=MUTED
    )
    axes.set_xticks(range(len(comparison.categories)), [f"{c} logos" for c in comparison.categories])
    axes.set_xlim(-0.5, len(comparison.categories) - 0.5)
    axes.set_ylim(0, max(1.1, axes.get_ylim()[1]))
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")
    axes.set_ylabel(words.RATIO_WORDS)
    axes.yaxis.set_major_formatter(PERCENT)
    sure = f"{words.percent(comparison.confidence)} interval"
    _head(axes, f"Per category, at {words.counted(traces, 'trace')}", f"lower is better · lines: {sure}")
    handles = [Patch(color=_bar_colour(m), label=_label(m)) for m in methods]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1, handleheight=1)


def _bar(axes: Axes, x: float, width: float, ratio: Interval, method: MethodResult) -> None:
    ours = method.kind == "ours"
    axes.bar(x, ratio.mean, width, color=_bar_colour(method), zorder=2)
    axes.vlines(x, ratio.low, ratio.high, color=INK, linewidth=1.2, zorder=3)
    axes.text(
        x, 0.02, words.percent(ratio.mean), ha="center", va="bottom", fontsize=9, color=PAPER if ours else INK,
        fontweight="bold" if ours else "normal", zorder=4,
    )  # fmt: skip


def gains(images: Sequence[ImageResult], traces: int) -> bytes:
    """Each test image's ratio to the default, from the most to the least improved, coloured by category."""
    return png(lambda figure: _gains(figure, images, traces), 3.8)


def _gains(figure: Figure, images: Sequence[ImageResult], traces: int) -> None:
    axes: Axes = figure.subplots()
    ordered = sorted(images, key=lambda i: (i.ratio, i.path))
    changes = np.array([i.ratio - 1 for i in ordered])
    colours = [LIGHT.category(i.category) for i in ordered]
    axes.bar(np.arange(len(ordered)), changes, 1.0 if len(ordered) > 120 else 0.86, color=colours, zorder=2)
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=3)
    kept = [place for place, image in enumerate(ordered) if not image.improved]
    if kept:
        axes.plot(kept, np.zeros(len(kept)), linestyle="none", marker="|", color=INK, markersize=7, zorder=4)
        axes.annotate(
            f"{len(kept)} kept the default", (kept[-1] + 0.5, 0), (0, 7), textcoords="offset points", ha="right",
            fontsize=9, color=INK,
        )  # fmt: skip
    if len(ordered) > 1:
        median = float(np.median(changes))
        axes.axhline(median, color=INK, linewidth=1, linestyle=DASHES, zorder=4)
        axes.annotate(f"median {median * 100:+.0f} %".replace("-", "−"), (len(ordered) - 0.5, median), (0, -4),
                      textcoords="offset points", ha="right", va="top", fontsize=9)  # fmt: skip
    axes.set_xlim(-0.7, len(ordered) - 0.3)
    axes.margins(y=0.1)
    axes.xaxis.set_major_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y * 100:+.0f} %".replace("-", "−") if y else "0 %"))
    axes.grid(axis="y")
    axes.set_ylabel("Change in bytes")
    _head(axes, f"Each image against VTracer's default, at {words.counted(traces, 'trace')}",
          f"{words.counted(len(ordered), 'test image')}, most improved first")  # fmt: skip
    present = [c for c in CATEGORIES if any(i.category == c for i in ordered)]
    handles = [Patch(color=LIGHT.categories[c], label=f"{c} logos") for c in present]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=1, handleheight=1)


def _method_colour(method: MethodResult) -> str:
    return STRONG if method.kind == "ours" else LIGHT.method(method.name)


def _bar_colour(method: MethodResult) -> str:
    """Large areas of the rivals' colours would outshout ours: half of them is paper."""
    if method.kind == "ours":
        return STRONG
    red, green, blue = to_rgb(_method_colour(method))
    return to_hex(((1 + red) / 2, (1 + green) / 2, (1 + blue) / 2))


def _label(method: MethodResult) -> str:
    return words.shortened(words.visible(method.label), 26)


def _head(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, pad=25)
    axes.annotate(
        subtitle, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=MUTED
    )
