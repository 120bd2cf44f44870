"""A small picture and what VTracer makes of it."""

from __future__ import annotations

import io

import vtracer
from PIL import Image, ImageDraw

from pipeline.svg.shapes import Loop


def drawn() -> bytes:
    """A ring, a bar and a dot, anti-aliased, 48 x 40."""
    image = Image.new("RGB", (192, 160), (240, 240, 255))
    pen = ImageDraw.Draw(image)
    pen.ellipse((10, 10, 120, 120), outline=(200, 30, 40), width=24)
    pen.rectangle((80, 70, 180, 140), fill=(20, 60, 180))
    pen.ellipse((50, 50, 80, 80), fill=(0, 0, 0))
    out = io.BytesIO()
    image.resize((48, 40), Image.Resampling.BOX).save(out, "PNG")
    return out.getvalue()


def traced(mode: str = "spline", hierarchical: str = "stacked", precision: int = 2) -> str:
    svg: str = vtracer.convert_raw_image_to_svg(
        drawn(), img_format="png", mode=mode, hierarchical=hierarchical, path_precision=precision
    )
    return svg


def loop_data(loop: Loop) -> str:
    """Absolute commands with all digits."""
    points = [f"{x!r} {y!r}" for x, y in loop.points.tolist()]
    data, position = f"M{points[0]}", 1
    for degree in loop.degrees.tolist():
        data += " LQC"[degree] + " ".join(points[position : position + degree])
        position += degree
    return data + "Z"
