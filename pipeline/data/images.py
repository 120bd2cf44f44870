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
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from pipeline.core.errors import ImageRejected
from pipeline.core.pixels import on_background, rgb_of
from pipeline.core.records import Category, Logo, Pixels
from pipeline.data.formats import Picture, other_kind, picture_of

if TYPE_CHECKING:
    from pipeline.settings.params import DataSettings

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
)
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Pillow opens by content, so a wrong suffix does no harm; no other decoder is ever reached."""

KINDS = "png, jpg, jpeg, jfif, bmp, tiff, webp"
"""SUFFIXES as messages name them; the rarer ones are left out."""

MAX_NAME_BYTES = 255
"""Of a single file name, on every usual file system."""

_NEW_SUBFILE_TYPE, _REDUCED, _MASK = 254, 1, 4
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
"""Tags of TIFF, each with values that matter here."""
_PAGES = 16  # of which one is looked for that is a whole picture

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
    picture = picture_of(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if (deep := _deep_tiff(content, limits, name)) is not None:
                rgba = _rgba(deep, picture)
                _refuse_blank(rgba, limits.background, name)
                return rgba, deep.mode
            with _open(picture.content) as image:
                _check_header(image, limits, name)
            with _open(picture.content) as image:
                image.verify()  # which leaves an image that cannot be loaded
            with _open(picture.content) as image:
                image.load()
                mode, rgba = image.mode, _rgba(image, picture)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageRejected(name, "bomb", str(error)) from None
        except ImageRejected:
            raise
        except UnidentifiedImageError:
            raise ImageRejected(name, "undecodable", f"it is {other_kind(content)}") from None
        except _DECODING as error:
            reason = "checksum" if "checksum" in str(error) else "undecodable"
            raise ImageRejected(name, reason, f"{error or type(error).__name__}; save it again as PNG") from None
    _refuse_blank(rgba, limits.background, name)
    return rgba, mode


def pixels_of(image: Image.Image, limits: ImageLimits | DataSettings, name: str) -> Pixels:
    """An image that Pillow has opened to RGBA, as `read_image` does. Raises ImageRejected."""
    _check_size(image.size, limits, name)
    try:
        rgba = _rgba(image, Picture(b""))
    except _DECODING as error:
        raise ImageRejected(name, "undecodable", f"{error or type(error).__name__}; save it as PNG") from None
    _refuse_blank(rgba, limits.background, name)
    return rgba


def _open(content: bytes) -> Image.Image:
    """Of a TIFF with several pages the first that is neither a preview nor a mask."""
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        pages = getattr(image, "n_frames", 1)
        for page in range(min(pages, _PAGES)):
            image.seek(page)
            if not _subfile(image) & (_REDUCED | _MASK):
                return image
        image.seek(0)
    return image


def _deep_tiff(content: bytes, limits: ImageLimits | DataSettings, name: str) -> Image.Image | None:
    """A TIFF with samples of 10, 12 or 14 bits, which Pillow does not scale or read, in 8 bits; None for others."""
    if content[:4] not in (b"II*\0", b"MM\0*"):
        return None
    stream = io.BytesIO(content)
    tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
    stream.seek(tags.next)
    tags.load(stream)
    bits, photometric = tags.get(TiffImagePlugin.BITSPERSAMPLE, (8,))[0], tags.get(_PHOTOMETRIC)
    if bits not in (10, 12, 14) or photometric not in (_WHITE_IS_ZERO, 1, 2):
        return None
    _check_size((int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags[TiffImagePlugin.IMAGELENGTH])), limits, name)
    samples = np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
    most = ((1 << bits) - 1) << (16 - bits)  # as OpenCV moves them up
    eight = ((samples.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)
    if photometric == _WHITE_IS_ZERO:
        eight = 255 - eight
    image = Image.fromarray(eight if eight.ndim == 2 else np.ascontiguousarray(eight[..., 2::-1]))
    image.info["icc_profile"] = tags.get(TiffImagePlugin.ICCPROFILE)
    image.getexif()[ExifTags.Base.Orientation] = tags.get(ExifTags.Base.Orientation, 1)
    return image


def _subfile(image: TiffImagePlugin.TiffImageFile) -> int:
    value = image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)
    return value if isinstance(value, int) else 0


def _check_header(image: Image.Image, limits: ImageLimits | DataSettings, name: str) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "TIFF":
        raise ImageRejected(name, "animated", f"it holds {frames} pictures; save the one you want")
    _check_size(image.size, limits, name)


def _check_size(size: tuple[int, int], limits: ImageLimits | DataSettings, name: str) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        detail = f"{width} x {height} pixels, more than {limits.max_pixels}; shrink it or raise data.max_pixels"
        raise ImageRejected(name, "too-many-pixels", detail)
    if min(width, height) < limits.min_side_pixels:
        detail = f"{width} x {height} pixels; both sides need {limits.min_side_pixels} (data.min_side_pixels)"
        raise ImageRejected(name, "too-small", detail)


def _rgba(image: Image.Image, picture: Picture) -> Pixels:
    """uint8 (H, W, 4) in sRGB, turned as EXIF says. picture: what was taken out of the file before Pillow saw it."""
    profile = _profile(picture.profile or image.info.get("icc_profile"))
    seen = image
    if image.mode == "CMYK" and profile is not None:
        with suppress(ImageCms.PyCMSError):
            seen, profile = _in_srgb(image, profile), None
    rgba = _samples(seen, picture)
    if image.format == "BMP" and not rgba[..., 3].any():
        rgba[..., 3] = 255  # written by programs that leave the fourth byte at zero; browsers show it opaque
    if profile is not None:
        _convert_to_srgb(rgba, profile, grey=image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"))
    return _turned(rgba, image)


def _samples(image: Image.Image, picture: Picture) -> Pixels:
    if image.mode in ("I", "F"):
        raise ValueError(f"samples of 32 bits (mode {image.mode}) are not supported")
    clear, most = picture.clear, (1 << picture.depth) - 1
    if image.mode.startswith("I;16"):
        grey = np.asarray(image)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            grey = 65535 - grey  # Pillow inverts samples of 8 bits only
        return _rgba_from_16_bits(grey, clear[0] if clear else None)
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "La", "RGBa"):
        image = image.convert("RGB")
    rgba = np.array(image.convert("RGBA"), dtype=np.uint8)
    if clear is None:
        return rgba
    if picture.depth == 16:  # Pillow keeps eight bits of a colour, and sixteen decide what is clear
        samples = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_UNCHANGED)
        is_clear = np.all(np.asarray(samples)[..., ::-1] == clear, axis=-1)
    else:
        is_clear = (rgba[..., :3] == [(value & most) * 255 // most for value in clear]).all(axis=-1)
    rgba[is_clear, 3] = 0
    return rgba


def _rgba_from_16_bits(samples: NDArray[np.uint16], clear: int | None) -> Pixels:
    """Grey of 16 bits, scaled: Pillow's own conversion cuts everything above 255 off."""
    grey = samples.astype(np.uint32)
    alpha = np.full(grey.shape, 255, dtype=np.uint8)
    if clear is not None:
        alpha[grey == clear] = 0
    eight = ((grey * 255 + 32767) // 65535).astype(np.uint8)
    return np.dstack([eight, eight, eight, alpha])


def _profile(content: object) -> ImageCms.ImageCmsProfile | None:
    """An ICC profile that changes colours; None for sRGB and for what cannot be read."""
    if not isinstance(content, bytes):
        return None
    with suppress(OSError, ImageCms.PyCMSError):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        if "sRGB" not in ImageCms.getProfileDescription(profile):
            return profile
    return None


def _convert_to_srgb(rgba: Pixels, profile: ImageCms.ImageCmsProfile, *, grey: bool) -> None:
    """In place. A profile of other colours than the image's is ignored, as browsers do."""
    samples = rgba[..., 0] if grey else rgba[..., :3]
    with suppress(ImageCms.PyCMSError):
        rgba[..., :3] = np.asarray(_in_srgb(Image.fromarray(np.ascontiguousarray(samples)), profile))


def _in_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """RGB. Raises PyCMSError."""
    srgb = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    converted = ImageCms.profileToProfile(image, profile, srgb, renderingIntent=intent, outputMode="RGB")
    assert converted is not None  # it is None only in place
    return converted


def _turned(rgba: Pixels, image: Image.Image) -> Pixels:
    """As EXIF says; damaged EXIF says nothing."""
    orientation = None
    with suppress(*_DECODING):
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    if orientation in (5, 6, 7, 8):
        rgba = rgba.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        rgba = rgba[:, ::-1]
    if orientation in (3, 4, 7, 8):
        rgba = rgba[::-1]
    return np.ascontiguousarray(rgba)


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


@dataclass(slots=True)
class PassedOver:
    """Files that are no images by their names. names: of the first few. SVGs are not counted: they are results."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        if path.suffix.lower() != ".svg":
            self.count += 1
            if len(self.names) < 5:
                self.names.append(path_text(path))

    def __str__(self) -> str:
        more = f" and {self.count - len(self.names)} more" if self.count > len(self.names) else ""
        return f"passed over {self.count} file(s) that are no images by name ({KINDS}): {', '.join(self.names)}{more}"


def walk_images(root: Path, passed_over: PassedOver | None = None) -> Iterator[tuple[Path, ImageRejected | None]]:
    """Image files below a folder, by suffix, folder by folder and sorted in each: each path relative to it, and why it
    was rejected unread, if it was.

    Hidden files and folders are left out. Links to files count as files, wherever they lead: DVC, git-annex and others
    keep a folder's files in a cache. Linked folders are not entered: one inside the root is seen anyway; one that
    leaves it is rejected.
    """
    real_root = os.path.realpath(root)
    folders = [Path()]
    while folders:
        folder = folders.pop()
        inner: list[Path] = []
        names: list[str] = []
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    relative = folder / entry.name
                    if entry.name.startswith("."):
                        continue
                    if not entry.is_dir():
                        if relative.suffix.lower() in SUFFIXES:
                            names.append(entry.name)
                        elif passed_over is not None:
                            passed_over.add(relative)
                    elif not entry.is_symlink():
                        inner.append(relative)
                    elif not Path(os.path.realpath(entry.path)).is_relative_to(real_root):
                        detail = "it is a link to a folder elsewhere; name that folder, or copy it"
                        yield relative, ImageRejected(path_text(relative), "link", detail)
        except OSError as error:
            detail = f"{error.strerror}; check that you may open the folder"
            yield folder, ImageRejected(path_text(folder), "unreadable", detail)
        for name in sorted(names):
            yield folder / name, None
        folders += sorted(inner, reverse=True)


def list_images(root: Path, passed_over: PassedOver | None = None) -> tuple[list[Path], list[ImageRejected]]:
    """The image files of `walk_images` and its rejections, each sorted by path."""
    walk = list(walk_images(root, passed_over))
    found = [path for path, rejection in walk if rejection is None]
    return sorted(found), sorted((r for _, r in walk if r is not None), key=lambda r: r.path)
