"""Measures of one image, from its pixels alone: the same in the catalogue, in training and at inference.

All are computed on the image composited on the background, so invisible pixels do not count.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.pixels import on_background
from pipeline.core.records import Pixels


@dataclass(frozen=True, slots=True)
class Measures:
    """Finite numbers; `log_` is a natural logarithm.

    The ground is the commonest colour along the border; the content is the box around what differs from it, with
    2 pixels of ground around. All but the first five are of the content, so they do not change when an image is padded.
    Ratios are shares of the content's pixels, 0 to 1, unless said otherwise.

    log_pixels         ln(width x height) of the image
    log_aspect         ln(width / height) of the image
    has_alpha          1 when any pixel is not opaque
    transparent_ratio  pixels with alpha below 128, of all
    content_ratio      pixels of the content, of all
    log_content_aspect ln(width / height) of the content
    ground_ratio       pixels of the ground
    log_colours        ln(distinct colours at 4 bits per channel)
    log_main_colours   ln(those of them that cover 0.5 % or more)
    top_colours_ratio  pixels of the 8 commonest of these colours
    entropy            bits of the histogram of grey, 0 to 8
    colour_entropy     bits of the histogram of these colours, 0 to 12
    edge_density       pixels on an edge: the colour changes by over 48 of 255 between neighbours
    log_outline        ln(1 + pixels on edges over the root of all pixels): changes little with the size
    log_corners        ln(1 + Shi-Tomasi corners)
    gradient_strength  pixels off edges whose colour changes slowly, as a share of what is not ground
    sharpness          ln(1 + variance of the Laplacian of grey)
    contrast           standard deviation of grey over 127.5, 0 to 1
    noise              standard deviation of grey that structure does not explain, in 8-bit steps (Immerkaer 1996)
    saturation         mean of (largest - smallest channel), 0 to 1
    hues               bits of the histogram of hues (12 bins, saturated pixels only), 0 to 3.6
    log_parts          ln(1 + connected pieces of what is not ground)
    log_letters        ln(1 + the most parts that stand on one line and are about equally high)
    stroke             mean half-width of the parts over the root of all pixels
    complexity         0 to 1, from outlines, corners, colours and parts
    quality            0 to 1: crisp, contrasty, free of noise and large enough
    """

    log_pixels: float
    log_aspect: float
    has_alpha: float
    transparent_ratio: float
    content_ratio: float
    log_content_aspect: float
    ground_ratio: float
    log_colours: float
    log_main_colours: float
    top_colours_ratio: float
    entropy: float
    colour_entropy: float
    edge_density: float
    log_outline: float
    log_corners: float
    gradient_strength: float
    sharpness: float
    contrast: float
    noise: float
    saturation: float
    hues: float
    log_parts: float
    log_letters: float
    stroke: float
    complexity: float
    quality: float

    def as_array(self) -> NDArray[np.float32]:
        """float32 of shape (len(MEASURE_NAMES),), in the order of the fields."""
        return np.array(astuple(self), dtype=np.float32)


MEASURE_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Measures))

EDGE_STEP = 48  # of 255; anti-aliased edges of logos change by more, gradients by less
GROUND_STEP = 24  # of 255; JPEG noise stays below
SOFT_STEPS = (1.25, 28.0)  # change over 6 pixels that counts as a gradient
MARGIN = 2  # pixels; an edge at the rim of the content needs a neighbour
SOFT_SCALE = 16  # keeps fractions of a step in 16-bit integers, which take half the time of floats
SMALLEST_PART = 6  # pixels; less is dirt
MOST_PARTS = 300  # looked at for letters, the largest first
WHITE = (255, 255, 255)

Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]


def measure(rgba: Pixels, background: tuple[int, int, int] = WHITE) -> Measures:
    """All measures of an image of at least 8 x 8 pixels, uint8 (H, W, 4)."""
    return measure_composited(on_background(rgba, background), np.ascontiguousarray(rgba[..., 3]))


def measure_composited(seen: Pixels, alpha: Bytes) -> Measures:
    """`measure` for a composited image: uint8 (H, W, 3), and its former alpha, uint8 (H, W)."""
    height, width = alpha.shape
    rgb, drawn = _content(seen)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    pixels, drawn_pixels = drawn.size, max(int(drawn.sum()), 1)
    colours = np.bincount(_codes(rgb).ravel(), minlength=4096)
    distinct = int(np.count_nonzero(colours))
    edges = _edges(rgb)
    outline = float(edges.sum() / np.sqrt(pixels))
    corners = _corners(grey)
    shapes = _shapes(drawn)
    contrast = float(grey.std()) / 127.5
    noise = _noise(grey, edges)
    saturation, hues = _colourfulness(rgb)
    return Measures(
        log_pixels=float(np.log(height * width)),
        log_aspect=float(np.log(width / height)),
        has_alpha=float(alpha.min() < 255),
        transparent_ratio=float((alpha < 128).mean()),
        content_ratio=(rgb.shape[0] - 2 * MARGIN) * (rgb.shape[1] - 2 * MARGIN) / (height * width),
        log_content_aspect=float(np.log((rgb.shape[1] - 2 * MARGIN) / (rgb.shape[0] - 2 * MARGIN))),
        ground_ratio=1 - drawn_pixels / pixels,
        log_colours=float(np.log(distinct)),
        log_main_colours=float(np.log(max(int((colours >= 0.005 * pixels).sum()), 1))),
        top_colours_ratio=float(np.sort(colours)[-8:].sum() / pixels),
        entropy=_bits(np.bincount(grey.ravel(), minlength=256)),
        colour_entropy=_bits(colours),
        edge_density=float(edges.mean()),
        log_outline=float(np.log1p(outline)),
        log_corners=float(np.log1p(corners)),
        gradient_strength=float((_soft(rgb, edges) & drawn).sum() / drawn_pixels),
        sharpness=float(np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var())),
        contrast=contrast,
        noise=noise,
        saturation=saturation,
        hues=hues,
        log_parts=float(np.log1p(shapes.parts)),
        log_letters=float(np.log1p(shapes.letters)),
        stroke=float(shapes.half_width / np.sqrt(pixels)),
        complexity=_complexity(outline, corners, distinct, shapes.parts),
        quality=_quality(grey, contrast, noise, min(height, width)),
    )


def _codes(rgb: Pixels) -> NDArray[np.int32]:
    """Each pixel's colour at 4 bits per channel, 0 to 4095."""
    high = (rgb >> 4).astype(np.int32)
    codes: NDArray[np.int32] = (high[..., 0] << 8) | (high[..., 1] << 4) | high[..., 2]
    return codes


def _bits(counts: NDArray[np.int64]) -> float:
    """Shannon entropy of a histogram."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


_KERNEL = np.ones((3, 3), dtype=np.uint8)


def _edges(rgb: Pixels) -> Mask:
    mask: Mask = _largest(cv2.morphologyEx(rgb, cv2.MORPH_GRADIENT, _KERNEL)) > EDGE_STEP
    return mask


def _content(rgb: Pixels) -> tuple[Pixels, Mask]:
    """The box around what is not ground, with a margin of ground, and where it is not ground."""
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    codes = _codes(border)
    ground = border[codes == np.bincount(codes).argmax()].mean(axis=0).round().astype(np.uint8)
    drawn = _largest(cv2.absdiff(rgb, np.full_like(rgb, ground))) > GROUND_STEP
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not rows.size:
        rows, columns = np.arange(rgb.shape[0]), np.arange(rgb.shape[1])
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    framed = np.empty((rows[-1] - rows[0] + 1 + 2 * MARGIN, columns[-1] - columns[0] + 1 + 2 * MARGIN, 3), np.uint8)
    framed[...] = ground
    framed[MARGIN:-MARGIN, MARGIN:-MARGIN] = rgb[box]
    return framed, np.pad(drawn[box], MARGIN)


def _largest(channels: NDArray[Any]) -> NDArray[Any]:
    """The largest of three channels at each pixel; numpy's own reduction takes 20 times as long."""
    first, second, third = cv2.split(channels)
    return cv2.max(cv2.max(first, second), third)


def _soft(rgb: Pixels, edges: Mask) -> Mask:
    """Pixels away from edges where the smoothed colour changes a little over 6 pixels, across or down."""
    smooth = cv2.blur(rgb.astype(np.int16) * SOFT_SCALE, (5, 5))
    change = np.zeros(edges.shape, dtype=np.int16)
    if edges.shape[1] > 6:
        change[:, 3:-3] = _largest(cv2.absdiff(smooth[:, 6:], smooth[:, :-6]))
    if edges.shape[0] > 6:
        change[3:-3] = cv2.max(change[3:-3], _largest(cv2.absdiff(smooth[6:], smooth[:-6])))
    # 7 pixels: 5 that blur and shift reach, 2 of anti-aliasing.
    low, high = (step * SOFT_SCALE for step in SOFT_STEPS)
    soft: Mask = (change > low) & (change < high) & ~_widened(edges, 7)
    return soft


def _widened(mask: Mask, pixels: int) -> Mask:
    side = 2 * pixels + 1
    wide: Mask = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), dtype=np.uint8)) > 0
    return wide


def _corners(grey: Bytes) -> int:
    """Shi-Tomasi corners at least 3 pixels apart, at most 2000."""
    found = cv2.goodFeaturesToTrack(grey, 2000, 0.05, 3)
    return 0 if found is None else len(found)


def _noise(grey: Bytes, edges: Mask) -> float:
    """Immerkaer's estimate, over pixels away from edges; 0 when there are none."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
    residue = np.abs(cv2.filter2D(grey, cv2.CV_32F, mask))[~_widened(edges, 2)]
    return float(residue.mean() * np.sqrt(np.pi / 2) / 6) if residue.size else 0.0


class _Shapes(NamedTuple):
    parts: int
    letters: int
    half_width: float


def _shapes(drawn: Mask) -> _Shapes:
    """half_width: mean distance to the ground of the pixels that are drawn."""
    mask = drawn.astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    parts = stats[1:][stats[1:, cv2.CC_STAT_AREA] >= SMALLEST_PART]
    if not len(parts):
        return _Shapes(0, 0, 0.0)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return _Shapes(len(parts), _letters(parts), float(distance.sum() / mask.sum()))


def _letters(parts: NDArray[Any]) -> int:
    """The most parts, given as rows of statistics, that stand on one line and are about equally high."""
    parts = parts[np.argsort(-parts[:, cv2.CC_STAT_AREA], kind="stable")[:MOST_PARTS]]
    heights = parts[:, cv2.CC_STAT_HEIGHT].astype(np.float32)
    feet = parts[:, cv2.CC_STAT_TOP] + heights
    lower = np.minimum(heights[:, None], heights)
    alike = (np.abs(feet[:, None] - feet) <= 0.15 * lower + 1) & (np.maximum(heights[:, None], heights) <= 2 * lower)
    return int(alike.sum(axis=1).max())


def _colourfulness(rgb: Pixels) -> tuple[float, float]:
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    chroma = _largest(rgb) - (255 - _largest(255 - rgb))
    strong = chroma > 40
    hues = np.bincount(hsv[..., 0][strong] // 15, minlength=12)
    return float(chroma.mean() / 255), _bits(hues) if strong.any() else 0.0


def _complexity(outline: float, corners: int, colours: int, parts: int) -> float:
    """Mean of four shares, each 0.5 at what a middling logo has."""
    middling = ((outline, 20), (corners, 60), (colours, 60), (parts, 6))
    return float(np.mean([value / (value + half) for value, half in middling]))


def _quality(grey: Bytes, contrast: float, noise: float, side: int) -> float:
    """Weighted geometric mean of four shares: crispness, contrast, absence of noise, shorter side of the image."""
    shares = [_crispness(grey) / 0.75, contrast / 0.15, 1 / (1 + noise / 4), side / 128]
    return float(np.prod(np.clip(shares, 1e-3, 1.0) ** (0.5, 0.2, 0.2, 0.1)))


def _crispness(grey: Bytes) -> float:
    """How much of the change within 15 pixels happens within 2, near edges.

    1 on real logos; 0.65, 0.37 and 0.2 after Gaussian blurs of 1, 2 and 4 pixels.
    """
    steepest = cv2.dilate(_slope(grey), np.ones((15, 15), dtype=np.uint8))
    change = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((15, 15), dtype=np.uint8))
    near = change > GROUND_STEP
    return float(np.quantile(steepest[near] / change[near], 0.25)) if near.any() else 1.0


def _slope(grey: Bytes) -> NDArray[np.float32]:
    """The change of grey over 2 pixels, in the direction in which it is steepest."""
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.25)
    slope: NDArray[np.float32] = cv2.magnitude(across, down).astype(np.float32, copy=False)
    return slope
