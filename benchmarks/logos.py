"""Real logos for the benchmarks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, files
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from pipeline.core.errors import ImageRejected
from pipeline.core.records import CATEGORIES, Category, Logo, Pixels
from pipeline.data.categories import categorise, category_of_folder
from pipeline.data.images import read_image
from pipeline.data.probe import measure
from pipeline.settings.params import load_settings

PROJECT = Path(__file__).resolve().parent.parent
SIDE = 256

T = TypeVar("T")


def logos_folder() -> Path:
    """TRACEWRIGHT_LOGOS, else ../shared/logos beside the repository. Raises SystemExit when there is none."""
    folder = Path(os.environ.get("TRACEWRIGHT_LOGOS", PROJECT.parent / "shared" / "logos"))
    if not folder.is_dir():
        raise SystemExit(f"{folder}: no such folder; set TRACEWRIGHT_LOGOS to a folder of sorted logos")
    return folder


def logo_files() -> list[Path]:
    """All PNG files of `logos_folder`, its folders in turn, or else of the package `diagrams`."""
    try:
        folders = sorted(path for path in logos_folder().iterdir() if path.is_dir())
    except SystemExit:
        try:
            package = files("diagrams") or []
        except PackageNotFoundError:
            raise SystemExit("no logos: set TRACEWRIGHT_LOGOS, or `pip install diagrams`") from None
        return sorted(Path(str(file.locate())) for file in package if file.suffix == ".png")
    return _in_turns(sorted(folder.glob("*.png")) for folder in folders)


def _in_turns(groups: Iterable[Iterable[T]]) -> list[T]:
    """The first of each group, then the second of each, and so on; groups may differ in length."""
    return [item for item in chain.from_iterable(zip_longest(*groups)) if item is not None]


def real_logos(count: int) -> list[Logo]:
    """The first `count` usable images of `logo_files`, categorised by their folder or from their pixels."""
    return list(islice(_usable_logos(), count))


def large_logos(count: int) -> list[Logo]:
    """At most `count` logos as they are, at least 500 pixels on their longer side."""
    return list(islice((logo for logo in _usable_logos() if max(logo.width, logo.height) >= 500), count))


def square_logos(count: int, side: int = SIDE) -> list[Logo]:
    """At most `count` logos at side x side pixels, as many of each category, the categories in turn.

    Those that fit as they are come first: enlarging or reducing one gives its edges shades that no logo has, and these
    cost VTracer several times the time.
    """
    share = -(-count // len(CATEGORIES))
    found: dict[Category, list[Logo]] = {category: [] for category in CATEGORIES}
    for logo in sorted(_usable_logos(), key=lambda logo: not _fits(logo.width, logo.height, side)):
        if len(found[logo.category]) < share:
            found[logo.category].append(Logo.of(logo.name, at_side(logo.rgba, side), logo.category))
    return _in_turns(found.values())[:count]


def at_side(rgba: Pixels, side: int = SIDE) -> Pixels:
    """In the middle of side x side pixels, with bars of nothing or of the corner's colour; resized where it must be."""
    height, width = rgba.shape[:2]
    scale = 1.0 if _fits(width, height, side) else side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    bars = (255, 255, 255, 0) if rgba[..., 3].min() < 255 else tuple(int(level) for level in rgba[0, 0])
    square = Image.new("RGBA", (side, side), bars)
    square.paste(Image.fromarray(rgba).resize(size, Image.Resampling.LANCZOS), _middle(size, side))
    return np.array(square)


def _fits(width: int, height: int, side: int) -> bool:
    """Neither too large for a square nor lost in it."""
    return 0.75 * side <= max(width, height) <= side


def _middle(size: tuple[int, int], side: int) -> tuple[int, int]:
    return (side - size[0]) // 2, (side - size[1]) // 2


def _usable_logos() -> Iterator[Logo]:
    settings = load_settings(PROJECT / "params.yaml").data
    for path in logo_files():
        try:
            rgba = read_image(path, settings)
        except ImageRejected:
            continue
        category = category_of_folder(path, settings.folders) or categorise(measure(rgba))[0]
        yield Logo.of(path.stem, rgba, category)
