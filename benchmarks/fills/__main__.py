"""What refitted paints gain against the designers' own files, at a few settings.

    python -m benchmarks.fills LOGOS [--categories gradients,complex] [--per-category 16]
        [--layer-differences 16,64] [--palettes 0]

LOGOS/<category>/<name>.png are traced, LOGOS/masters/<name>.svg is what they are compared with, at 4 x on white and on
dark. Damage is the area, in pixels of the image, where the colour is off by more than 8 (OKLab times 100) and that
is wider than 1.5 pixels; a logo is damaged from 10 such pixels on. Prints JSON. Times are of the process, in
milliseconds: other work on the machine disturbs them less.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pipeline.core.records import Pixels, TracerParams
from pipeline.svg.fills import _oklab, needs_cutout, refit
from pipeline.svg.minify import minify
from pipeline.svg.parse import parse
from pipeline.svg.shapes import Drawing, Flat
from pipeline.tracing.preparation import prepare
from pipeline.tracing.raster import labels, render
from pipeline.tracing.tracer import TraceError, encode, trace

ZOOM, VISIBLE, DAMAGED = 4, 8.0, 10.0
BACKGROUNDS = ((255, 255, 255), (32, 36, 44))
STEPS_PER_PIXEL = 10
_DISC = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))


def damage(master: str, svg: str, width: int, height: int) -> tuple[float, float]:
    """(damaged pixels, mean difference on white)."""
    areas, means = [], []
    for background in BACKGROUNDS:
        wanted, got = (render(text, ZOOM * width, ZOOM * height, background) for text in (master, svg))
        away = np.linalg.norm(_lab(wanted) - _lab(got), axis=2)
        areas.append(float(cv2.morphologyEx((away > VISIBLE).astype(np.uint8), cv2.MORPH_OPEN, _DISC).sum()))
        means.append(float(away.mean()))
    return max(areas) / ZOOM**2, means[0]


def _lab(rgb: Pixels) -> np.ndarray[Any, Any]:
    return _oklab(rgb.reshape(-1, 3).astype(np.float32)).reshape(rgb.shape)


def drawing_of(rgba: Pixels, layer_difference: int, palette: int) -> Drawing:
    """Raises TraceError."""
    params = TracerParams(
        color_precision=8,
        prescale=2,
        layer_difference=layer_difference,
        palette=palette,
        hierarchical="cutout" if needs_cutout(rgba) else "stacked",
    )
    height, width = rgba.shape[:2]
    return parse(trace(encode(prepare(rgba, params)), params), width, height)


def row_of(png: Path, layer_difference: int, palette: int) -> dict[str, Any]:
    rgba = np.array(Image.open(png).convert("RGBA"))
    height, width = rgba.shape[:2]
    before = drawing_of(rgba, layer_difference, palette)
    began = time.process_time()
    after = refit(before, rgba, labels)
    milliseconds = 1000 * (time.process_time() - began)
    master = (png.parent.parent / "masters" / f"{png.stem}.svg").read_text(errors="ignore")
    files = [minify(drawing, STEPS_PER_PIXEL) for drawing in (before, after)]
    (damage_before, delta_before), (damage_after, delta_after) = (damage(master, svg, width, height) for svg in files)
    return {
        "name": f"{png.parent.name}/{png.stem}",
        "damage": [damage_before, damage_after],
        "delta": [delta_before, delta_after],
        "bytes": [len(svg) for svg in files],
        "gradients": sum(not isinstance(shape.paint, Flat) for shape in after.shapes),
        "shapes": len(after.shapes),
        "milliseconds": milliseconds,
        "pixels": width * height,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Pairs are without and with the refit."""
    areas = np.array([row["damage"] for row in rows])
    sizes = np.array([row["bytes"] for row in rows])
    return {
        "logos": len(rows),
        "damaged": (areas > DAMAGED).mean(axis=0).round(3).tolist(),
        "median damage": np.median(areas, axis=0).round(1).tolist(),
        "delta": np.mean([row["delta"] for row in rows], axis=0).round(3).tolist(),
        "bytes ratio": round(float(np.exp(np.log(sizes[:, 1] / sizes[:, 0]).mean())), 4),
        "worse by 5 pixels": int((areas[:, 1] > areas[:, 0] + 5).sum()),
        "milliseconds, median": round(float(np.median([row["milliseconds"] for row in rows])), 1),
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="What refitted paints gain.")
    parser.add_argument("logos", type=Path)
    parser.add_argument("--categories", default="gradients,complex,abstract,simple_geometric,text_based")
    parser.add_argument("--per-category", type=int, default=10)
    parser.add_argument("--layer-differences", default="16,64")
    parser.add_argument("--palettes", default="0")
    chosen = parser.parse_args(arguments)
    report = []
    for layer_difference in map(int, chosen.layer_differences.split(",")):
        for palette in map(int, chosen.palettes.split(",")):
            for category in chosen.categories.split(","):
                pngs = sorted((chosen.logos / category).glob("*.png"))
                step = max(1, len(pngs) // chosen.per_category)
                rows = []
                for png in pngs[::step][: chosen.per_category]:
                    try:
                        rows.append(row_of(png, layer_difference, palette))
                    except TraceError as error:
                        print(f"{png.name}: {error}", file=sys.stderr)
                setting = {"layer_difference": layer_difference, "palette": palette, "category": category}
                report.append({**setting, **summary(rows), "rows": rows})
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
