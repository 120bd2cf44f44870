"""Colours and transparency, the same wherever an image is looked at."""

from __future__ import annotations

import numpy as np
from PIL import ImageColor

from pipeline.core.records import Pixels


def rgb_of(colour: str) -> tuple[int, int, int]:
    """#rrggbb as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def colour_code(colour: str) -> str:
    """A colour as CSS names it (white, #fff, rgb(255, 255, 255)) as #rrggbb. Raises ValueError, also for alpha."""
    red, green, blue, alpha = ImageColor.getcolor(colour, "RGBA")  # type: ignore[misc]  # four, in this mode
    if alpha < 255:
        raise ValueError(f"{colour} is not opaque")
    return f"#{red:02x}{green:02x}{blue:02x}"


def opaque(rgba: Pixels, background: tuple[int, int, int]) -> Pixels:
    """uint8 (H, W, 4): the image on one colour, without transparency."""
    rgb = on_background(rgba, background)
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])


def on_background(rgba: Pixels, background: tuple[int, int, int]) -> Pixels:
    """uint8 (H, W, 3): straight alpha over one colour, rounded to the nearest."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha.astype(np.uint16)
    blended = rgba[..., :3] * weight + np.array(background, dtype=np.uint16) * (255 - weight) + 128
    # Division by 255 to the nearest, exact for all that can occur (Blinn 1995), within 16 bits.
    rgb: Pixels = ((blended + (blended >> 8)) >> 8).astype(np.uint8)
    return rgb
