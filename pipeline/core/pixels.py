"""Colours and transparency, the same wherever an image is looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.core.records import Pixels

SRGB_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
LMS_TO_OKLAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)
"""Of linear light, and of its cube roots: Ottosson 2020, "A perceptual color space"."""


def linear_light(steps: int) -> NDArray[np.float32]:
    """Of sRGB from 0 to 1 in so many equal steps: float32 (steps + 1,)."""
    values = np.arange(steps + 1) / steps
    return np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values], np.float32)


def rgb_of(colour: str) -> tuple[int, int, int]:
    """#rrggbb as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


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
