"""resvg draws what Skia draws, so that a machine without OpenGL libraries gives the same scores but for rounding."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.records import DEFAULT_PARAMS
from pipeline.tracing.improvement import improve
from pipeline.tracing.preparation import prepare
from pipeline.tracing.raster import DRAWINGS, RenderError, ResvgDrawing, SkiaDrawing
from pipeline.tracing.tracer import encode, trace
from tests.support.fakes import rgba_of


@pytest.mark.skipif(len(DRAWINGS) == 1, reason="Skia needs libEGL and libGL, which are missing here")
@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("prescale", [1.0, 1.5])
def test_both_draw_the_same_picture(scale: int, prescale: float) -> None:
    params = replace(DEFAULT_PARAMS, prescale=prescale, palette=4)
    rgba = rgba_of(3, side=50)
    svg = improve(trace(encode(prepare(rgba, params)), params), rgba, params).svg
    ours = SkiaDrawing(svg).pixels(50 * scale, 50 * scale, (10, 200, 30)).astype(int)
    theirs = ResvgDrawing(svg).pixels(50 * scale, 50 * scale, (10, 200, 30))
    assert ours.std() > 10
    assert np.abs(ours - theirs).mean() < 1.0
    on_nothing = SkiaDrawing(svg).rgba(50 * scale, 50 * scale).astype(int)
    assert np.abs(on_nothing - ResvgDrawing(svg).rgba(50 * scale, 50 * scale)).mean() < 1.0


@pytest.mark.parametrize("text", ["", "no svg", '<svg width="0" height="5">', '<svg width="5" height="5"><path'])
def test_resvg_refuses_what_it_cannot_draw(text: str) -> None:
    with pytest.raises(RenderError):
        ResvgDrawing(text).pixels(5, 5)


def test_without_skia_resvg_takes_its_place() -> None:
    script = (
        "import sys; sys.modules['skia'] = None\n"
        "from pipeline.tracing import raster\n"
        "print(next(iter(raster.DRAWINGS.values())).__name__, next(iter(raster.RASTERISERS.values())))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ResvgDrawing resvg-py")
