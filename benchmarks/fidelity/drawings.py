"""SVGs drawn on nothing: uint8 (height, width, 4), premultiplied alpha."""

from __future__ import annotations

import io

import numpy as np
import resvg_py
import skia
from PIL import Image

from pipeline.core.records import Pixels


def draw_with_skia(svg: str, width: int, height: int) -> Pixels:
    """An SVG with a width and a height, stretched over the canvas. Raises ValueError when Skia cannot read it."""
    # The stream must own a copy: Skia keeps reading after this string is gone.
    dom = skia.SVGDOM.MakeFromStream(skia.MemoryStream(svg.encode(), True))
    if dom is None:
        raise ValueError("Skia cannot read the SVG")
    rgba = np.zeros((height, width, 4), np.uint8)
    canvas = skia.Surface(rgba, skia.kRGBA_8888_ColorType, skia.kPremul_AlphaType).getCanvas()
    canvas.scale(width / dom.containerSize().width(), height / dom.containerSize().height())
    dom.render(canvas)
    return rgba


def draw_with_resvg(svg: str, width: int, height: int) -> Pixels:
    """Resized where its proportions differ from the canvas' by a fraction of a pixel."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, width=width))
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return premultiplied(np.asarray(image))


def premultiplied(rgba: Pixels) -> Pixels:
    alpha = rgba[..., 3:].astype(np.uint16)
    rgb = (rgba[..., :3] * alpha + 127) // 255
    return np.concatenate([rgb, alpha], axis=2).astype(np.uint8)


def straight(rgba: Pixels) -> Pixels:
    """The inverse of `premultiplied`, but for rounding; black where nothing is to be seen."""
    alpha = rgba[..., 3:].astype(np.uint32)
    rgb = np.minimum((rgba[..., :3] * np.uint32(255) + alpha // 2) // np.maximum(alpha, 1), 255)
    return np.concatenate([rgb, alpha], axis=2).astype(np.uint8)
