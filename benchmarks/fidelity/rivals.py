"""Scores that might predict damage, each the larger the worse; on white and dark where they are colour distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.drawings import draw_with_skia
from pipeline.core.records import Pixels
from pipeline.tracing import fidelity, quality
from pipeline.tracing.raster import SkiaDrawing

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Image:
    """What is computed once of a traced image."""

    width: int
    height: int
    fidelity: fidelity.Reference
    quality: quality.QualityReference

    @classmethod
    def of(cls, rgba: Pixels) -> Image:
        return cls(rgba.shape[1], rgba.shape[0], fidelity.Reference.of(rgba), quality.QualityReference.of(rgba))


Score = Callable[[Image, str], float]


def by_area(image: Image, svg: str) -> float:
    return fidelity.damage(image.fidelity, draw_with_skia(svg, image.width, image.height)).score


def by_mean_distance(image: Image, svg: str) -> float:
    return fidelity.damage(image.fidelity, draw_with_skia(svg, image.width, image.height)).delta


def by_ssim(image: Image, svg: str) -> float:
    return -quality.ssim(image.quality, SkiaDrawing(svg).pixels(image.width, image.height))


def by_zoom_ssim(image: Image, svg: str) -> float:
    size = quality.ZOOM * image.width, quality.ZOOM * image.height
    return -quality.zoom_ssim(image.quality, SkiaDrawing(svg).greys(*size))


def by_rms(image: Image, svg: str) -> float:
    return max(float(np.sqrt((d * d).sum(axis=2).mean())) for d in _differences(image, svg))


def by_window(image: Image, svg: str, side: int) -> float:
    """The longest mean difference over a window."""
    return max(float(_mean_lengths(d, side).max()) for d in _differences(image, svg))


def by_count(image: Image, svg: str, side: int, limit: float) -> float:
    """The windows whose mean difference is longer than a limit."""
    return max(float((_mean_lengths(d, side) > limit).sum()) for d in _differences(image, svg))


def _differences(image: Image, svg: str) -> list[Floats]:
    """Signed, OKLab x 100, float32 (H, W, 3), on each background."""
    rgba = draw_with_skia(svg, image.width, image.height)
    found: list[Floats] = []
    for ground in image.fidelity.grounds:
        drawn = fidelity.oklab(fidelity.composite(rgba, ground.background)[..., :3].reshape(-1, 3))
        difference = drawn.reshape(3, *ground.edges.shape) - ground.lab[:, 1:-1, 1:-1]
        found.append(np.ascontiguousarray(difference.transpose(1, 2, 0)))
    return found


def _mean_lengths(differences: Floats, side: int) -> Floats:
    lengths: Floats = np.linalg.norm(cv2.blur(differences, (side, side)), axis=2)
    return lengths


SCORES: dict[str, Score] = {
    "damage (fidelity.py)": by_area,
    "mean OKLab distance": by_mean_distance,
    "SSIM": by_ssim,
    "zoom SSIM": by_zoom_ssim,
    "RMS of OKLab difference": by_rms,
    "worst 3 x 3": partial(by_window, side=3),
    "worst 5 x 5": partial(by_window, side=5),
    "worst 7 x 7": partial(by_window, side=7),
    "worst 9 x 9": partial(by_window, side=9),
    "count of 7 x 7 > 8": partial(by_count, side=7, limit=8.0),
}
