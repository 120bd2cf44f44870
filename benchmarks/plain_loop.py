"""An evaluation as a script would do it: files in, files out, one after the other, with the usual libraries."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import resvg_py
import vtracer
from PIL import Image
from skimage.metrics import structural_similarity

from benchmarks.vtracer_alone import vtracer_arguments
from pipeline.core.pixels import on_background
from pipeline.core.records import Job, Pixels, TracerParams
from pipeline.tracing.preparation import adapt, prepare

WHITE = (255, 255, 255)

Draw = Callable[[str], bytes]
"""The text of an SVG to a PNG of its size, on white."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the loop starts from: the pixels to be traced, and those to be compared with."""

    rgba: Pixels
    reference: Pixels
    params: TracerParams

    @classmethod
    def of(cls, job: Job) -> Picture:
        rgba = job.logo.rgba
        return cls(rgba, on_background(rgba, WHITE), adapt(job.params, rgba))


def plain_loop(pictures: Sequence[Picture], draw: Draw) -> list[float]:
    """SSIM of each; mean squared error is measured and forgotten. No zoom, no bytes, nothing kept between pictures."""
    with TemporaryDirectory() as folder:
        return [_evaluate(picture, draw, Path(folder)) for picture in pictures]


def _evaluate(picture: Picture, draw: Draw, folder: Path) -> float:
    png, svg = folder / "in.png", folder / "out.svg"
    prepared = prepare(picture.rgba, picture.params)
    Image.fromarray(prepared).save(png)
    vtracer.convert_image_to_svg_py(str(png), str(svg), **vtracer_arguments(picture.params))
    drawn = draw(_at_original_size(svg.read_text(encoding="utf-8"), prepared, picture.reference))
    pixels = np.asarray(Image.open(io.BytesIO(drawn)).convert("RGB"))
    ssim = structural_similarity(picture.reference, pixels, channel_axis=2)  # type: ignore[no-untyped-call]
    ((picture.reference.astype(float) - pixels) ** 2).mean()
    return float(ssim)


def _at_original_size(svg: str, prepared: Pixels, reference: Pixels) -> str:
    """An enlarged trace is drawn back at the size of the image that it is compared with."""
    traced, wanted = _size(prepared), _size(reference)
    if traced == wanted:
        return svg
    height, width = prepared.shape[:2]
    return svg.replace(traced, f'{wanted} viewBox="0 0 {width} {height}"', 1)


def _size(pixels: Pixels) -> str:
    return f'width="{pixels.shape[1]}" height="{pixels.shape[0]}"'


def draw_with_resvg(svg: str) -> bytes:
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff"))


def cairo() -> Draw | None:
    """CairoSVG as a `Draw`; None where it is not installed."""
    if find_spec("cairosvg") is None:
        return None
    cairosvg = import_module("cairosvg")
    return lambda svg: bytes(cairosvg.svg2png(bytestring=svg.encode(), background_color="white"))
