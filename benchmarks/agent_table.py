"""What runs of several methods on the same images say: ratios with intervals, duels, and Markdown of both.

A value is ln(default / ours) of an image, 0 where the default stands. The values of an image are averaged over the
seeds first, then over images, so that an interval tells what another choice of images would change, not another seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.intervals import Bootstrap
from pipeline.evaluation.comparison import TIE

Values = NDArray[np.float64]
FEW, MANY = 8, 64  # the agent at the first against the rivals at the second


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One method. values: shape (seeds, images, numbers of traces); a slow one may have only the first images.

    kind: ours, rival or reference. seconds: wall clock of all its searches. failures: traces without a result. worse:
    images on which, at any number of traces, it chose what the objective refuses or what is below the default.
    """

    name: str
    label: str
    kind: str
    values: Values
    seconds: float
    failures: int
    worse: int

    @property
    def seeds(self) -> int:
        return len(self.values)

    @property
    def images(self) -> int:
        return int(self.values.shape[1])

    def of_images(self) -> Values:
        """Mean over the seeds: shape (images, numbers of traces)."""
        return np.asarray(self.values.mean(axis=0))

    def seed_spread(self) -> list[float | None]:
        """Standard deviation over seeds of the mean value, at each number of traces; None for one seed."""
        if self.seeds == 1:
            return [None] * self.values.shape[2]
        return [float(spread) for spread in self.values.mean(axis=1).std(axis=0, ddof=1)]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows on the same images. traces: numbers compared at, ascending. categories: of the images, in their order."""

    rows: Sequence[Row]
    traces: Sequence[int]
    categories: Sequence[str]
    bootstrap: Bootstrap

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": [self._row_json(row) for row in self.rows],
            "by_category": {row.name: self._by_category(row) for row in self._detailed()},
            "duels": list(self._duels()),
        }

    def _row_json(self, row: Row) -> dict[str, Any]:
        curve = self._curve(row.of_images())
        return {
            "name": row.name,
            "label": row.label,
            "kind": row.kind,
            "logos": row.images,
            "seeds": row.seeds,
            "seconds": round(row.seconds, 1),
            "failures": row.failures,
            "worse_than_default": row.worse,
            "curve": [p | {"seed_spread": s} for p, s in zip(curve, row.seed_spread(), strict=True)],
        }

    def _curve(self, values: Values) -> list[dict[str, Any]]:
        """values: shape (images, numbers of traces). ratio: geometric mean over the images, below 1 is better."""
        ratios = (self.bootstrap.mean(column).as_ratio() for column in values.T)
        return [
            {"traces": n, "ratio": r.mean, "low": r.low, "high": r.high}
            for n, r in zip(self.traces, ratios, strict=True)
        ]

    def _by_category(self, row: Row) -> dict[str, Any]:
        categories = np.array(self.categories[: row.images])
        return {
            category: {"logos": int(members.sum()), "curve": self._curve(row.of_images()[members])}
            for category in dict.fromkeys(categories.tolist())
            if (members := categories == category).any()
        }

    def _detailed(self) -> list[Row]:
        """The agent and the rival that is best with the most traces."""
        rivals = sorted(self._of_kind("rival"), key=lambda row: float(row.of_images()[:, -1].mean()))
        return [*self._of_kind("ours"), *rivals[-1:]]

    def _of_kind(self, kind: str) -> list[Row]:
        return [row for row in self.rows if row.kind == kind]

    def _duels(self) -> Iterator[dict[str, Any]]:
        """The agent with few traces against every rival with many; with each number against the untrained."""
        agent, untrained = self.row("agent"), self.row("untrained")
        if agent is None:
            return
        for rival in self._of_kind("rival"):
            yield self._duel(agent, FEW, rival, MANY)
        if untrained is not None:
            yield from (self._duel(agent, n, untrained, n) for n in self.traces)

    def _duel(self, agent: Row, traces: int, other: Row, its_traces: int) -> dict[str, Any]:
        """Paired over the images that the other has too."""
        ours = agent.of_images()[: other.images, self.traces.index(traces)]
        gains = ours - other.of_images()[:, self.traces.index(its_traces)]
        return {
            "traces": traces,
            "against": other.name,
            "its_traces": its_traces,
            "logos": other.images,
            "gain": self.bootstrap.mean(gains).to_json(),
            "wins": int((gains > TIE).sum()),
            "ties": int((np.abs(gains) <= TIE).sum()),
            "losses": int((gains < -TIE).sum()),
        }


def markdown(report: Mapping[str, Any]) -> str:
    """The report of `bench_agent` to be read: ratios below 1 are better, gains above 0 are the agent's."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = [
        "# The agent and its rivals by number of traces",
        "",
        f"Printed by `{report['command']}`. Geometric means over the logos, relative to VTracer's default:",
        "bytes for `smaller`, SSIM error for `sharper`; below 1 is better. The logos are of another source than those",
        "trained on. The default's own trace is free for every method, and what beats nothing keeps the default.",
        "*worse*: logos on which anything chosen did not hold when valued again. *seed spread*: standard deviation",
        "over seeds of the mean gain (ln) with the most traces.",
        "",
        f"{report['logos']} logos ({_counts(report['categories'])}), {report['cores']} cores, {report['date']}; "
        f"{versions}. Intervals: {report['confidence']:.0%}, bootstrap over logos.",
        "",
        f"One proposal without its trace takes {report['inference_milliseconds']:.1f} ms (median).",
    ]
    for objective, table in report["objectives"].items():
        lines += ["", f"## {objective}", "", *_objective_lines(table)]
    return "\n".join(lines) + "\n"


def _counts(categories: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {category}" for category, count in categories.items())


def _objective_lines(table: Mapping[str, Any]) -> list[str]:
    traces = [point["traces"] for point in table["rows"][0]["curve"]]
    numbers = [f"{n} trace{'s' * (n > 1)}" for n in traces]
    lines = _grid(
        ["method", *numbers, "seed spread", "worse", "failures", "logos x seeds", "seconds"],
        [_row_cells(row) for row in table["rows"]],
    )
    for name, categories in table["by_category"].items():
        rows = [[f"{c} ({part['logos']})", *_ratios(part["curve"])] for c, part in categories.items()]
        lines += ["", f"By category: {name}", "", *_grid(["category", *numbers], rows)]
    if table["duels"]:
        heads = ["agent's traces", "against", "its traces", "gain (ln)", "wins / ties / losses", "logos"]
        lines += ["", *_grid(heads, [_duel_cells(duel) for duel in table["duels"]])]
    return lines


def _row_cells(row: Mapping[str, Any]) -> list[str]:
    spread = row["curve"][-1]["seed_spread"]
    return [
        row["label"],
        *_ratios(row["curve"]),
        "-" if spread is None else f"{spread:.4f}",
        str(row["worse_than_default"]),
        str(row["failures"]),
        f"{row['logos']} x {row['seeds']}",
        f"{row['seconds']:.0f}",
    ]


def _ratios(curve: Iterable[Mapping[str, float]]) -> list[str]:
    return [f"{p['ratio']:.3f} ({p['low']:.3f} to {p['high']:.3f})" for p in curve]


def _duel_cells(duel: Mapping[str, Any]) -> list[str]:
    gain = duel["gain"]
    return [
        str(duel["traces"]),
        duel["against"],
        str(duel["its_traces"]),
        f"{gain['mean']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})",
        f"{duel['wins']} / {duel['ties']} / {duel['losses']}",
        str(duel["logos"]),
    ]


def _grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
