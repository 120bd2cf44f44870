"""What an image file is, and the parts of it that make the picture: metadata never costs it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE = frozenset({b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
"""Ancillary chunks that decide what is seen; the profile is read here."""
_MAX_PROFILE_BYTES = 1 << 24

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the image; `git lfs pull` fetches the image"),
    (b"GIF8", "a GIF; save the picture you want as PNG"),
    (b"%PDF", "a PDF; export the page as PNG"),
    (b"%!PS", "PostScript; export it as PNG"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file; export it as PNG"),
    (b"8BPS", "a Photoshop file; export it as PNG"),
    (b"\0\0\1\0", "an icon file (ICO); save the largest picture in it as PNG"),
    (b"\xff\x0a", "a JPEG XL; save it as PNG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL; save it as PNG"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "compressed with gzip; unpack it"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)


def other_kind(content: bytes) -> str:
    """What a file is that is none of the formats that are read, and what to do about it, to follow "it is"."""
    for signature, kind in _OTHERS:
        if content.startswith(signature):
            return kind
    if content[4:8] == b"ftyp" and (brand := _BRANDS.get(content[8:12])):
        return f"{brand}; save it as PNG"
    head = content[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head and head.startswith(b"<"):
        return "an SVG already; there is nothing to trace"
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page, not the image; download the image itself"
    return "no PNG, JPEG, BMP, TIFF or WebP image, or its header is damaged; save it again as PNG"


@dataclass(frozen=True, slots=True)
class Picture:
    """A file without the metadata that is not seen.

    profile: the ICC profile that was taken out of a PNG. clear: the one transparent grey or colour of a PNG without
    alpha, in its own samples of `depth` bits, taken out as well.
    """

    content: bytes
    profile: bytes | None = None
    clear: tuple[int, ...] | None = None
    depth: int = 8


def picture_of(content: bytes) -> Picture:
    """Never fails: what cannot be followed is left as it is, for the decoder to judge."""
    if content.startswith(PNG_SIGNATURE):
        return _png(content)
    if content.startswith(b"\xff\xd8\xff"):
        return Picture(_jpeg(content))
    return Picture(content)


def _png(content: bytes) -> Picture:
    kept = [PNG_SIGNATURE]
    profile: bytes | None = None
    clear: tuple[int, ...] | None = None
    depth, colour_type = 8, -1
    for kind, body, whole in _chunks(content):
        sound = zlib.crc32(kind + body) == int.from_bytes(whole[-4:], "big")
        if kind == b"IHDR" and len(body) == 13:
            depth, colour_type = body[8], body[9]
        samples = {0: 1, 2: 3}.get(colour_type, 0)
        if kind == b"tRNS" and samples:
            if sound and len(body) >= 2 * samples:
                clear = struct.unpack(f">{samples}H", body[: 2 * samples])
        elif kind == b"iCCP":
            profile = _profile(body) if sound else None
        elif not kind or not kind[0] & 0x20 or (sound and kind in _PNG_PICTURE):
            kept.append(whole)
    return Picture(b"".join(kept), profile, clear, depth)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and the whole chunk; the rest of a file that ends within one is a chunk without a kind."""
    at = len(PNG_SIGNATURE)
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if end > len(content):
            yield b"", b"", content[at:]
            return
        yield content[at + 4 : at + 8], content[at + 8 : end - 4], content[at:end]
        at = end


def _profile(body: bytes) -> bytes | None:
    """iCCP: a name, a zero, the method (0), and the profile, compressed."""
    with suppress(zlib.error):
        return zlib.decompressobj().decompress(body.partition(b"\0")[2][1:], _MAX_PROFILE_BYTES) or None
    return None


def _jpeg(content: bytes) -> bytes:
    """Without comments and those application segments that decide nothing that is seen, such as a list of previews."""
    kept = [content[:2]]
    at = 2
    while content[at : at + 1] == b"\xff":
        marker = content[at + 1 : at + 2]
        if marker == b"\xff":  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker in (b"\xda", b"\xd9", b"") or end < at + 4 or end > len(content):
            break
        if _decides(marker, content[at + 4 : at + 18], end - at - 4):
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def _decides(marker: bytes, head: bytes, length: int) -> bool:
    if marker == b"\xe0":
        return head.startswith(b"JFIF\0") and length >= 14
    if marker == b"\xe1":
        return head.startswith(b"Exif\0")
    if marker == b"\xe2":
        return head.startswith(b"ICC_PROFILE\0") and length > 14
    return marker == b"\xee" or not (b"\xe0" <= marker <= b"\xef" or marker == b"\xfe")
