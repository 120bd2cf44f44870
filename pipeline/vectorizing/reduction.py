"""Images that are too large for a worker's memory and time are traced smaller, and drawn at their own size."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from pipeline.core.records import Pixels

MOST_PIXELS = 1 << 22
REDUCED_PIXELS = 1 << 20
"""What a larger image is reduced to: settings enlarge an image by up to 3 x, which at MOST_PIXELS takes 20 seconds."""


def reduced(rgba: Pixels) -> Pixels:
    """uint8 (H, W, 4) as it is up to MOST_PIXELS; of more pixels, with at most REDUCED_PIXELS.

    Each pixel is then the mean of those that it stands for, weighted by alpha.
    """
    height, width = rgba.shape[:2]
    if height * width <= MOST_PIXELS:
        return rgba
    scale = math.sqrt(REDUCED_PIXELS / (height * width))
    size = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    alpha = cv2.resize(rgba[..., 3], size, interpolation=cv2.INTER_AREA)
    if alpha.min() == 255:
        return np.asarray(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA), np.uint8)
    weight = rgba[..., 3:].astype(np.float32) / 255
    colours = cv2.resize(rgba[..., :3] * weight, size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)[..., None]
    straight = np.divide(colours, share, out=np.zeros_like(colours), where=share > 0)
    return np.dstack([np.rint(straight).astype(np.uint8), np.asarray(alpha, np.uint8)])


def at_size(answer: dict[str, Any], shape: tuple[int, ...], traced: tuple[int, ...]) -> dict[str, Any]:
    """An answer as `answers_of` gives it, for an image (H, W) that was traced as (H, W): drawn at its own size.

    The view box stays. Bytes follow the longer header, and `note` tells of it.
    """
    if shape[:2] == traced[:2]:
        return answer
    before, after = (f'width="{width}" height="{height}"' for height, width in (traced[:2], shape[:2]))
    longer = len(after) - len(before)
    note = f"{shape[1]} x {shape[0]} pixels were traced at {traced[1]} x {traced[0]}"

    def resized(fields: dict[str, Any]) -> dict[str, Any]:
        svg = {"svg": fields["svg"].replace(before, after, 1)} if "svg" in fields else {}
        return fields | svg | {"bytes": fields["bytes"] + longer}

    return resized(answer) | {
        "default_bytes": answer["default_bytes"] + longer,
        "note": "; ".join(filter(None, (answer["note"], note))),
        "curve": [resized(point) for point in answer["curve"]],
    }
