"""Image files: finding them, and turning one into pixels or a reason why not.

Reasons are stable words, for counting: unreadable, empty, too-many-bytes, undecodable, checksum, bomb, animated,
too-small, too-many-pixels, blank, link, crashed.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.core.errors import ImageRejected
from pipeline.core.pixels import on_background, rgb_of
from pipeline.core.records import Category, Logo, Pixels

if TYPE_CHECKING:
    from pipeline.settings.params import DataSettings

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Pillow opens by content, so a wrong suffix does no harm; no other decoder is ever reached."""

KINDS = "png, jpg, jpeg, bmp, tiff, webp"
"""SUFFIXES as messages name them."""

MAX_NAME_BYTES = 255
"""Of a single file name, on every usual file system."""

# What Pillow raises on files that are damaged or hostile; its decoders have no common exception.
_DECODING = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What makes an image unusable. background: #rrggbb that it must not be blank on; None: on any background."""

    min_side_pixels: int
    max_pixels: int
    max_file_bytes: int
    background: str | None

    @classmethod
    def of(cls, settings: DataSettings) -> ImageLimits:
        return cls(settings.min_side_pixels, settings.max_pixels, settings.max_file_bytes, settings.background)


def path_text(path: Path) -> str:
    r"""A path as text that any file format can hold: bytes that are not UTF-8 as \xNN, a backslash as two.

    Ordinary names stay as they are; `path_of` reads it back.
    """
    raw = os.fsencode(path.as_posix()).replace(b"\\", b"\\\\")
    return raw.decode("utf-8", "backslashreplace")


def path_of(text: str) -> Path:
    """The inverse of `path_text`."""

    def unescape(match: re.Match[bytes]) -> bytes:
        return b"\\" if match[0] == b"\\\\" else bytes([int(match[1], 16)])

    return Path(os.fsdecode(re.sub(rb"\\\\|\\x([0-9a-f]{2})", unescape, text.encode())))


def read_image(path: Path, limits: ImageLimits | DataSettings, name: str | None = None) -> Pixels:
    """Decode an image file to straight 8-bit RGBA of shape (height, width, 4), turned as its EXIF says.

    name: how messages call it; the path by default. Raises ImageRejected.
    """
    shown = name or path_text(path)
    return decode_image(read_file(path, limits, shown), limits, shown)


def load_logo(root: Path, relative_path: str, category: Category, limits: ImageLimits | DataSettings) -> Logo:
    """An image of the catalogue, by its `path`. Raises ImageRejected."""
    return Logo.of(relative_path, read_image(root / path_of(relative_path), limits, relative_path), category)


def read_file(path: Path, limits: ImageLimits | DataSettings, name: str) -> bytes:
    """The bytes of an image file, at most one more than `decode` accepts. Raises ImageRejected: unreadable."""
    try:
        # A pipe or a device would block or never end; only a plain file is opened.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageRejected(name, "unreadable", "it is not a plain file")
        with path.open("rb") as file:
            return file.read(limits.max_file_bytes + 1)
    except OSError as error:
        raise ImageRejected(name, "unreadable", f"{error.strerror or error}; check that you may read it") from None


def decode_image(content: bytes, limits: ImageLimits | DataSettings, name: str) -> Pixels:
    """The bytes of an image file to RGBA, as `read_image` does. Raises ImageRejected."""
    return decode(content, limits, name)[0]


def decode(content: bytes, limits: ImageLimits | DataSettings, name: str) -> tuple[Pixels, str]:
    """The bytes of a file to RGBA, and the pixel format that they had (Pillow's mode). Raises ImageRejected."""
    if not content:
        raise ImageRejected(name, "empty", "the file has no bytes")
    if len(content) > limits.max_file_bytes:
        detail = f"more than {limits.max_file_bytes} bytes; shrink it or raise data.max_file_bytes"
        raise ImageRejected(name, "too-many-bytes", detail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_header(image, limits, name)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                image.verify()  # which leaves an image that cannot be loaded
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                image.load()
                mode, rgba = image.mode, _rgba(ImageOps.exif_transpose(image))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageRejected(name, "bomb", str(error)) from None
        except ImageRejected:
            raise
        except UnidentifiedImageError:
            detail = "it is no PNG, JPEG, BMP, TIFF or WebP image, or its header is damaged; save it again as PNG"
            raise ImageRejected(name, "undecodable", detail) from None
        except _DECODING as error:
            reason = "checksum" if "checksum" in str(error) else "undecodable"
            raise ImageRejected(name, reason, f"{error or type(error).__name__}; save it again as PNG") from None
    _refuse_blank(rgba, limits.background, name)
    return rgba, mode


def _check_header(image: Image.Image, limits: ImageLimits | DataSettings, name: str) -> None:
    width, height = image.size
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise ImageRejected(name, "animated", f"it holds {frames} pictures; save the one you want")
    if width * height > limits.max_pixels:
        detail = f"{width} x {height} pixels, more than {limits.max_pixels}; shrink it or raise data.max_pixels"
        raise ImageRejected(name, "too-many-pixels", detail)
    if min(width, height) < limits.min_side_pixels:
        detail = f"{width} x {height} pixels; both sides need {limits.min_side_pixels} (data.min_side_pixels)"
        raise ImageRejected(name, "too-small", detail)


def _rgba(image: Image.Image) -> Pixels:
    if image.mode in ("I", "F"):
        raise ValueError(f"samples of 32 bits (mode {image.mode}) are not supported")
    if image.mode.startswith("I;16"):
        return _rgba_from_16_bits(image)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "La", "RGBa"):
        image = image.convert("RGB")
    return np.array(image.convert("RGBA"), dtype=np.uint8)


def _rgba_from_16_bits(image: Image.Image) -> Pixels:
    """Grey of 16 bits, scaled: Pillow's own conversion cuts everything above 255 off."""
    grey = np.asarray(image).astype(np.uint32)
    alpha = np.full(grey.shape, 255, dtype=np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        alpha[grey == clear] = 0
    eight = ((grey * 255 + 32767) // 65535).astype(np.uint8)
    return np.dstack([eight, eight, eight, alpha])


def _refuse_blank(rgba: Pixels, background: str | None, name: str) -> None:
    if not rgba[..., 3].any():
        raise ImageRejected(name, "blank", "it is fully transparent")
    if is_blank(rgba, background):
        shown = rgba if background is None else on_background(rgba, rgb_of(background))
        where = f"on the background {background} all" if background else "all"
        raise ImageRejected(name, "blank", f"{where} of it is #{shown[0, 0].tobytes().hex()}")


def is_blank(rgba: Pixels, background: str | None) -> bool:
    """Whether all pixels look the same on a background, #rrggbb; None: on any."""
    # Nearly every image shows two colours in a few pixels; only what does not is looked at in full.
    for step in (8, 1):
        shown = rgba[::step, ::step]
        if background is not None:
            shown = on_background(shown, rgb_of(background))
        if bool((shown != shown[0, 0]).any()):
            return False
    return True


def walk_images(root: Path) -> Iterator[tuple[Path, ImageRejected | None]]:
    """Image files below a folder, by suffix, in the file system's order: each path relative to it, and why it was
    rejected unread, if it was.

    Hidden files and folders are left out. Linked folders are not entered: one inside the root is seen anyway; one
    that leaves it is rejected, as is a link to a file outside.
    """
    real_root = os.path.realpath(root)
    folders = [Path()]
    while folders:
        folder = folders.pop()
        inner: list[Path] = []
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    relative = folder / entry.name
                    is_folder = entry.is_dir()
                    if entry.name.startswith(".") or not (is_folder or relative.suffix.lower() in SUFFIXES):
                        continue
                    if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(real_root):
                        detail = "it is a link out of the folder; copy what it points to"
                        yield relative, ImageRejected(path_text(relative), "link", detail)
                    elif not is_folder:
                        yield relative, None
                    elif not entry.is_symlink():
                        inner.append(relative)
        except OSError as error:
            detail = f"{error.strerror}; check that you may open the folder"
            yield folder, ImageRejected(path_text(folder), "unreadable", detail)
        folders += sorted(inner, reverse=True)


def list_images(root: Path) -> tuple[list[Path], list[ImageRejected]]:
    """The image files of `walk_images` and its rejections, each sorted by path."""
    walk = list(walk_images(root))
    found = [path for path, rejection in walk if rejection is None]
    return sorted(found), sorted((r for _, r in walk if r is not None), key=lambda r: r.path)
