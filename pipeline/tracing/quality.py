"""How much a rendered SVG looks like its image, and how large the SVG is.

SSIM is that of Wang et al. 2004 as scikit-image computes it by default: a uniform 7 x 7 window, sample covariance,
K1 = 0.01, K2 = 0.03, data range 255, the mean over channels and over all windows that lie inside the image. The window
sums are exact integers; only the last factors and their ratio are rounded, in float32.
"""

from __future__ import annotations

import math
import re
import zlib
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.pixels import on_background
from pipeline.core.records import Pixels

WINDOW = 7
ZOOM = 3
PSNR_CAP = 100.0
GZIP_LEVEL = 6
_BORDER = WINDOW // 2
_AREA = WINDOW * WINDOW
_C1 = np.float32((0.01 * 255) ** 2 * _AREA * _AREA)
_C2 = np.float32((0.03 * 255) ** 2 * _AREA * (_AREA - 1))
_STRIP = 1 << 17
"""Values (pixels times channels) worked on at once. Measured at 256 x 256 x 3 and 768 x 768: 2^16 to 2^18 differ by
7 %, smaller ones are slower, the whole image at once is slower where it is large."""

Sums = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moments:
    """Around each pixel: the sum over its 7 x 7 window, and 49 times the sum of squares less the square of the sum.

    Both int32 and of the image's shape; the outer 3 pixels, whose windows leave the image, mean nothing.
    """

    sums: Sums
    spread: Sums

    @classmethod
    def of(cls, values: Pixels) -> Moments:
        """values: uint8 (H, W) or (H, W, C)."""
        sums = _window_sums(values)
        return cls(sums, _window_sums(np.multiply(values, values, dtype=np.uint16)) * _AREA - sums * sums)

    def rows(self, rows: slice) -> Moments:
        return Moments(self.sums[rows], self.spread[rows])

    @property
    def nbytes(self) -> int:
        return int(self.sums.nbytes + self.spread.nbytes)


def _window_sums(values: NDArray[Any], into: Sums | None = None) -> Sums:
    """Exact: 49 products of bytes need 22 bits."""
    summed: Any = cv2.boxFilter(values, cv2.CV_32S, (WINDOW, WINDOW), dst=into, normalize=False)
    return cast(Sums, summed)


class Scratch:
    """Arrays that are written again and again: fresh ones cost more in page faults than the arithmetic in them.

    Not to be shared between threads.
    """

    def __init__(self) -> None:
        self._size = 0

    def arrays(self, shape: tuple[int, ...]) -> tuple[NDArray[np.uint16], list[Sums], list[Floats]]:
        size = math.prod(shape)
        if size > self._size:
            self._size = size
            self._products = np.empty(size, np.uint16)
            self._sums = np.empty((4, size), np.int32)
            self._floats = np.empty((3, size), np.float32)
        sums = [row[:size].reshape(shape) for row in self._sums]
        floats = [row[:size].reshape(shape) for row in self._floats]
        return self._products[:size].reshape(shape), sums, floats


def mean_ssim(left: Pixels, right: Pixels, of_left: Moments | None = None, scratch: Scratch | None = None) -> float:
    """SSIM of two images of the same shape, uint8 (H, W) or (H, W, C), both sides at least 7.

    of_left: known beforehand. scratch: of a caller that does this often. In strips of rows that stay in the
    processor's cache, each 6 rows longer than its windows. Raises ValueError when the shapes differ.
    """
    if left.shape != right.shape:
        raise ValueError(f"images differ in shape: {left.shape} and {right.shape}")
    scratch = scratch or Scratch()
    rows = left.shape[0] - 2 * _BORDER
    step = max(1, _STRIP // left[0].size)
    total = 0.0
    for top in range(0, rows, step):
        strip = slice(top, min(top + step, rows) + 2 * _BORDER)
        known = of_left.rows(strip) if of_left else Moments.of(left[strip])
        total += _total_ssim(left[strip], known, right[strip], scratch)
    windows: int = rows * left[0, _BORDER:-_BORDER].size
    return total / windows


def _total_ssim(left: Pixels, of_left: Moments, right: Pixels, scratch: Scratch) -> float:
    """The sum over all windows inside of (2 ab + C1)(2 cov + C2) / ((aa + bb + C1)(var a + var b + C2)).

    49 * S_ab - S_a * S_b is 49 * 48 sample covariances; it and the products of sums fit in 32 bits. The windows of
    the border are computed with the rest, in one sweep over memory, and left out of the sum.
    """
    products, (sums, squares, cross, product), (above, below, factor) = scratch.arrays(left.shape)
    _window_sums(right, sums)
    _window_sums(np.multiply(right, right, out=products, dtype=np.uint16), squares)
    _window_sums(np.multiply(left, right, out=products, dtype=np.uint16), cross)
    np.multiply(of_left.sums, sums, out=product)
    cross *= _AREA
    cross -= product
    _plus(product, _C1 / 2, out=above)
    above *= _plus(cross, _C2 / 2, out=factor)

    sums *= sums
    squares *= _AREA
    squares -= sums
    squares += of_left.spread
    sums += np.multiply(of_left.sums, of_left.sums, out=product)
    _plus(sums, _C1, out=below)
    below *= _plus(squares, _C2, out=factor)

    above /= below
    channels = left[0, 0].size
    inside = above.reshape(len(left), -1)[_BORDER:-_BORDER, _BORDER * channels : -_BORDER * channels]
    # Row by row: the last bits of what OpenCV's sum gives depend on where in memory the values begin.
    return 4 * float(cv2.reduce(inside, 0, cv2.REDUCE_SUM, dtype=cv2.CV_64F).sum())


def _plus(integers: Sums, constant: np.float32, out: Floats) -> Floats:
    out[...] = integers
    out += constant
    return out


def ssim(reference: QualityReference, rgb: Pixels, scratch: Scratch | None = None) -> float:
    """-1 to 1. rgb: the rendering, of the reference's shape. Raises ValueError for another shape."""
    return mean_ssim(reference.rgb, rgb, reference.moments, scratch)


def zoom_ssim(reference: QualityReference, grey: Pixels, scratch: Scratch | None = None) -> float:
    """SSIM on greys at ZOOM times the size, against the image's bicubic enlargement: what looks jagged is seen here.

    grey: the rendering, uint8 (ZOOM * height, ZOOM * width).
    """
    return mean_ssim(reference.zoomed, grey, scratch=scratch)


def mse(reference: QualityReference, rgb: Pixels) -> float:
    """Mean squared difference over pixels and channels, 0 to 65025."""
    return round(cv2.norm(reference.rgb, rgb, cv2.NORM_L2SQR)) / rgb.size  # OpenCV squares a rounded square root.


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


def grey_of(rgb: Pixels) -> Pixels:
    """Luma of ITU-R BT.601, uint8 (H, W)."""
    return cast(Pixels, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@dataclass(frozen=True, eq=False)
class QualityReference:
    """An image as every rendering of it is measured against, with all that depends on it alone.

    rgb: uint8 (H, W, 3), on its background, at least 7 x 7. moments: of rgb. blank_ssim: the SSIM of the plain canvas
    that scores best, whatever its colour.
    """

    rgb: Pixels
    moments: Moments = field(repr=False)

    @classmethod
    def of(cls, rgba: Pixels, background: tuple[int, int, int] = (255, 255, 255)) -> QualityReference:
        """Raises ValueError for an image that is smaller than SSIM's window."""
        if min(rgba.shape[:2]) < WINDOW:
            raise ValueError(f"image is {rgba.shape[1]}x{rgba.shape[0]}; SSIM needs at least {WINDOW}x{WINDOW}")
        rgb = on_background(rgba, background)
        return cls(rgb, Moments.of(rgb))

    @cached_property
    def blank_ssim(self) -> float:
        blank = np.broadcast_to(best_blank(self.moments), self.rgb.shape).copy()
        return mean_ssim(self.rgb, blank, self.moments)

    @cached_property
    def zoomed(self) -> Pixels:
        """uint8 (ZOOM * H, ZOOM * W): the bicubic enlargement in greys."""
        size = (self.rgb.shape[1] * ZOOM, self.rgb.shape[0] * ZOOM)
        return np.asarray(Image.fromarray(grey_of(self.rgb)).resize(size, Image.Resampling.BICUBIC))

    @property
    def nbytes(self) -> int:
        """Memory held once everything has been computed.

        The moments of the enlargement are not kept: twice the memory of all else, for a quarter of zoom SSIM's time.
        """
        pixels: int = self.rgb.shape[0] * self.rgb.shape[1]
        return 3 * pixels + self.moments.nbytes + pixels * ZOOM * ZOOM


def best_blank(moments: Moments) -> Pixels:
    """The colour, uint8 (3,), whose plain canvas has the highest SSIM against an image.

    Against a constant c a window with mean m and variance v scores (2mc + C1) / (m^2 + c^2 + C1) * C2 / (v + C2), so
    each channel is a weighted histogram of m, in bins of a quarter of a level, searched over all 256 values of c.
    """
    inside = slice(_BORDER, -_BORDER)
    # Channel by channel, each copied together first: half the time of all at once.
    channels = np.moveaxis(moments.sums[inside, inside], 2, 0), np.moveaxis(moments.spread[inside, inside], 2, 0)
    histograms = [_mean_histogram(sums.ravel(), spread.ravel()) for sums, spread in zip(*channels, strict=True)]
    best: Pixels = np.argmax(histograms @ _luminance_scores(), axis=1).astype(np.uint8)
    return best


def _mean_histogram(sums: Sums, spread: Sums) -> NDArray[np.float64]:
    """How much weight the windows of one channel have at each quarter of a level, shape (1024,)."""
    variances = spread / np.float32(_AREA * (_AREA - 1))
    weights = (0.03 * 255) ** 2 / (variances + (0.03 * 255) ** 2)
    bins = np.rint(sums / np.float32(_AREA) * 4).astype(np.intp)
    return np.bincount(bins, weights, 1024).astype(np.float64, copy=False)


@cache
def _luminance_scores() -> NDArray[np.float64]:
    """Of means 0, 1/4, ... 255.75 against colours 0 to 255: shape (1024, 256)."""
    m, c = np.arange(1024)[:, None] / 4, np.arange(256)[None, :]
    scores: NDArray[np.float64] = (2 * m * c + (0.01 * 255) ** 2) / (m * m + c * c + (0.01 * 255) ** 2)
    return scores


_PATH_DATA = re.compile(r' d="([^"]*)"')


def paths_and_nodes(svg: str) -> tuple[int, int]:
    """How many paths, and how many points a person editing them would see."""
    data = _PATH_DATA.findall(svg)
    return len(data), sum(d.count(command) for d in data for command in "MLC")


def gzip_size(content: bytes) -> int:
    """Bytes as a web server would send them: level 6, without a file name."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
    return len(packer.compress(content)) + len(packer.flush())
