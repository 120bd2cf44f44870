"""The profile of an evaluation as one stacked bar per case."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pipeline.reports.plots import INK, PAPER, png

Cases = Mapping[str, Mapping[str, float]]
"""By the name of a case: milliseconds by the name of a step."""

PARTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("prepare and encode, once per preparation", ("prepare", "encode"), "#c9ced6"),
    ("trace (VTracer)", ("trace",), "#0b57a4"),
    ("read the SVG", ("read_svg",), "#e69f00"),
    ("draw", ("draw",), "#f3c969"),
    ("SSIM", ("ssim",), "#009e73"),
    ("draw at 3 times the size", ("draw_zoomed",), "#b5609a"),
    ("SSIM at 3 times the size", ("zoom_ssim",), "#7a3d68"),
    ("MSE, paths, gzip", ("mse", "statistics", "gzip"), "#56b4e9"),
    ("to the worker and back, the rest", ("transport", "rest"), "#6b7280"),
)
"""A label, the steps that it stands for, a colour."""

LIGHT = ("#c9ced6", "#e69f00", "#f3c969", "#56b4e9")
LEAST_LABELLED = 0.035
"""Of the longest bar: narrower parts have no room for their milliseconds."""


def draw_profile(path: Path, cases: Cases, once: Collection[str]) -> None:
    """once: steps drawn hatched, for they are not repeated."""
    path.write_bytes(png(partial(_draw, cases=cases, once=once), 1.9 + 0.62 * len(cases)))


def _draw(figure: Figure, cases: Cases, once: Collection[str]) -> None:
    axes: Axes = figure.subplots()
    longest = max(sum(steps.values()) for steps in cases.values())
    for row, steps in enumerate(cases.values()):
        _bar(axes, row, steps, longest, once)
    axes.set_yticks(range(len(cases)), list(cases))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * longest)
    axes.set_xlabel("milliseconds of one processor core per evaluation, 256 x 256 pixels")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.suptitle(_title(cases), x=0.012, ha="left", fontweight="bold", fontsize=11.5)
    figure.legend(handles=_legend(once), loc="outside lower center", ncols=3, handlelength=1.2, columnspacing=1.6)


def _bar(axes: Axes, row: int, steps: Mapping[str, float], longest: float, once: Collection[str]) -> None:
    left = 0.0
    for _, names, colour in PARTS:
        width = sum(max(0.0, steps[name]) for name in names)
        hatch = _hatch(names, once)
        axes.barh(row, width, left=left, height=0.62, color=colour, edgecolor=PAPER, linewidth=0.6, hatch=hatch)
        if width > LEAST_LABELLED * longest:
            box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5} if hatch else None
            ink = INK if colour in LIGHT else PAPER
            axes.text(left + width / 2, row, f"{width:.1f}", ha="center", va="center", color=ink, bbox=box)
        left += width
    axes.text(left + 0.01 * longest, row, f"{left:.1f} ms", va="center", color=INK, fontweight="bold")


def _hatch(names: Collection[str], once: Collection[str]) -> str | None:
    return "////" if set(names) <= set(once) else None


def _title(cases: Cases) -> str:
    """What is to be seen: how little is left to win beside VTracer."""
    shares = [steps["trace"] / sum(steps.values()) for steps in cases.values()]
    return f"Tracing itself is {min(shares):.0%} to {max(shares):.0%} of an evaluation: losers are not measured further"


def _legend(once: Collection[str]) -> list[Patch]:
    return [
        Patch(facecolor=colour, edgecolor=PAPER, hatch=_hatch(names, once), label=label)
        for label, names, colour in PARTS
    ]
