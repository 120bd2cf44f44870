"""Small images of every kind that a tracer may stumble over."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.core.records import CATEGORIES, Logo, Pixels

SIDES = (8, 48)

Kind = Callable[[np.random.Generator, int, int], Pixels]


def small_logos(count: int, seed: int) -> list[Logo]:
    """Each of a kind, a size and a transparency of its own."""
    generators = (np.random.default_rng((seed, number)) for number in range(count))
    return [_logo(number, generator) for number, generator in enumerate(generators)]


def _logo(number: int, generator: np.random.Generator) -> Logo:
    height, width = (int(side) for side in generator.integers(SIDES[0], SIDES[1] + 1, size=2))
    kind = KINDS[number % len(KINDS)]
    transparency = TRANSPARENCIES[number // len(KINDS) % len(TRANSPARENCIES)]
    alpha = transparency(generator, height, width)
    rgba = np.dstack([kind(generator, height, width), alpha])
    return Logo.of(f"{kind.__name__}-{number}", rgba, CATEGORIES[number % len(CATEGORIES)])


def noise(generator: np.random.Generator, height: int, width: int) -> Pixels:
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def two_colours(generator: np.random.Generator, height: int, width: int) -> Pixels:
    """Noise of two colours: as many small patches as there can be."""
    colours: Pixels = generator.integers(0, 256, (2, 3), dtype=np.uint8)
    return np.take(colours, generator.integers(0, 2, (height, width)), axis=0)


def shapes(generator: np.random.Generator, height: int, width: int) -> Pixels:
    """Circles and triangles with soft edges on a plain colour."""
    picture = np.full((height, width, 3), generator.integers(0, 256, 3), dtype=np.uint8)
    for _ in range(int(generator.integers(1, 6))):
        points = generator.integers(0, max(height, width), (3, 2)).astype(np.int32)
        colour = [int(level) for level in generator.integers(0, 256, 3)]
        cv2.circle(picture, [int(p) for p in points[0]], int(points[1, 0]) // 2 + 1, colour, -1, cv2.LINE_AA)
        cv2.fillPoly(picture, [points], colour[::-1], cv2.LINE_AA)
    return picture


def gradient(generator: np.random.Generator, height: int, width: int) -> Pixels:
    """From one colour to another, in any direction."""
    across, down = generator.uniform(-1, 1, 2)
    plane = across * np.linspace(0, 1, width)[None, :] + down * np.linspace(0, 1, height)[:, None]
    share = ((plane - plane.min()) / max(np.ptp(plane), 1e-9))[..., None]
    first, last = generator.integers(0, 256, (2, 3))
    return np.asarray(first * (1 - share) + last * share, dtype=np.uint8)


def checks(generator: np.random.Generator, height: int, width: int) -> Pixels:
    """A board with fields of 1 to 4 pixels."""
    field = int(generator.integers(1, 5))
    board = (np.arange(height)[:, None] // field + np.arange(width)[None, :] // field) % 2
    return np.take(generator.integers(0, 256, (2, 3), dtype=np.uint8), board, axis=0)


def plain(generator: np.random.Generator, height: int, width: int) -> Pixels:
    """One colour, and in half of them a single pixel of another."""
    picture = np.full((height, width, 3), generator.integers(0, 256, 3), dtype=np.uint8)
    if generator.random() < 0.5:
        picture[generator.integers(height), generator.integers(width)] = generator.integers(0, 256, 3)
    return picture


def opaque(generator: np.random.Generator, height: int, width: int) -> Pixels:
    return np.full((height, width), 255, dtype=np.uint8)


def holes(generator: np.random.Generator, height: int, width: int) -> Pixels:
    return np.where(generator.random((height, width)) < generator.random(), 0, 255).astype(np.uint8)


def faded(generator: np.random.Generator, height: int, width: int) -> Pixels:
    return gradient(generator, height, width)[..., 0]


def invisible(generator: np.random.Generator, height: int, width: int) -> Pixels:
    return np.zeros((height, width), dtype=np.uint8)


KINDS: tuple[Kind, ...] = (noise, two_colours, shapes, gradient, checks, plain)
TRANSPARENCIES: tuple[Kind, ...] = (opaque, faded, opaque, holes, opaque, invisible, opaque)
