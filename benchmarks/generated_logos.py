"""Small pictures in any number, the same every time: what a very large folder of logos is stood in for by.

Drawn in about a third of a millisecond each, in the category's folder and sub-folders of 500. Of every hundred, two are
copies of another under a name of their own, three are another's variant (paler, recompressed; `NAME-light.jpg`), two
are broken: a picture cut in half, and no picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from pipeline.core.records import Pixels

FOLDERS = ("simple_geometric", "text_based", "gradients", "complex")
PER_FOLDER = 500
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
COPIES, VARIANTS, BROKEN = range(2), range(2, 5), range(5, 7)
"""Which of every hundred numbers are what; all others are pictures of their own."""


def make_logos(root: Path, count: int, workers: int, start: int = 0) -> None:
    """Numbers `start` to `start + count` below `root`, by so many processes."""
    numbers = range(start, start + count)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for _ in pool.map(partial(write_logo, root), numbers, chunksize=500):
            pass


def write_logo(root: Path, number: int, drawn_as: int | None = None) -> None:
    """drawn_as: the number of the picture, where it is another."""
    path = path_of(root, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content_of(number if drawn_as is None else drawn_as))


def path_of(root: Path, number: int) -> Path:
    folder = root / FOLDERS[number % len(FOLDERS)] / f"{number // (PER_FOLDER * len(FOLDERS)):04d}"
    if number % 100 in VARIANTS:
        return folder / f"{name_of(model_of(number))}-light.jpg"
    return folder / f"{name_of(number)}.png"


def name_of(number: int) -> str:
    """A brand's: no two numbers share one."""
    name = ""
    while number or not name:
        number, syllable = divmod(number, len(SYLLABLES))
        name += SYLLABLES[syllable]
    return f"{name}x"


def model_of(number: int) -> int:
    """Whose copy or variant a number is: a picture of its own, of the same category."""
    return number - number % 100 + 20 + 4 * (number % 100)


def content_of(number: int) -> bytes:
    """The file's bytes."""
    kind = number % 100
    if kind in COPIES:
        return _png(draw(model_of(number)))
    if kind in VARIANTS:
        paler = (255 - 0.95 * (255.0 - draw(model_of(number)))).astype(np.uint8)
        return bytes(cv2.imencode(".jpg", paler, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
    if kind == BROKEN[0]:
        content = _png(draw(number))
        return content[: len(content) // 2]
    return b"no picture\n" if kind == BROKEN[1] else _png(draw(number))


def draw(number: int) -> Pixels:
    """(side, side, 3), of 64 to 128 pixels."""
    rng = np.random.default_rng(number)
    side = int(rng.integers(64, 129))
    image = np.full((side, side, 3), 255, np.uint8)
    kind = FOLDERS[number % len(FOLDERS)]
    if kind == "gradients":
        shades = np.linspace(rng.integers(0, 256, 3), rng.integers(0, 256, 3), side * 2 // 3).astype(np.uint8)
        image[side // 6 : side // 6 + len(shades), side // 6 : -side // 6] = shades[:, None]
    for corner, size, colour in _shapes(rng, side, 9 if kind == "complex" else 3):
        if rng.random() < 0.5:
            cv2.rectangle(image, corner, (corner[0] + size[0], corner[1] + size[1]), colour, -1, cv2.LINE_AA)
        else:
            centre = (corner[0] + size[0] // 2, corner[1] + size[1] // 2)
            axes = (size[0] // 2 + 1, size[1] // 2 + 1)
            cv2.ellipse(image, centre, axes, float(rng.integers(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    if kind == "text_based":
        letters = "".join(chr(65 + c) for c in rng.integers(0, 26, 4))
        cv2.putText(image, letters, (3, side // 2), cv2.FONT_HERSHEY_DUPLEX, side / 95, (20, 20, 20), 1, cv2.LINE_AA)
    return image


def _shapes(
    rng: np.random.Generator, side: int, count: int
) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int, int]]]:
    """A corner, a width and height, and a colour of each."""
    for x, y, width, height in rng.integers([0, 0, side // 8, side // 8], side * 5 // 8, (count, 4)).tolist():
        red, green, blue = rng.integers(0, 230, 3).tolist()
        yield (x, y), (width, height), (red, green, blue)


def _png(image: Pixels) -> bytes:
    return bytes(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
