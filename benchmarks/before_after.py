"""README's picture: test logos, VTracer's default and ours, on a light and on a dark page.

    python -m benchmarks.before_after aws/network/elb.png saas/cdn/akamai.png --out docs/images/before-after.png

Run it in a project after `make repro`. Logos are named as in results/evaluate/images.parquet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from pipeline.core.pixels import on_background
from pipeline.core.records import VISIBLE_DAMAGE, Pixels, pixel_digest
from pipeline.settings.params import load_settings
from pipeline.tracing.fidelity import BACKGROUNDS, Reference, damage
from pipeline.tracing.raster import SkiaDrawing

SIDE, GAP, LINE = 256, 8, 40
COLUMNS = ("original", "VTracer's default, minified", "tracewright")
FOLDERS = ("default", "svg")
INK = (24, 28, 36)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw README's picture from the results of `make repro`.")
    parser.add_argument("logos", nargs="+", metavar="LOGO", help="paths of test images within data.root")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = Path(load_settings(Path("params.yaml")).data.root)
    rows = [_row(data / name) for name in arguments.logos]
    sheet = Image.new("RGB", (rows[0].width, LINE + sum(row.height for row in rows)), "white")
    for number, title in enumerate(COLUMNS):
        _write(sheet, number * 2 * (SIDE + GAP), GAP, title)
    for number, row in enumerate(rows):
        sheet.paste(row, (0, LINE + number * row.height))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.out, optimize=True)


def _row(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        rgba: Pixels = np.asarray(opened.convert("RGBA"))
    scale = SIDE / max(rgba.shape[:2])
    size = round(rgba.shape[1] * scale), round(rgba.shape[0] * scale)
    reference = Reference.of(rgba)
    row = Image.new("RGB", (6 * (SIDE + GAP), SIDE + LINE), "white")
    for number, colour in enumerate(BACKGROUNDS):
        shown = Image.fromarray(on_background(rgba, colour)).resize(size, Image.Resampling.LANCZOS)
        row.paste(shown, (number * (SIDE + GAP), 0))
    for column, folder in enumerate(FOLDERS, 1):
        svg = Path("results/evaluate", folder, f"{pixel_digest(rgba)}.svg").read_text(encoding="utf-8")
        drawing = SkiaDrawing(svg)
        for number, colour in enumerate(BACKGROUNDS):
            shown = Image.fromarray(drawing.pixels(*size, colour))
            row.paste(shown, ((2 * column + number) * (SIDE + GAP), 0))
        found = damage(reference, drawing.rgba(rgba.shape[1], rgba.shape[0])).score
        hurt = f"{found:,.0f} pixels damaged" if found > VISIBLE_DAMAGE else "no visible damage"
        _write(row, 2 * column * (SIDE + GAP), SIDE + GAP // 2, f"{len(svg.encode()):,} bytes, {hurt}")
    return row


def _write(picture: Image.Image, left: int, top: int, text: str) -> None:
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 15)
    ImageDraw.Draw(picture).text((left + GAP, top), text, INK, font)


if __name__ == "__main__":
    main()
