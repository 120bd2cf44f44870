"""Damage as the designer's own vector file shows it: what a score that knows the image alone should predict."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.drawings import draw_with_resvg, draw_with_skia
from pipeline.core.records import Pixels
from pipeline.tracing.fidelity import BACKGROUNDS, composite, oklab

ZOOM = 4
DIFFERENT = 8.0
"""OKLab distance x 100."""

DAMAGED = 10.0
"""Pixels of the image."""

_RADIUS = 3
"""Of the disc that a region must have room for, in enlarged pixels: 0.75 pixels of the image."""


@dataclass(frozen=True, slots=True)
class Master:
    """A designer's file, drawn ZOOM times as large on each background."""

    width: int
    height: int
    drawn: tuple[Pixels, ...]

    @classmethod
    def of(cls, svg: str, width: int, height: int) -> Master:
        rgba = draw_with_resvg(svg, width * ZOOM, height * ZOOM)
        return cls(width, height, tuple(composite(rgba, color)[..., :3] for color in BACKGROUNDS))

    def damage(self, svg: str) -> float:
        """The area, in pixels of the image, that has another colour over more than about 1.5 pixels."""
        return self.compare(svg)[0]

    def compare(self, svg: str) -> tuple[float, float]:
        """The damage, and the mean colour error on the first background, OKLab distance x 100."""
        rgba = draw_with_skia(svg, self.width * ZOOM, self.height * ZOOM)
        side = 2 * _RADIUS + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        areas, means = [], []
        for color, master in zip(BACKGROUNDS, self.drawn, strict=True):
            distances = _distances(master, composite(rgba, color)[..., :3])
            wrong = (distances > DIFFERENT).astype(np.uint8)
            areas.append(int(cv2.morphologyEx(wrong, cv2.MORPH_OPEN, disc).sum()))
            means.append(float(distances.mean()))
        return max(areas) / ZOOM**2, means[0]


def _distances(left: Pixels, right: Pixels) -> NDArray[np.float32]:
    """Of pixels that are equal but for rounding nothing is computed."""
    different = (np.abs(left.astype(np.int16) - right) > 1).any(axis=2)
    distances = np.zeros(left.shape[:2], np.float32)
    distances[different] = np.linalg.norm(oklab(left[different]) - oklab(right[different]), axis=0)
    return distances
