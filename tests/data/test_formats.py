"""Files as people have them: each is seen as a browser shows it, or refused by the name of what it is."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from pipeline.core.errors import ImageRejected
from pipeline.core.records import Pixels
from pipeline.data.images import ImageLimits, decode_image, pixels_of

LIMITS = ImageLimits(8, 2**20, 2**20, None)
RED, GREEN = (200, 30, 60), (20, 180, 90)


@pytest.fixture
def image() -> Image.Image:
    """Green on red, 40 x 40."""
    picture = Image.new("RGB", (40, 40), RED)
    picture.paste(GREEN, (10, 10, 30, 30))
    return picture


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def seen(content: bytes) -> Pixels:
    return decode_image(content, LIMITS, "logo")


def shows(content: bytes, *, within: int = 0) -> bool:
    rgba = seen(content).astype(int)
    return bool(
        rgba.shape == (40, 40, 4)
        and abs(rgba[2, 2] - [*RED, 255]).max() <= within
        and abs(rgba[20, 20] - [*GREEN, 255]).max() <= within
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(content: bytes, added: bytes) -> bytes:
    at = content.index(b"IDAT") - 4
    return content[:at] + added + content[at:]


def png(samples: np.ndarray[Any, Any], depth: int, clear: tuple[int, ...]) -> bytes:
    """Grey (H, W) or RGB (H, W, 3) samples of `depth` bits, with a transparent value."""
    height, width = samples.shape[:2]
    if depth == 16:
        rows = [samples[y].astype(">u2").tobytes() for y in range(height)]
    else:
        bits = np.unpackbits(samples.reshape(height, -1, 1).astype(np.uint8), axis=2)[..., 8 - depth :]
        rows = [np.packbits(bits[y].reshape(-1)).tobytes() for y in range(height)]
    header = struct.pack(">IIBBBBB", width, height, depth, 2 if samples.ndim == 3 else 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(f">{len(clear)}H", *clear)), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_is_clear(depth: int) -> None:
    most = (1 << depth) - 1
    samples = np.full((16, 16), most)
    samples[4:12, 4:12] = 0
    samples[5, 5] = max(0, most - 1)
    rgba = seen(png(samples, depth, (most,)))
    assert (rgba[..., 3] == np.where(samples == most, 0, 255)).all()
    assert rgba[6, 6].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize("depth", [8, 16])
def test_the_transparent_colour_of_a_png_is_clear_in_all_its_bits(depth: int) -> None:
    unit = 1 if depth == 8 else 257
    samples = np.full((16, 16, 3), 255 * unit)
    samples[4:12, 4:12] = (10 * unit, 20 * unit, 30 * unit)
    samples[5, 5, 0] += 1
    rgba = seen(png(samples, depth, tuple(map(int, samples[8, 8]))))
    assert (rgba[8, 8, 3], rgba[0, 0, 3], rgba[5, 5, 3]) == (0, 255, 255)


def test_no_metadata_of_a_png_costs_the_picture(image: Image.Image) -> None:
    content = encoded(image)
    text = b"Comment\0\0" + zlib.compress(b"x" * 5_000_000)
    damaged = bytearray(chunk(b"eXIf", b"MM"))
    damaged[-1] ^= 1
    for added in (
        chunk(b"zTXt", text),
        chunk(b"zTXt", b"Comment\0\0damaged"),
        chunk(b"iTXt", b"Comment"),
        chunk(b"iCCP", b"name\0\0damaged"),
        chunk(b"iCCP", b"name"),
        chunk(b"eXIf", b"damaged"),
        chunk(b"pHYs", b"1"),
        bytes(damaged),
    ):
        assert shows(with_chunk(content, added)), added[:20]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"damaged", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_damaged_exif_turns_nothing(image: Image.Image, format: str, exif: bytes) -> None:
    assert shows(encoded(image, format, exif=b"Exif\0\0" + exif), within=22)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sound_exif_turns_the_picture(format: str, orientation: int) -> None:
    picture = Image.new("RGB", (24, 16), "white")
    picture.paste("red", (0, 0, 8, 8))
    picture.paste("blue", (16, 8, 24, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = dict[str, dict[str, Any]](JPEG={"quality": 100, "subsampling": 0}, WEBP={"lossless": True}).get(
        format, {}
    )
    wanted = picture.copy()
    wanted.getexif()[0x0112] = orientation
    shown = np.array(ImageOps.exif_transpose(wanted)).astype(int)
    turned = seen(encoded(picture, format, exif=exif, **options))[..., :3].astype(int)
    assert turned.shape == shown.shape
    assert abs(turned - shown).max() <= 4


def test_a_phones_jpeg_with_a_preview_is_its_first_picture(image: Image.Image) -> None:
    content = encoded(image, "MPO", save_all=True, append_images=[image.resize((10, 10))], quality=95)
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    assert shows(content, within=22)


def test_damaged_segments_of_a_jpeg_cost_nothing(image: Image.Image) -> None:
    content = encoded(image, "JPEG", quality=95)
    for kind, body in (
        (0xE2, b"MPF\0damaged"),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\xff"),
        (0xE1, b"Exif\0\0"),
        (0xE0, b"JFIF\0"),
    ):
        segment = bytes([0xFF, kind]) + struct.pack(">H", len(body) + 2) + body
        assert shows(content[:2] + segment + content[2:], within=22), body


def test_a_tiff_is_its_first_page_that_is_no_preview(image: Image.Image) -> None:
    preview = image.resize((20, 20))
    preview.encoderinfo = {"tiffinfo": {254: 1}}
    main_first = encoded(image, "TIFF", save_all=True, append_images=[preview])
    assert shows(main_first)
    image.encoderinfo = {"tiffinfo": {254: 0}}
    preview_first = encoded(image.resize((20, 20)), "TIFF", save_all=True, append_images=[image], tiffinfo={254: 1})
    assert shows(preview_first)


def tiff(samples: np.ndarray[Any, Any], bits: int, photometric: int) -> bytes:
    """Uncompressed, little-endian; samples (H, W) or (H, W, 3) are packed without gaps."""
    height, width, channels = (*samples.shape, 1)[:3]
    packed = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - bits :]
    data = np.packbits(packed.reshape(-1)).tobytes()
    if bits == 16:
        data = samples.astype("<u2").tobytes()
    start = 8 + 2 + 12 * 9 + 4
    sizes = struct.pack("<3H", *[bits] * 3) if channels == 3 else b""
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, start if channels == 3 else bits),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, start + len(sizes)),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + sizes + data


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_tiffs_are_scaled(image: Image.Image, bits: int) -> None:
    most = (1 << bits) - 1
    deep = (np.array(image).astype(int) * most + 127) // 255
    if bits < 16:  # Pillow reads colours of 16 bits itself
        assert shows(tiff(deep, bits, 2), within=1)
    for photometric, sign in ((1, 1), (0, -1)):
        grey = seen(tiff(deep[..., 1], bits, photometric))[..., 0].astype(int)
        assert abs(grey - (np.array(image)[..., 1] if sign == 1 else 255 - np.array(image)[..., 1])).max() <= 1
    with pytest.raises(ImageRejected, match="too-many-pixels"):
        decode_image(tiff(deep[..., 1], bits, 1), ImageLimits(8, 1000, 2**20, None), "logo")


def test_colours_of_16_bits_in_a_tiff_are_scaled(image: Image.Image) -> None:
    _, content = cv2.imencode(".tif", np.array(image)[..., ::-1].astype(np.uint16) * 257)
    assert shows(content.tobytes())


def test_a_bitmap_whose_alpha_is_zero_everywhere_is_opaque(image: Image.Image) -> None:
    data = np.dstack([np.array(image)[::-1, :, ::-1], np.zeros((40, 40), np.uint8)]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 40, 40, 1, 32, 3, len(data), 0, 0, 0, 0) + masks + b"sRGB" + bytes(48)
    assert shows(b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data)


def test_inks_are_inverted_with_and_without_adobes_marker(image: Image.Image) -> None:
    content = encoded(image.convert("CMYK"), "JPEG", quality=100)
    at = content.index(b"\xff\xee")
    bare = content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]
    assert shows(content, within=6)
    assert shows(bare, within=6)


def gamma_profile(*, grey: bool = False) -> bytes:
    """A minimal ICC profile (version 2) with linear light; in colour with sRGB's primaries."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    linear = b"curv\0\0\0\0" + struct.pack(">I", 0)
    name = b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + bytes(78)
    white = xyz(0.9642, 1.0, 0.8249)
    primaries = {
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
    }
    curves = dict.fromkeys((b"kTRC",) if grey else (b"rTRC", b"gTRC", b"bTRC"), linear)
    tags = {b"desc": name, b"wtpt": white} | curves | ({} if grey else primaries)
    at, table, body = 132 + 12 * len(tags), b"", b""
    for kind, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += kind + struct.pack(">II", at + len(body), len(value))
        body += padded
    size = 132 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colours_are_converted_to_srgb(format: str) -> None:
    """Half of linear light is 188 in sRGB."""
    picture = Image.new("RGB", (40, 40), "black")
    picture.paste((128, 128, 128), (8, 8, 40, 40))
    options = dict[str, dict[str, Any]](JPEG={"quality": 100}, WEBP={"lossless": True}).get(format, {})
    rgba = seen(encoded(picture, format, icc_profile=gamma_profile(), **options))
    assert abs(rgba[24, 24, :3].astype(int) - 188).max() <= 1
    assert rgba[0, 0, :3].max() <= 2


def test_transparency_grey_and_palettes_are_converted_too() -> None:
    picture = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    picture.paste((128, 128, 128, 77), (8, 8, 40, 40))
    assert seen(encoded(picture, icc_profile=gamma_profile()))[24, 24].tolist() == [188, 188, 188, 77]
    grey = picture.convert("RGB").convert("L")
    assert seen(encoded(grey, icc_profile=gamma_profile(grey=True)))[24, 24].tolist() == [188, 188, 188, 255]
    palette = picture.convert("RGB").quantize(2)
    assert seen(encoded(palette, icc_profile=gamma_profile()))[24, 24].tolist() == [188, 188, 188, 255]
    assert (
        pixels_of(Image.open(io.BytesIO(encoded(grey, icc_profile=gamma_profile(grey=True)))), LIMITS, "x")[24, 24, 0]
        == 188
    )


def test_a_profile_that_does_not_fit_or_is_srgb_changes_nothing(image: Image.Image) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, gamma_profile(grey=True), b"damaged", gamma_profile()[:200]):
        assert shows(encoded(image, icc_profile=profile))
    assert seen(encoded(image.convert("L"), icc_profile=gamma_profile()))[20, 20, 0] == image.convert("L").getpixel(
        (20, 20)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:6fd5\n",
            "a Git LFS pointer, not the image; `git lfs pull`",
        ),
        (b"GIF89a", "a GIF"),
        (b"\0\0\0\x20ftypavif", "AVIF; save it as PNG"),
        (b"\0\0\0\x18ftypheic", "HEIC; save it as PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG already"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x --><svg/>", "an SVG already"),
        (b"<!DOCTYPE html><html>", "a web page, not the image; download the image itself"),
        (b"%PDF-1.7", "a PDF"),
        (b"8BPS", "a Photoshop file"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"plain text", "no PNG, JPEG, BMP, TIFF or WebP image"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(content: bytes, said: str) -> None:
    with pytest.raises(ImageRejected) as rejected:
        seen(content)
    assert rejected.value.reason == "undecodable"
    assert rejected.value.detail.startswith(f"it is {said}")
