from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import ImageRejected
from pipeline.core.records import Pixels
from pipeline.data.images import (
    ImageLimits,
    PassedOver,
    decode,
    decode_image,
    list_images,
    load_logo,
    path_of,
    path_text,
    read_image,
)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def reason(content: bytes, limits: ImageLimits) -> str:
    with pytest.raises(ImageRejected) as rejected:
        decode_image(content, limits, "some/logo.png")
    assert rejected.value.path == "some/logo.png"
    assert str(rejected.value).startswith("some/logo.png: ")
    assert rejected.value.detail
    return rejected.value.reason


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.fixture
def image(picture: Pixels) -> Image.Image:
    return Image.fromarray(picture)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels_back(format: str, image: Image.Image, limits: ImageLimits) -> None:
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    source = image.convert("RGB") if format == "BMP" else image
    wanted = np.array(source.convert("RGBA"))
    assert (decode_image(encoded(source, format, **options), limits, "x") == wanted).all()


def test_a_jpeg_is_opaque(image: Image.Image, limits: ImageLimits) -> None:
    rgba, mode = decode(encoded(image.convert("RGB"), "JPEG", quality=95), limits, "x")
    assert mode == "RGB"
    assert rgba.dtype == np.uint8
    assert (rgba[..., 3] == 255).all()


def test_the_content_decides_not_the_suffix(image: Image.Image, limits: ImageLimits, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(image))
    assert (read_image(tmp_path / "a.jpg", limits) == np.array(image)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "CMYK", "YCbCr"])
def test_every_mode_becomes_what_pillow_shows(mode: str, image: Image.Image, limits: ImageLimits) -> None:
    format = "PNG" if mode in ("1", "L", "LA", "P", "RGB") else "TIFF"
    source = image.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr", "1", "P") else image.convert(mode)
    rgba, stored = decode(encoded(source, format), limits, "x")
    assert stored in (mode, "RGB", "P")
    wanted = source.convert("RGBA") if mode not in ("CMYK", "YCbCr") else source.convert("RGB").convert("RGBA")
    assert np.abs(rgba.astype(int) - np.array(wanted).astype(int)).max() <= 4


def test_a_palette_keeps_its_transparency(image: Image.Image, limits: ImageLimits) -> None:
    source = Image.new("P", (40, 40), 0)
    source.putpalette([255, 0, 0, 0, 0, 255])
    source.paste(1, (10, 10, 20, 20))
    rgba = decode_image(encoded(source, transparency=0), limits, "x")
    assert rgba[0, 0, 3] == 0
    assert rgba[15, 15].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_16_bits_are_scaled_not_cut(colour_type: int, limits: ImageLimits) -> None:
    """A ramp over all of 16 bits becomes a ramp over all of 8."""
    ramp = np.linspace(0, 65535, 64).round().astype(">u2")
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    row = np.repeat(ramp[:, None], channels, axis=1)
    if channels in (2, 4):
        row[:, -1] = 65535
    rgba = decode_image(png(64, 40, 16, colour_type, (b"\0" + row.tobytes()) * 40), limits, "x")
    assert np.abs(rgba[7, :, 0].astype(int) - np.linspace(0, 255, 64)).max() <= 1
    assert (rgba[..., 3] == 255).all()


def test_a_transparent_grey_of_16_bits_is_transparent(limits: ImageLimits) -> None:
    row = np.full(40, 1000, dtype=">u2")
    row[20:] = 50_000
    content = png(40, 40, 16, 0, (b"\0" + row.tobytes()) * 40)
    at = content.index(b"IDAT") - 4
    rgba = decode_image(content[:at] + chunk(b"tRNS", struct.pack(">H", 1000)) + content[at:], limits, "x")
    assert rgba[0, 0, 3] == 0
    assert rgba[0, 30].tolist() == [195, 195, 195, 255]


def test_exif_turns_the_picture(image: Image.Image, limits: ImageLimits) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(encoded(image, exif=exif), limits, "x")
    assert (turned == np.rot90(np.array(image), -1)).all()


def test_a_bad_checksum_is_seen(image: Image.Image, limits: ImageLimits) -> None:
    content = bytearray(encoded(image))
    end_of_data = content.index(b"IEND") - 8
    content[end_of_data] ^= 0xFF  # the checksum of the pixels; the pixels themselves are whole
    assert reason(bytes(content), limits) == "checksum"


@pytest.mark.parametrize("length", [4, 20, 60, 200])
def test_a_cut_file_is_rejected(length: int, image: Image.Image, limits: ImageLimits) -> None:
    assert reason(encoded(image)[:length], limits) in ("undecodable", "checksum")


@given(seed=st.integers(0, 2**32 - 1), format=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP"]))
def test_damage_never_ends_in_anything_but_a_rejection(seed: int, format: str) -> None:
    rng = np.random.default_rng(seed)
    limits = ImageLimits(8, 100_000, 100_000, "#ffffff")
    picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    content = bytearray(encoded(picture, format))
    for _ in range(rng.integers(1, 12)):
        content[rng.integers(len(content))] = rng.integers(256)
    try:
        rgba = decode_image(bytes(content), limits, "x")
    except ImageRejected:
        return
    assert rgba.dtype == np.uint8
    assert rgba.shape[2] == 4


def test_other_formats_are_not_opened(image: Image.Image, limits: ImageLimits) -> None:
    assert reason(encoded(image.convert("RGB"), "PPM"), limits) == "undecodable"
    assert reason(encoded(image.convert("RGB"), "GIF"), limits) == "undecodable"
    assert reason(b"<svg xmlns='http://www.w3.org/2000/svg'/>", limits) == "undecodable"


def test_32_bit_samples_are_rejected(limits: ImageLimits) -> None:
    floats = Image.fromarray(np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40))
    assert reason(encoded(floats, "TIFF"), limits) == "undecodable"


def test_small_large_and_heavy(image: Image.Image, limits: ImageLimits) -> None:
    assert reason(encoded(image.resize((31, 200))), limits) == "too-small"
    assert decode_image(encoded(image.resize((32, 200))), limits, "x").shape == (200, 32, 4)
    assert reason(encoded(image), replace(limits, max_pixels=64 * 64 - 1)) == "too-many-pixels"
    content = encoded(image)
    assert reason(content, replace(limits, max_file_bytes=len(content) - 1)) == "too-many-bytes"
    assert decode_image(content, replace(limits, max_file_bytes=len(content)), "x").any()


def test_a_heavy_file_is_not_read_whole(image: Image.Image, limits: ImageLimits, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    with pytest.raises(ImageRejected, match="too-many-bytes"):
        read_image(tmp_path / "a.png", replace(limits, max_file_bytes=size - 1))
    assert read_image(tmp_path / "a.png", replace(limits, max_file_bytes=size)).any()


def test_a_bomb_is_not_decoded(limits: ImageLimits) -> None:
    assert reason(png(20_000, 20_000, 8, 0, b""), limits) == "bomb"
    assert reason(png(10_000, 10_000, 8, 0, b""), limits) == "bomb"


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_animations_are_rejected(format: str, image: Image.Image, limits: ImageLimits) -> None:
    second = image.rotate(90)
    assert reason(encoded(image, format, save_all=True, append_images=[second]), limits) == "animated"


def test_blank_is_what_shows_one_colour(limits: ImageLimits) -> None:
    clear = np.zeros((40, 40, 4), dtype=np.uint8)
    clear[5:9, 5:9, :3] = 77
    assert reason(encoded(Image.fromarray(clear)), limits) == "blank"
    white_on_clear = clear.copy()
    white_on_clear[10:20, 10:20] = 255
    content = encoded(Image.fromarray(white_on_clear))
    assert reason(content, limits) == "blank"
    assert decode_image(content, replace(limits, background="#000000"), "x").any()
    dot = np.full((40, 40, 4), 255, dtype=np.uint8)
    dot[13, 13, 0] = 254
    assert decode_image(encoded(Image.fromarray(dot)), limits, "x")[13, 13, 0] == 254


def test_what_is_no_file_is_unreadable(tmp_path: Path, limits: ImageLimits) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "missing.png"):
        with pytest.raises(ImageRejected, match="unreadable"):
            read_image(tmp_path / name, limits)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageRejected, match="empty"):
        read_image(tmp_path / "empty.png", limits)


def test_images_are_found_in_all_folders_sorted(logos: Callable[..., Path]) -> None:
    root = logos("b/x.PNG", "a.webp", "b/c/d.tif", ".hidden/e.png", "b/.f.png")
    (root / "notes.txt").write_text("no image")
    (root / "folder.png").mkdir()
    (root / "logo.svg").write_text("<svg/>")
    passed_over = PassedOver()
    assert list_images(root, passed_over) == ([Path("a.webp"), Path("b/c/d.tif"), Path("b/x.PNG")], [])
    assert (passed_over.count, passed_over.names) == (1, ["notes.txt"])
    for number in range(9):
        passed_over.add(Path(f"{number}.gif"))
    assert str(passed_over).endswith(": notes.txt, 0.gif, 1.gif, 2.gif, 3.gif and 5 more")


def test_linked_files_are_files_and_linked_folders_are_not_entered(logos: Callable[..., Path], tmp_path: Path) -> None:
    root = logos("a.png", "in/b.png")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/c.png").write_bytes((root / "a.png").read_bytes())
    (root / "file.png").symlink_to(tmp_path / "outside/c.png")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "up.png").symlink_to("../outside/c.png")
    (root / "inside.png").symlink_to("in/b.png")
    (root / "loop").symlink_to(root)
    (root / "gone.png").symlink_to("nowhere.png")
    found, rejected = list_images(root)
    assert list(map(str, found)) == ["a.png", "file.png", "gone.png", "in/b.png", "inside.png", "up.png"]
    assert [(r.path, r.reason) for r in rejected] == [("folder", "link")]


def test_a_linked_root_is_a_root(logos: Callable[..., Path], tmp_path: Path) -> None:
    root = logos("a.png")
    (root / "b.png").symlink_to("a.png")
    (tmp_path / "linked").symlink_to(root)
    assert list_images(tmp_path / "linked") == ([Path("a.png"), Path("b.png")], [])


ODD = ["ünï 🎨.png", "new\nline.png", "back\\slash.png", "\\xff.png", "%41;`$(x).png", "ж" * 125 + "x.png"]


@pytest.mark.parametrize("name", [*ODD, os.fsdecode(b"caf\xe9\xff.png")])
def test_odd_names_are_read_under_a_name_that_any_file_can_hold(
    name: str, logos: Callable[..., Path], limits: ImageLimits
) -> None:
    root = logos("in/" + name)
    [found] = list_images(root)[0]
    text = path_text(found)
    text.encode("utf-8")
    assert path_of(text) == Path("in") / name
    logo = load_logo(root, text, "simple", limits)
    assert (logo.name, logo.category, logo.width) == (text, "simple", 64)


@given(st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw and b"/" not in raw and raw != b"."))
def test_path_text_is_reversible_and_different_for_different_paths(raw: bytes) -> None:
    path = Path(os.fsdecode(raw))
    assert os.fsencode(path_of(path_text(path))) == os.fsencode(path)


def test_ordinary_paths_are_their_own_text() -> None:
    assert path_text(Path("aws/compute/ec2 (1).png")) == "aws/compute/ec2 (1).png"
