"""Pictures that differ."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from pipeline.core.records import Logo


def draw(seed: int, side: int = 64) -> Image.Image:
    """RGBA with anti-aliased shapes on nothing; another picture for every seed."""
    rng = np.random.default_rng(seed)
    big = side * 4
    image = Image.new("RGBA", (big, big), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = (int(v) for v in rng.integers(0, big // 2, 2))
        w, h = (int(v) for v in rng.integers(big // 8, big // 2, 2))
        red, green, blue = (int(c) for c in rng.integers(0, 200, 3))
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + w, y + h), fill=(red, green, blue, 255))
    return image.resize((side, side), Image.Resampling.BOX)


def drawn(side: int, background: tuple[int, int, int, int]) -> Logo:
    """A disc, a bar and a ring with anti-aliased edges."""
    big = side * 4
    image = Image.new("RGBA", (big, big), background)
    pen = ImageDraw.Draw(image)
    pen.ellipse((big // 8, big // 8, big * 6 // 8, big * 6 // 8), fill=(200, 30, 40, 255))
    pen.rectangle((big // 3, big // 2, big * 7 // 8, big * 7 // 8), fill=(20, 60, 180, 255))
    pen.ellipse((big // 4, big // 4, big // 2, big // 2), outline=(250, 210, 0, 255), width=big // 24)
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BOX))
    return Logo.of(f"drawn-{side}", pixels, "simple")
