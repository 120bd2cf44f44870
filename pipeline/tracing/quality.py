"""How much a rendered SVG looks like its image, and how large the SVG is.

SSIM is that of Wang et al. 2004 as scikit-image computes it by default: a uniform 7 x 7 window, sample covariance,
K1 = 0.01, K2 = 0.03, data range 255, the mean over channels and over all windows that lie inside the image. The window
sums are exact integers, so the only rounding is that of the last division, in float32.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.pixels import on_background
from pipeline.records import Pixels

WINDOW = 7
ZOOM = 3
PSNR_CAP = 100.0
GZIP_LEVEL = 6
_AREA = WINDOW * WINDOW
_C1 = np.float32((0.01 * 255) ** 2 * _AREA * _AREA)
_C2 = np.float32((0.03 * 255) ** 2 * _AREA * (_AREA - 1))
_STRIP = 1 << 16
"""Values (pixels times channels) worked on at once; measured: 2^15 to 2^18 differ by 10 %."""

Floats = NDArray[np.float32]
Sums = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Moments:
    """Of each 7 x 7 window inside an image: the sum of the values (int32) and of their squares."""

    sums: Sums
    squares: Sums

    @classmethod
    def of(cls, values: Pixels) -> Moments:
        """values: uint8 (H, W) or (H, W, C); the results are (H - 6, W - 6[, C])."""
        return cls(_window_sums(values), _window_sums(_product(values, values)))

    @property
    def nbytes(self) -> int:
        return int(self.sums.nbytes + self.squares.nbytes)


def _window_sums(values: NDArray[Any]) -> Sums:
    """Exact: 49 products of bytes need 22 bits."""
    border = WINDOW // 2
    summed: Any = cv2.boxFilter(values, cv2.CV_32S, (WINDOW, WINDOW), normalize=False)
    inside: Sums = summed[border:-border, border:-border]
    return inside


def _product(left: Pixels, right: Pixels) -> NDArray[np.uint16]:
    return np.multiply(left, right, dtype=np.uint16)


def _mean_ssim(left: Pixels, of_left: Moments, right: Pixels) -> float:
    """In strips of rows that stay in the processor's cache, each 6 rows longer than its windows."""
    if left.shape != right.shape:
        raise ValueError(f"images differ in shape: {left.shape} and {right.shape}")
    rows = of_left.sums.shape[0]
    step = max(1, _STRIP // left[0].size)
    total = 0.0
    for top in range(0, rows, step):
        end = min(top + step, rows)
        strip = slice(top, end + WINDOW - 1)
        total += _total_ssim(left[strip], of_left.sums[top:end], of_left.squares[top:end], right[strip])
    return total / of_left.sums.size


def _total_ssim(left: Pixels, sums: Sums, squares: Sums, right: Pixels) -> float:
    """49 * S_ab - S_a * S_b is 49 * 48 sample covariances; it and the products of sums fit in 32 bits."""
    of_right = Moments.of(right)
    product = sums * of_right.sums
    cross = _window_sums(_product(left, right)) * _AREA - product
    powers = sums * sums + of_right.sums * of_right.sums
    spread = (squares + of_right.squares) * _AREA - powers
    above = (2 * product).astype(np.float32) + _C1
    above *= (2 * cross).astype(np.float32) + _C2
    below = powers.astype(np.float32) + _C1
    below *= spread.astype(np.float32) + _C2
    above /= below
    return float(above.sum(dtype=np.float64))


def ssim(reference: Reference, rgb: Pixels) -> float:
    """-1 to 1. rgb: the rendering, of the reference's shape. Raises ValueError for another shape."""
    return _mean_ssim(reference.rgb, reference.moments, rgb)


def zoom_ssim(reference: Reference, rgb: Pixels) -> float:
    """SSIM on greys at ZOOM times the size, against a bicubic enlargement: what looks jagged enlarged is seen here.

    rgb: the rendering at (ZOOM * height, ZOOM * width, 3).
    """
    return _mean_ssim(reference.zoomed, reference.zoomed_moments, _grey(rgb))


def mse(reference: Reference, rgb: Pixels) -> float:
    """Mean squared difference over pixels and channels, 0 to 65025."""
    return float(cv2.norm(reference.rgb, rgb, cv2.NORM_L2SQR)) / rgb.size


def psnr(mean_squared_error: float) -> float:
    """Decibels, at most PSNR_CAP (identical images have no finite one)."""
    if mean_squared_error == 0:
        return PSNR_CAP
    return min(PSNR_CAP, 10 * math.log10(255**2 / mean_squared_error))


def skill(of_image: float, of_blank: float) -> float:
    """The part of what a blank canvas lacks that the image has: 0 is a blank, 1 identical, below 0 worse than blank.

    For an image that is itself blank there is nothing to be won, and skill is 0.
    """
    return (of_image - of_blank) / (1 - of_blank) if of_blank < 1 - 1e-6 else 0.0


def _grey(rgb: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(rgb).convert("L"))


@dataclass(frozen=True, eq=False)
class Reference:
    """An image as every rendering of it is measured against, with all that depends on it alone.

    rgb: uint8 (H, W, 3), on its background, at least 7 x 7. moments: of rgb. blank_ssim: the SSIM of the plain canvas
    that scores best, whatever its colour.
    """

    rgb: Pixels
    moments: Moments = field(repr=False)

    @classmethod
    def of(cls, rgba: Pixels, background: tuple[int, int, int] = (255, 255, 255)) -> Reference:
        """Raises ValueError for an image that is smaller than SSIM's window."""
        if min(rgba.shape[:2]) < WINDOW:
            raise ValueError(f"image is {rgba.shape[1]}x{rgba.shape[0]}; SSIM needs at least {WINDOW}x{WINDOW}")
        rgb = on_background(rgba, background)
        return cls(rgb, Moments.of(rgb))

    @cached_property
    def blank_ssim(self) -> float:
        return _mean_ssim(self.rgb, self.moments, np.broadcast_to(best_blank(self.moments), self.rgb.shape).copy())

    @cached_property
    def zoomed(self) -> Pixels:
        """uint8 (ZOOM * H, ZOOM * W): the bicubic enlargement in greys."""
        size = (self.rgb.shape[1] * ZOOM, self.rgb.shape[0] * ZOOM)
        return _grey(np.asarray(Image.fromarray(self.rgb).resize(size, Image.Resampling.BICUBIC)))

    @cached_property
    def zoomed_moments(self) -> Moments:
        return Moments.of(self.zoomed)

    @property
    def nbytes(self) -> int:
        """Memory held once everything has been computed."""
        pixels: int = self.rgb.shape[0] * self.rgb.shape[1]
        return 3 * pixels + self.moments.nbytes + pixels * ZOOM * ZOOM * (1 + 4 + 4)


def best_blank(moments: Moments) -> Pixels:
    """The colour, uint8 (3,), whose plain canvas has the highest SSIM against an image.

    Against a constant c a window with mean m and variance v scores (2mc + C1) / (m^2 + c^2 + C1) * C2 / (v + C2), so
    each channel is a weighted histogram of m, in bins of a quarter of a level, searched over all 256 values of c.
    """
    means = moments.sums / np.float32(_AREA)
    variances = (moments.squares * _AREA - moments.sums * moments.sums) / np.float32(_AREA * (_AREA - 1))
    weights = (0.03 * 255) ** 2 / (variances + (0.03 * 255) ** 2)
    m, c = np.arange(1024)[:, None] / 4, np.arange(256)[None, :]
    score = (2 * m * c + (0.01 * 255) ** 2) / (m * m + c * c + (0.01 * 255) ** 2)
    bins = np.rint(means * 4).astype(np.intp)
    histograms = [
        np.bincount(bins[..., k].ravel(), weights[..., k].ravel(), 1024) for k in range(moments.sums.shape[2])
    ]
    return np.array([np.argmax(h @ score) for h in histograms], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class SvgStatistics:
    """Of an SVG's text. nodes: the points that a person editing its paths would see."""

    svg_bytes: int
    gzip_bytes: int
    paths: int
    nodes: int


_PATH_DATA = re.compile(r' d="([^"]*)"')


def svg_statistics(svg: str) -> SvgStatistics:
    """gzip_bytes: as a web server would send it, at level 6, without a file name."""
    content = svg.encode("utf-8")
    packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
    packed = len(packer.compress(content)) + len(packer.flush())
    data = _PATH_DATA.findall(svg)
    nodes = sum(d.count(command) for d in data for command in "MLC")
    return SvgStatistics(len(content), packed, len(data), nodes)
