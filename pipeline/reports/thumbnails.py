"""Images of the catalogue as PNGs for a page, at most so many pixels wide; None for one that cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from pipeline.core.errors import ImageRejected
from pipeline.core.records import Pixels, pixel_digest
from pipeline.data.images import ImageLimits, path_of, read_image

LIMITS = ImageLimits(min_side_pixels=1, max_pixels=2**26, max_file_bytes=100_000_000, background="#ffffff")
"""Wide enough for whatever the catalogue let in."""


def image_file(root: Path, path: str) -> Path:
    """root: of the data. path: as the catalogue writes it."""
    return root / path_of(path)


def thumbnail(root: Path, path: str, side: int) -> bytes | None:
    """A PNG of side x side pixels, the image in its middle, transparent where the image is and around it."""
    rgba = _read(root, path)
    if rgba is None:
        return None
    image = Image.fromarray(rgba)
    image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return _png(square)


def original(root: Path, path: str, digest: str) -> tuple[bytes, int, int] | None:
    """(PNG, width, height) of an image whose pixels still are those of `digest`."""
    rgba = _read(root, path)
    if rgba is None or pixel_digest(rgba) != digest:
        return None
    return png_of(rgba), rgba.shape[1], rgba.shape[0]


def _read(root: Path, path: str) -> Pixels | None:
    try:
        return read_image(image_file(root, path), LIMITS, path)
    except (ImageRejected, ValueError):
        return None


def png_of(rgba: Pixels) -> bytes:
    """rgba: uint8 (height, width, 4), straight alpha."""
    return _png(Image.fromarray(rgba))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
