"""Which score, computed from the traced image alone, predicts visible damage?

`python -m benchmarks.fidelity LOGOS [--traces N] [--logos N] [--json]`. LOGOS holds folders of PNG files, and the
designers' SVG files of the same names in `masters`. Images above 80,000 pixels are left out, for time.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage
from tqdm import tqdm

from benchmarks.fidelity import doses
from benchmarks.fidelity.drawings import draw_with_resvg, draw_with_skia, straight
from benchmarks.fidelity.masters import DAMAGED, Master
from benchmarks.fidelity.rivals import SCORES, Image
from benchmarks.fidelity.statistics import Numbers, area_interval, rank_correlation
from benchmarks.fidelity.traces import Trace, traces
from pipeline.core.records import Pixels, TracerParams
from pipeline.tracing.fidelity import Reference, damage
from pipeline.tracing.improvement import picture_of

LARGEST = 80_000
LIMITS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """The traces of one logo. damage: as its master shows it. scores, milliseconds: of each score of each trace."""

    name: str
    sizes: Numbers
    damage: Numbers
    scores: dict[str, Numbers]
    milliseconds: dict[str, Numbers]
    doses: dict[str, list[float]]
    harmless: dict[str, float]

    @property
    def brand(self) -> str:
        return re.split("[-_]", self.name)[0]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity", description=__doc__)
    parser.add_argument("logos", type=Path, metavar="LOGOS")
    parser.add_argument("--traces", type=int, default=20, help="for each logo (default: 20)")
    parser.add_argument("--logos", type=int, default=60, dest="count", help="logos (default: 60)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)  # as in a worker
    files = logo_files(arguments.logos)[: arguments.count]
    judged = [judge(file, arguments.logos, arguments.traces) for file in tqdm(files, file=sys.stderr)]
    report = summary(judged)
    print(json.dumps(report, indent=2) if arguments.json else as_text(report))


def logo_files(root: Path) -> list[Path]:
    """Those with a master and of a size to work on, one of each folder in turn, in an order drawn once."""
    rng = np.random.default_rng(0)
    groups = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "masters"):
        files = [path for path in sorted(folder.glob("*.png")) if _is_usable(path, root)]
        groups.append([files[i] for i in rng.permutation(len(files))])
    return [file for file in chain.from_iterable(zip_longest(*groups)) if file is not None]


def _is_usable(path: Path, root: Path) -> bool:
    with PillowImage.open(path) as image:
        return image.width * image.height <= LARGEST and (root / "masters" / f"{path.stem}.svg").exists()


def judge(file: Path, root: Path, count: int) -> Judged:
    rgba = np.asarray(PillowImage.open(file).convert("RGBA"))
    height, width = rgba.shape[:2]
    drawing = (root / "masters" / f"{file.stem}.svg").read_text(errors="ignore")
    image, master = Image.of(rgba), Master.of(drawing, width, height)
    made = traces(rgba, count, np.random.default_rng(sum(map(ord, file.stem))))
    timed = {name: [_timed(name, image, one.svg) for one in made] for name in SCORES}
    return Judged(
        name=file.stem,
        sizes=np.array([len(one.svg) for one in made], float),
        damage=np.array([master.damage(one.svg) for one in made]),
        scores={name: np.array([score for score, _ in pairs]) for name, pairs in timed.items()},
        milliseconds={name: np.array([taken for _, taken in pairs]) for name, pairs in timed.items()},
        doses=doses.scores(drawing, width, height),
        harmless=harmless(rgba, made),
    )


def _timed(name: str, image: Image, svg: str) -> tuple[float, float]:
    """The score, and the milliseconds that it took with the drawing, as at 256 x 256."""
    started = time.perf_counter()
    score = SCORES[name](image, svg)
    taken = time.perf_counter() - started
    return score, taken * 1000 * 256 * 256 / (image.width * image.height)


def harmless(rgba: Pixels, made: Sequence[Trace]) -> dict[str, float]:
    """Scores of changes that nobody sees: the last trace by another renderer, and with coordinates rounded."""
    height, width = rgba.shape[:2]
    exact = replace(made[-1].params, path_precision=8)
    svg, rounded = (_traced(rgba, replace(exact, path_precision=digits)) for digits in (8, 2))
    reference = Reference.of(straight(draw_with_skia(svg, width, height)))
    return {
        "drawn by resvg, not Skia": damage(reference, draw_with_resvg(svg, width, height)).score,
        "coordinates rounded to 1/100": damage(reference, draw_with_skia(rounded, width, height)).score,
    }


def _traced(rgba: Pixels, params: TracerParams) -> str:
    return picture_of(rgba, params).svg


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    harmless_names = list(judged[0].harmless)
    shifts = {name: [one.doses[name][0] for one in judged] for name in doses.HARMLESS}
    silent = {name: [one.harmless[name] for one in judged] for name in harmless_names} | shifts
    return {
        "benchmark": "fidelity",
        "logos": len(judged),
        "traces": sum(len(one.damage) for one in judged),
        "damaged": round(float(np.mean(np.concatenate([one.damage for one in judged]) > DAMAGED)), 3),
        "scores": {name: _quality_of(name, judged) for name in SCORES},
        "limits": [_choice_within(limit, judged) for limit in LIMITS],
        "doses": {name: _dose_row(name, judged) for name in doses.DOSES},
        "harmless": {
            name: {"median": float(np.median(v)), "p95": float(np.quantile(v, 0.95)), "max": max(v)}
            for name, v in silent.items()
        },
    }


def _quality_of(name: str, judged: Sequence[Judged]) -> dict[str, float]:
    area, low, high = area_interval(
        [one.scores[name] for one in judged], [one.damage > DAMAGED for one in judged], [one.brand for one in judged]
    )
    within = float(np.nanmean([rank_correlation(one.scores[name], one.damage) for one in judged]))
    taken = float(np.median(np.concatenate([one.milliseconds[name] for one in judged])))
    rounded = {"auc": area, "auc_low": low, "auc_high": high, "rank_correlation_within": within}
    return {key: round(value, 4) for key, value in rounded.items()} | {"milliseconds_median": round(taken, 2)}


def _choice_within(limit: float, judged: Sequence[Judged]) -> dict[str, float]:
    """Taken is the smallest trace within the limit, else the one with the best score.

    avoidable: logos whose chosen trace is damaged though one of their traces is not.
    """
    damaged, avoidable, ratios, within = [], [], [], []
    for one in judged:
        scores = one.scores["damage (fidelity.py)"]
        allowed = scores <= limit
        chosen = int(np.argmin(np.where(allowed, one.sizes, np.inf)) if allowed.any() else np.argmin(scores))
        within.append(allowed.any())
        damaged.append(one.damage[chosen] > DAMAGED)
        if one.damage.min() <= DAMAGED:
            avoidable.append(one.damage[chosen] > DAMAGED)
        ratios.append(np.log(one.sizes[chosen] / one.sizes[0]))
    return {
        "limit": limit,
        "logos_within": round(float(np.mean(within)), 3),
        "damaged": round(float(np.mean(damaged)), 3),
        "damaged_though_avoidable": round(float(np.mean(avoidable)), 3) if avoidable else float("nan"),
        "bytes_to_default": round(float(np.exp(np.mean(ratios))), 3),
    }


def _dose_row(name: str, judged: Sequence[Judged]) -> dict[str, Any]:
    """Medians over logos, and the share of steps from one dose to the next at which the score does not fall."""
    table = np.array([one.doses[name] for one in judged])
    steps = np.diff(table, axis=1) >= -0.01 * table[:, :-1] - 0.05
    return {
        "amounts": doses.DOSES[name].amounts,
        "median_score": np.round(np.median(table, axis=0), 2).tolist(),
        "steps_not_falling": round(float(steps.mean()), 4),
    }


def as_text(report: dict[str, Any]) -> str:
    lines = [f"{report['logos']} logos, {report['traces']} traces, {report['damaged']:.0%} damaged", ""]
    lines.append(f"{'score':26} {'AUC':>6} {'95 % interval':>16} {'within':>7} {'ms':>7}")
    for name, row in sorted(report["scores"].items(), key=lambda item: -item[1]["auc"]):
        interval = f"{row['auc_low']:.3f} to {row['auc_high']:.3f}"
        within, taken = row["rank_correlation_within"], row["milliseconds_median"]
        lines.append(f"{name:26} {row['auc']:6.3f} {interval:>16} {within:7.3f} {taken:7.2f}")
    lines += ["", f"{'limit':>6} {'within':>7} {'damaged':>8} {'avoidable':>10} {'bytes':>6}"]
    for row in report["limits"]:
        shares = f"{row['logos_within']:7.0%} {row['damaged']:8.0%} {row['damaged_though_avoidable']:10.0%}"
        lines.append(f"{row['limit']:6} {shares} {row['bytes_to_default']:6.2f}")
    lines.append("")
    for name, row in report["doses"].items():
        pairs = ", ".join(f"{a:g}: {s:g}" for a, s in zip(row["amounts"], row["median_score"], strict=True))
        lines.append(f"{name}: {pairs}; {row['steps_not_falling']:.1%} of steps do not fall")
    for name, row in report["harmless"].items():
        lines.append(f"{name}: median {row['median']:.2f}, p95 {row['p95']:.2f}, largest {row['max']:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
