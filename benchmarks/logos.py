"""Real logos for the benchmarks."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from itertools import chain, zip_longest
from pathlib import Path

from pipeline.data.categories import categorise, category_of_folder
from pipeline.data.images import read_image
from pipeline.data.probe import measure
from pipeline.errors import ImageRejected
from pipeline.records import Logo
from pipeline.settings import load_settings

PROJECT = Path(__file__).resolve().parent.parent


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
    turns = zip_longest(*(sorted(folder.glob("*.png")) for folder in folders))
    return [path for path in chain.from_iterable(turns) if path is not None]


def real_logos(count: int) -> list[Logo]:
    """The first `count` usable images of `logo_files`, categorised by their folder or from their pixels."""
    settings = load_settings(PROJECT / "params.yaml").data
    logos: list[Logo] = []
    for path in logo_files():
        if len(logos) == count:
            break
        try:
            rgba = read_image(path, settings)
        except ImageRejected:
            continue
        category = category_of_folder(path, settings.folders) or categorise(measure(rgba))[0]
        logos.append(Logo.of(path.stem, rgba, category))
    return logos
