"""What simpler outlines cost and save, by tolerance and grid, against the designers' own files.

    python -m benchmarks.outlines LOGOS [--per-category 12] [--tolerances 0 0.2 0.3] [--steps 4 10] > table.json

LOGOS/<category>/<name>.png are traced at each setting; LOGOS/masters/<name>.svg is what they should look like. Both are
drawn at 4 x and compared in OKLab (distance x 100). damage: pixels of the image where the distance exceeds 8 in an area
wider than 1.5 pixels, on white or on a dark background, whichever is worse; a logo is damaged above 10 pixels. Bytes
and nodes are geometric means over those of the untouched drawing (tolerance 0, the finest grid) at the same setting.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.records import DEFAULT_PARAMS, Pixels, TracerParams
from pipeline.svg.inset import inset
from pipeline.svg.minify import count_nodes, minify
from pipeline.svg.outlines import simplify
from pipeline.svg.parse import parse
from pipeline.tracing.preparation import prepare
from pipeline.tracing.raster import render
from pipeline.tracing.tracer import encode, trace

ZOOM, VISIBLE, DAMAGED = 4, 8.0, 10.0
BACKGROUNDS = ((255, 255, 255), (32, 36, 44))
SETTINGS = {
    "default": DEFAULT_PARAMS,
    "palette 16": replace(DEFAULT_PARAMS, palette=16, filter_speckle=2, color_precision=8),
    "prescale 1.5, palette 16": replace(DEFAULT_PARAMS, prescale=1.5, palette=16, filter_speckle=2, color_precision=8),
    "prescale 2, palette 8": replace(DEFAULT_PARAMS, prescale=2.0, palette=8, color_precision=8),
    "prescale 2, palette 16": replace(DEFAULT_PARAMS, prescale=2.0, palette=16, filter_speckle=2, color_precision=8),
    "prescale 2, cutout": replace(
        DEFAULT_PARAMS, prescale=2.0, palette=16, filter_speckle=2, color_precision=8, hierarchical="cutout"
    ),
}

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def oklab(rgb: Pixels) -> NDArray[np.float32]:
    """Ottosson 2020: (..., 3) sRGB to (..., 3)."""
    lab: NDArray[np.float32] = np.cbrt(_LINEAR[rgb] @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def master_pixels(svg: str, width: int, height: int, background: tuple[int, int, int]) -> Pixels:
    """Drawn by resvg, which knows more of SVG than Skia; a height that is not whole is stretched to the next."""
    colour = "#{:02x}{:02x}{:02x}".format(*background)
    png = resvg_py.svg_to_bytes(svg_string=svg, background=colour, skip_system_fonts=True, width=width)
    bgr = cv2.imdecode(np.frombuffer(bytes(png), np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("resvg drew nothing")
    rgb: Pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    return rgb if rgb.shape[:2] == (height, width) else np.asarray(Image.fromarray(rgb).resize((width, height)))


def damage(master: Pixels, drawn: Pixels) -> tuple[float, float]:
    """(damaged area in pixels of the image, mean distance) of a drawing at ZOOM x."""
    differs = np.abs(master.astype(np.int16) - drawn).max(2) > 0
    distance = np.zeros(differs.shape, np.float32)
    distance[differs] = np.linalg.norm(oklab(master[differs]) - oklab(drawn[differs]), axis=1) * 100
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    opened = cv2.morphologyEx((distance > VISIBLE).astype(np.uint8), cv2.MORPH_OPEN, disc)
    return float(opened.sum()) / ZOOM**2, float(distance.mean())


def rows_of(
    png: Path, tolerances: list[float], steps: list[int], settings: list[str], inset_pixels: float
) -> list[dict[str, Any]]:
    """One row for each setting, tolerance and grid."""
    cv2.setNumThreads(1)
    rgba = np.asarray(Image.open(png).convert("RGBA"))
    height, width = rgba.shape[:2]
    master = (png.parent.parent / "masters" / f"{png.stem}.svg").read_text(errors="ignore")
    size = width * ZOOM, height * ZOOM
    masters = [master_pixels(master, *size, background) for background in BACKGROUNDS]
    return [
        {"logo": png.stem, "category": png.parent.name, "setting": name, **row}
        for name in settings
        for row in _measured(rgba, SETTINGS[name], masters, tolerances, steps, inset_pixels)
    ]


def _measured(
    rgba: Pixels,
    params: TracerParams,
    masters: list[Pixels],
    tolerances: list[float],
    grids: list[int],
    inset_pixels: float,
) -> Iterator[dict[str, Any]]:
    height, width = rgba.shape[:2]
    before = parse(trace(encode(prepare(rgba, params)), params), width, height)
    base_bytes, base_nodes = len(minify(before, max(grids))), count_nodes(before)
    for tolerance in tolerances:
        start = time.process_time()
        after = inset(simplify(before, tolerance), inset_pixels / params.prescale if tolerance else 0.0)
        seconds = time.process_time() - start
        for steps in grids:
            svg = minify(after, steps)
            found = [
                damage(pixels, render(svg, width * ZOOM, height * ZOOM, background))
                for pixels, background in zip(masters, BACKGROUNDS, strict=True)
            ]
            yield {
                "tolerance": tolerance,
                "steps": steps,
                "bytes": len(svg),
                "bytes_ratio": len(svg) / base_bytes,
                "nodes_ratio": count_nodes(after) / base_nodes,
                "damage": max(area for area, _ in found),
                "delta": found[0][1],
                "cpu_milliseconds": 1000 * seconds,
            }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line for each setting, tolerance and grid."""
    groups: dict[tuple[str, float, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["setting"], row["tolerance"], row["steps"]), []).append(row)
    return [
        {
            "setting": setting,
            "tolerance": tolerance,
            "steps": steps,
            "logos": len(group),
            "bytes_ratio": _geometric([row["bytes_ratio"] for row in group]),
            "nodes_ratio": _geometric([row["nodes_ratio"] for row in group]),
            "damaged_ratio": round(float(np.mean([row["damage"] > DAMAGED for row in group])), 3),
            "mean_damage_up_to_200": round(float(np.mean([min(row["damage"], 200.0) for row in group])), 2),
            "delta": round(float(np.mean([row["delta"] for row in group])), 4),
            "cpu_milliseconds": round(float(np.median([row["cpu_milliseconds"] for row in group])), 1),
        }
        for (setting, tolerance, steps), group in groups.items()
    ]


def _geometric(values: list[float]) -> float:
    return round(float(np.exp(np.log(values).mean())), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logos", type=Path)
    parser.add_argument("--per-category", type=int, default=12)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[0.0, 0.1, 0.15, 0.2, 0.3, 0.5])
    parser.add_argument("--steps", type=int, nargs="+", default=[10])
    parser.add_argument("--inset", type=float, default=0.0, help="in traced pixels; not applied at tolerance 0")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    folders = sorted(f for f in arguments.logos.iterdir() if f.is_dir() and f.name != "masters")
    pngs: list[Path] = []
    for folder in folders:
        files = sorted(folder.glob("*.png"))
        pngs += files[:: max(1, len(files) // arguments.per_category)][: arguments.per_category]
    rows = partial(
        rows_of,
        tolerances=arguments.tolerances,
        steps=arguments.steps,
        settings=arguments.settings,
        inset_pixels=arguments.inset,
    )
    with ProcessPoolExecutor(2) as pool:
        found = [row for group in pool.map(rows, pngs) for row in group]
    print(json.dumps(summary(found), indent=1))


if __name__ == "__main__":
    main()
