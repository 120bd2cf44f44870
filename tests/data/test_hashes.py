from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.hashes import BITS, near_pairs, perceptual_hash
from pipeline.pixels import on_background
from tests.data.drawing import draw

BITS_OF_SETTINGS = 6


def seen(image: Image.Image) -> str:
    return perceptual_hash(on_background(np.array(image.convert("RGBA")), (255, 255, 255)))


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def recompressed(image: Image.Image) -> Image.Image:
    flat = Image.new("RGBA", image.size, "white")
    flat.alpha_composite(image)
    stream = io.BytesIO()
    flat.convert("RGB").save(stream, "JPEG", quality=80)
    return Image.open(stream)


def dimmed(image: Image.Image) -> Image.Image:
    pixels = np.array(image).astype(float)
    pixels[..., :3] *= 0.95
    return Image.fromarray(pixels.astype(np.uint8))


VARIANTS = {
    "larger": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC),
    "smaller": lambda image: image.resize((image.width * 4 // 5, image.height * 4 // 5), Image.Resampling.LANCZOS),
    "recompressed": recompressed,
    "dimmed": dimmed,
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_near_duplicates(variant: str) -> None:
    distances = [distance(seen(draw(seed, 96)), seen(VARIANTS[variant](draw(seed, 96)))) for seed in range(25)]
    assert sum(d <= BITS_OF_SETTINGS for d in distances) >= 24, distances


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_real_logos_are_near_duplicates(variant: str, real_logos: Path) -> None:
    paths = sorted(real_logos.glob("[cgst]*/*.png"))[::9]
    images = [Image.open(path).convert("RGBA") for path in paths]
    near = [distance(seen(image), seen(VARIANTS[variant](image))) <= BITS_OF_SETTINGS for image in images]
    assert np.mean(near) >= 0.9


def test_others_are_not() -> None:
    assert not list(near_pairs([seen(draw(seed)) for seed in range(60)], BITS_OF_SETTINGS))


def test_different_real_logos_are_not(real_logos: Path) -> None:
    paths = sorted(real_logos.glob("[cgst]*/*.png"))
    pairs = list(near_pairs([seen(Image.open(path)) for path in paths], BITS_OF_SETTINGS))
    assert len(pairs) <= 2, [(paths[i].name, paths[j].name) for i, j in pairs]


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    red = draw(3)
    blue = Image.fromarray(np.array(red)[..., [2, 0, 1, 3]])
    assert distance(seen(red), seen(blue)) > BITS_OF_SETTINGS


def test_a_plain_picture_has_a_hash() -> None:
    assert len(seen(Image.new("RGB", (40, 40), "#336699"))) == BITS // 4


@given(st.lists(st.integers(0, 7), max_size=40), st.integers(0, 12))
def test_pairs_are_those_of_a_plain_count(flips: list[int], bits: int) -> None:
    rng = np.random.default_rng(len(flips))
    hashes = [f"{sum(1 << int(b) for b in set(rng.integers(0, 12, n).tolist())):064x}" for n in flips]
    wanted = {
        (i, j) for i in range(len(hashes)) for j in range(i + 1, len(hashes)) if distance(hashes[i], hashes[j]) <= bits
    }
    found = list(near_pairs(hashes, bits))
    assert set(found) == wanted
    assert len(found) == len(wanted)


def test_pairs_are_found_across_blocks() -> None:
    rng = np.random.default_rng(0)
    hashes = [rng.bytes(32).hex() for _ in range(2500)]
    hashes[2400] = hashes[7]
    assert list(near_pairs(hashes, 6)) == [(7, 2400)]
