"""The picture of a training: returns and validation over timesteps, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.core.facts.comparison import RANDOM
from pipeline.core.facts.training import Progress, TrainReport
from pipeline.reports import words
from pipeline.reports.colours import LIGHT
from pipeline.reports.plots import MUTED, PAPER, STRONG, png
from pipeline.reports.training_stages import stage_spans

STAGE_SHADES = ("#e9edf3", "#f4f6f9")
FAILED = "#b3261e"


def training(results: TrainReport, progress: Sequence[Progress], confidence: float) -> bytes:
    """Return and validation value over timesteps, the curriculum's stages shaded."""
    return png(lambda figure: _training(figure, results, progress, confidence), 4.3)


def _training(figure: Figure, results: TrainReport, progress: Sequence[Progress], confidence: float) -> None:
    axes: Axes = figure.subplots()
    _returns(axes, progress)
    _validations(axes, results, confidence)
    axes.margins(x=0.01, y=0.12)
    _stage_bands(axes, results, progress)
    _best_mark(axes, results)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:,.0f}"))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.grid(axis="y")
    axes.set_xlabel("Timesteps (one timestep = one trace)")
    axes.set_ylabel("Value (0 = VTracer's default, higher is better)")
    failed = any(s.passed is False for s in results.final_stages)
    axes.set_title("Training, stage by stage" + (" (✗ not passed)" if failed else ""), pad=25)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _returns(axes: Axes, progress: Sequence[Progress]) -> None:
    points = [(p.timesteps, p.return_mean) for p in progress if p.return_mean is not None]
    if points:
        x, y = zip(*points, strict=True)
        label = "mean return, training images of the stage"
        axes.plot(x, y, color=LIGHT.methods[RANDOM], linewidth=1.3, label=label, zorder=3)


def _validations(axes: Axes, results: TrainReport, confidence: float) -> None:
    validated = [(v.timesteps, v.value) for v in results.validations]
    if not validated:
        return
    at = np.array([t for t, _ in validated])
    mean, low, high = (np.array([getattr(v, n) for _, v in validated]) for n in ("mean", "low", "high"))
    axes.fill_between(at, low, high, color=STRONG, alpha=0.13, linewidth=0, zorder=2)
    label = f"validation value, held-out images, with {words.percent(confidence)} interval"
    axes.plot(
        at, mean, color=STRONG, linewidth=2.6, marker="o", markersize=6, markeredgecolor=PAPER, label=label, zorder=5
    )


def _stage_bands(axes: Axes, results: TrainReport, progress: Sequence[Progress]) -> None:
    failed = {s.name for s in results.final_stages if not s.passed}
    for index, (name, start, end) in enumerate(stage_spans(results, progress)):
        if end <= start:
            continue
        axes.axvspan(start, end, color=STAGE_SHADES[index % 2], linewidth=0, zorder=0)
        text = f"{words.shortened(words.visible(name), 18)}{' ✗' if name in failed else ''}"
        axes.text(
            (start + end) / 2, 1.015, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=9,
            color=FAILED if name in failed else MUTED,
        )  # fmt: skip


def _best_mark(axes: Axes, results: TrainReport) -> None:
    kept = results.best.timesteps
    value = next((v.value.mean for v in results.validations if v.timesteps == kept), None)
    if value is None:
        return
    axes.plot(
        kept, value, marker="o", markersize=12, markerfacecolor="none", markeredgecolor=STRONG, zorder=6, clip_on=False
    )
    left, right = axes.get_xlim()
    place = (kept - left) / (right - left)
    axes.annotate(
        "best, kept", (kept, value), (0, 12), textcoords="offset points", fontsize=9, color=STRONG, fontweight="bold",
        ha="left" if place < 0.1 else "right" if place > 0.9 else "center",
    )  # fmt: skip
