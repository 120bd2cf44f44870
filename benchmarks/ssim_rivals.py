"""Other ways to the same SSIM as pipeline.tracing.quality: what they take, bench_pieces tells."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from pipeline.core.records import Pixels

Ssim = Callable[[Pixels, Pixels], float]

WINDOW = 7
INSIDE = WINDOW // 2
AREA = WINDOW * WINDOW
SAMPLE = AREA / (AREA - 1)
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def with_scikit_image(left: Pixels, right: Pixels) -> float:
    return float(structural_similarity(left, right, channel_axis=2))  # type: ignore[no-untyped-call]


def with_opencv(left: Pixels, right: Pixels) -> float:
    """Box filters on float32, all channels at once."""
    a, b = left.astype(np.float32), right.astype(np.float32)
    mean_a, mean_b = _means(a), _means(b)
    variances = (_means(a * a) - mean_a * mean_a + _means(b * b) - mean_b * mean_b) * SAMPLE
    covariance = (_means(a * b) - mean_a * mean_b) * SAMPLE
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a * mean_a + mean_b * mean_b + C1) * (variances + C2)
    return float((above / below).mean(dtype=np.float64))


def _means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    filtered = cast("NDArray[np.float32]", cv2.boxFilter(values, -1, (WINDOW, WINDOW)))
    return filtered[INSIDE:-INSIDE, INSIDE:-INSIDE]


def with_numba() -> Ssim | None:
    """Everything in one sweep, compiled; None where numba is not installed. Takes seconds to compile."""
    if find_spec("numba") is None:
        return None
    kernel = import_module("numba").njit(fastmath=True)(_fused)

    def fused(left: Pixels, right: Pixels) -> float:
        height, width, channels = left.shape
        flat = (height, width * channels)
        return float(kernel(left.reshape(flat), right.reshape(flat), channels))

    nothing = np.zeros((WINDOW, WINDOW, 3), np.uint8)
    fused(nothing, nothing)
    return fused


def _fused(left: Any, right: Any, channels: int) -> Any:
    """Column sums of 7 rows, moved down a row at a time; across, 7 of them are added up for each window.

    All in 32-bit integers, which hold 49 times the sum of 49 squares, and plain loops that a compiler can vectorise.
    """
    rows, values = left.shape
    a, b, aa, bb, ab = np.zeros((5, values), np.int32)
    total: Any = 0.0
    for row in range(rows):
        for x in range(values):
            p, q = np.int32(left[row, x]), np.int32(right[row, x])
            if row >= 7:
                u, v = np.int32(left[row - 7, x]), np.int32(right[row - 7, x])
            else:
                u, v = np.int32(0), np.int32(0)
            a[x] += p - u
            b[x] += q - v
            aa[x] += p * p - u * u
            bb[x] += q * q - v * v
            ab[x] += p * q - u * v
        if row >= 6:
            line = np.float32(0)
            for x in range(values - 6 * channels):
                sa = sb = saa = sbb = sab = np.int32(0)
                for k in range(7):
                    sa += a[x + k * channels]
                    sb += b[x + k * channels]
                    saa += aa[x + k * channels]
                    sbb += bb[x + k * channels]
                    sab += ab[x + k * channels]
                product, powers = sa * sb, sa * sa + sb * sb
                above = np.float32(2 * product) + np.float32(6.5025 * 2401)
                above *= np.float32(2 * (49 * sab - product)) + np.float32(58.5225 * 2352)
                below = np.float32(powers) + np.float32(6.5025 * 2401)
                below *= np.float32(49 * (saa + sbb) - powers) + np.float32(58.5225 * 2352)
                line += above / below
            total += line
    return total / ((rows - 6) * (values - 6 * channels))
