"""The preparation of an image before it is traced: enlargement and a reduced palette.

VTracer reads the alpha channel as a switch (0 is transparent, all else opaque) and takes each anti-aliased shade for a
layer of its own, so a prepared image has hard edges and, with a palette, few colours. With `prescale` 1 and `palette`
0 the image is returned untouched, unless it has half-transparent areas and `refit` will give them their opacity back.
"""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.records import Pixels, TracerParams
from pipeline.svg.fills import CLEAR, OPAQUE, needs_cutout

FULL_SIDE = 256
"""Pixels of the longer side from which a setting is taken as it is; see `for_size`."""

MOST_FINE = 4.0
"""Times that a small image is traced more finely, at most."""

FINEST_GRID = 100
"""Steps per pixel that it asks for at most: two decimals."""

FAINTEST = 8
"""The lowest alpha of a half-transparent area that is traced."""

VOTES = 8192
"""About as many pixels speak for an image when its palette is made; each colour has its share, and at least one."""


def for_size(params: TracerParams, width: int, height: int) -> TracerParams:
    """What a setting means for an image of this size, in pixels.

    A logo is shown at the same size however few pixels it has: half as many make every error twice as large. So an
    image that is to be enlarged, and has fewer than FULL_SIDE pixels, is enlarged more; its outlines may move less, and
    its grid is finer.
    """
    finer = min(MOST_FINE, FULL_SIDE / max(width, height))
    if params.prescale == 1 or finer <= 1:
        return params
    return replace(
        params,
        prescale=params.prescale * finer,
        simplify=params.simplify / finer,
        steps_per_pixel=max(params.steps_per_pixel, min(FINEST_GRID, math.ceil(params.steps_per_pixel * finer))),
    )


def prepare(rgba: Pixels, params: TracerParams) -> Pixels:
    """What VTracer is to be given for this setting: uint8 (round(height * prescale), round(width * prescale), 4).

    With `refit` it may have a clear row more, at the top.
    """
    if params.refit:
        return with_clear_row(_prepared(rgba, params, needs_cutout(rgba)))
    return _prepared(rgba, params, False)


def _prepared(rgba: Pixels, params: TracerParams, see_through: bool) -> Pixels:
    """see_through: whether half-transparent areas are to be kept."""
    if not see_through:
        if params.prescale == 1 and params.palette == 0:
            return rgba
        prepared = harden(enlarge(rgba, params.prescale), opaque_from(params.prescale))
        return recolour(prepared, palette_of(rgba, params.palette)) if params.palette else prepared
    prepared = harden(enlarge(distinct(rgba), params.prescale), limits(rgba, params.prescale))
    return recolour(prepared, palette_of(prepared, params.palette)) if params.palette else prepared


def with_clear_row(rgba: Pixels) -> Pixels:
    """With a clear row on top where VTracer would otherwise paint what is transparent: uint8 (H or H + 1, W, 4).

    It does where it finds fewer than 0.4 W transparent pixels in five rows, one of which is the first.
    """
    height, width = rgba.shape[:2]
    rows = rgba[[0, height // 4, height // 2, 3 * height // 4, height - 1], :, 3]
    if rgba[..., 3].min() > 0 or np.count_nonzero(rows == 0) >= 0.4 * width:
        return rgba
    clear = np.broadcast_to(np.array([255, 255, 255, 0], np.uint8), (1, width, 4))
    return np.concatenate([clear, rgba])


def adapt(params: TracerParams, rgba: Pixels) -> TracerParams:
    """What a setting means for an image: as fine as its size asks for, and half-transparent shapes not over others."""
    params = for_size(params, rgba.shape[1], rgba.shape[0])
    if params.refit and params.hierarchical != "cutout" and needs_cutout(rgba):
        return replace(params, hierarchical="cutout")
    return params


def half_transparent(rgba: Pixels) -> NDArray[np.bool_]:
    """The areas at least 3 pixels wide whose alpha is between CLEAR and OPAQUE: bool (H, W)."""
    half = cv2.inRange(rgba[..., 3], CLEAR, OPAQUE)
    return cv2.morphologyEx(half, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def limits(rgba: Pixels, prescale: float) -> Pixels:
    """The lowest alpha that stays, by pixel of the enlarged image: uint8.

    In half-transparent areas it is that part of the highest alpha around which `opaque_from` is of 255: at their edges
    half of it, and in a fade everything from FAINTEST on.
    """
    area = half_transparent(rgba)
    within = np.where(area, rgba[..., 3], 0).astype(np.uint8)
    around = cv2.dilate(within, np.ones((3, 3), np.uint8)).astype(np.uint16)
    share = opaque_from(prescale)
    lowest = np.where(area, np.maximum(FAINTEST, around * share // 255), share).astype(np.uint8)
    size = enlarged_size(rgba.shape[1], rgba.shape[0], prescale)
    return np.asarray(cv2.resize(lowest, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def distinct(rgba: Pixels) -> Pixels:
    """Half-transparent areas in the colours that they have on white or, if they are light, on black; the same alpha.

    VTracer sees colours only: so an area and one of the same colour at another opacity remain two shapes.
    """
    area = half_transparent(rgba)
    seen = rgba[area].astype(np.uint16)
    behind = 255 if seen[:, :3].mean() < 128 else 0
    alpha = seen[:, 3:]
    result = rgba.copy()
    result[area, :3] = (seen[:, :3] * alpha + behind * (255 - alpha)) // 255
    return result


def enlarged_size(width: int, height: int, prescale: float) -> tuple[int, int]:
    """Width and height in pixels after `prescale`, never below 1."""
    return max(1, round(width * prescale)), max(1, round(height * prescale))


def enlarge(rgba: Pixels, prescale: float) -> Pixels:
    """Lanczos on premultiplied alpha, so that the colour below transparent pixels does not bleed into edges."""
    if prescale == 1:
        return rgba
    size = enlarged_size(rgba.shape[1], rgba.shape[0], prescale)
    # Pillow premultiplies "RGBA" itself before it resamples, and divides afterwards.
    return np.asarray(Image.fromarray(rgba).resize(size, Image.Resampling.LANCZOS))


def opaque_from(prescale: float) -> int:
    """The lowest alpha that stays: what makes the traced shape as large as the drawn one.

    VTracer draws every shape about a quarter of a traced pixel too large on all sides. A soft edge is one original
    pixel wide, so a quarter of a traced pixel is 64 / prescale levels of alpha above the half. Against a plain 128:
    SSIM error down by a sixth at no more bytes (36 real logos, best of 54 settings each).
    """
    return round(128 + 64 / prescale)


def harden(rgba: Pixels, lowest: int | Pixels) -> Pixels:
    """Alpha 0 or 255, split at `lowest`, one for all or uint8 (H, W); transparent pixels become white.

    Visible pixels keep their own colour: mixed with the background, each shade of an edge would be a shape of its own
    (twice the bytes at a higher error). White, because VTracer draws transparent pixels where it finds few of them.
    """
    whole = packed(rgba)
    hard = np.where(whole >> 24 >= lowest, whole | 0xFF000000, np.uint32(0x00FFFFFF))
    return hard.view(np.uint8).reshape(rgba.shape)


def palette_of(rgba: Pixels, colours: int) -> Image.Image:
    """At most `colours` (2-256) colours for the visible pixels: median cut refined by k-means, as a Pillow palette.

    Of the image before it is enlarged, which is a fraction of the work and knows nothing of the resampling's
    overshoot. Transparent pixels have no vote: their number would otherwise decide which colours survive.
    """
    votes = votes_of(rgba)
    return Image.fromarray(votes[np.newaxis]).quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1)


def votes_of(rgba: Pixels) -> Pixels:
    """Few pixels with the visible colours of an image in the same proportions: (about VOTES + distinct colours, 3).

    Median cut and k-means look at each pixel again and again, and a logo has hundreds of thousands in few colours.
    """
    whole = packed(rgba).ravel()
    seen = whole[whole >= opaque_from(1) << 24]
    ordered = np.sort((seen if len(seen) else whole) & 0x00FFFFFF)
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] ^ 1))
    counts = np.diff(starts, append=len(ordered))
    shares = np.maximum(1, counts * VOTES // len(ordered))
    return np.repeat(ordered[starts], shares).view(np.uint8).reshape(-1, 4)[:, :3]


def recolour(rgba: Pixels, palette: Image.Image) -> Pixels:
    """Each opaque pixel in the nearest colour of the palette, without dithering; the others as they were."""
    rgb: Pixels = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)  # type: ignore[assignment]
    nearest = np.asarray(Image.fromarray(rgb).quantize(palette=palette, dither=Image.Dither.NONE))
    whole = packed(rgba)
    return np.where(whole >> 24 > 0, _colours(palette)[nearest], whole).view(np.uint8).reshape(rgba.shape)


def _colours(palette: Image.Image) -> NDArray[np.uint32]:
    """Shape (256,), opaque, as `packed` packs them; those that the palette does not have are black."""
    rgba = np.zeros((256, 4), np.uint8)
    rgba[:, 3] = 255
    listed = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    rgba[: len(listed), :3] = listed
    return packed(rgba)


def packed(rgba: Pixels) -> NDArray[np.uint32]:
    """The same pixels as whole numbers: red is the lowest byte, alpha the highest."""
    return np.ascontiguousarray(rgba).view("<u4")[..., 0]
