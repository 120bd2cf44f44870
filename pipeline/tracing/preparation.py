"""The preparation of an image before it is traced: enlargement and a reduced palette.

VTracer reads the alpha channel as a switch (0 is transparent, all else opaque) and takes each anti-aliased shade for a
layer of its own, so a prepared image has hard edges and, with a palette, few colours. With `prescale` 1 and `palette`
0 the image is returned untouched.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.records import Pixels, TracerParams

VOTES = 8192
"""About as many pixels speak for an image when its palette is made; each colour has its share, and at least one."""


def prepare(rgba: Pixels, params: TracerParams) -> Pixels:
    """What VTracer is to be given for this setting: uint8 (round(height * prescale), round(width * prescale), 4)."""
    if params.prescale == 1 and params.palette == 0:
        return rgba
    prepared = harden(enlarge(rgba, params.prescale), opaque_from(params.prescale))
    return recolour(prepared, palette_of(rgba, params.palette)) if params.palette else prepared


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


def harden(rgba: Pixels, lowest: int) -> Pixels:
    """Alpha 0 or 255, split at `lowest`; transparent pixels become white.

    Visible pixels keep their own colour: mixed with the background, each shade of an edge would be a shape of its own
    (twice the bytes at a higher error). White, because VTracer draws transparent pixels where it finds few of them.
    """
    whole = packed(rgba)
    hard = np.where(whole >= lowest << 24, whole | 0xFF000000, np.uint32(0x00FFFFFF))
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
