from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.pixels import on_background
from pipeline.data.hashes import BITS, NearHashes, perceptual_hash
from tests.support.drawing import draw

BITS_OF_SETTINGS = 6


def seen(image: Image.Image) -> str:
    return perceptual_hash(on_background(np.array(image.convert("RGBA")), (255, 255, 255)))


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def near_pairs(hashes: list[str], bits: int) -> list[tuple[int, int]]:
    """Index pairs i < j, as they are looked up from i."""
    near = NearHashes(hashes, bits)
    return [(i, j) for i in range(len(hashes)) for j in sorted(near.near(i).tolist()) if i < j]


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
    assert not near_pairs([seen(draw(seed)) for seed in range(60)], BITS_OF_SETTINGS)


def test_different_real_logos_are_not(real_logos: Path) -> None:
    paths = sorted(real_logos.glob("[cgst]*/*.png"))
    pairs = near_pairs([seen(Image.open(path)) for path in paths], BITS_OF_SETTINGS)
    assert len(pairs) <= 2, [(paths[i].name, paths[j].name) for i, j in pairs]


def test_the_same_shape_in_another_colour_is_another_picture() -> None:
    red = draw(3)
    blue = Image.fromarray(np.array(red)[..., [2, 0, 1, 3]])
    assert distance(seen(red), seen(blue)) > BITS_OF_SETTINGS


def test_a_plain_picture_has_a_hash() -> None:
    assert len(seen(Image.new("RGB", (40, 40), "#336699"))) == BITS // 4


FLIPS = st.lists(st.lists(st.integers(0, 9) | st.integers(0, BITS - 1), max_size=12), max_size=30)


@given(FLIPS, st.integers(0, 12) | st.just(64), st.integers(0, 1))
def test_near_ones_are_those_of_a_plain_count(flips: list[list[int]], bits: int, ground: int) -> None:
    """Flips of a few bits among ten, or anywhere, of all zeros or all ones."""
    hashes = [
        f"{sum(1 << bit for bit in set(row)) ^ (ground * n % 2) * (2**BITS - 1):064x}" for n, row in enumerate(flips)
    ]
    near = NearHashes(hashes, bits)
    for i, one in enumerate(hashes):
        wanted = [j for j, other in enumerate(hashes) if j != i and distance(one, other) <= bits]
        assert sorted(near.near(i).tolist()) == wanted


def test_opposites_are_not_near() -> None:
    """256 places differ, which eight bits would count as none."""
    assert near_pairs(["0" * 64, "f" * 64], 64) == []


def test_one_is_found_among_many() -> None:
    rng = np.random.default_rng(0)
    hashes = [rng.bytes(32).hex() for _ in range(2500)]
    hashes[2400] = hashes[7]
    assert near_pairs(hashes, 6) == [(7, 2400)]


def test_of_none_there_is_nothing_to_look_up() -> None:
    NearHashes([], 6)
