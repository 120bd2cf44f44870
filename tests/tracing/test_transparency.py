"""From an image to its file: what is opaque, clear or half transparent stays so."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.records import VISIBLE_DAMAGE, Pixels, TracerParams
from pipeline.tracing.fidelity import Reference, damage
from pipeline.tracing.improvement import picture_of

skia = pytest.importorskip("skia", exc_type=ImportError)

from pipeline.tracing.raster import SkiaDrawing  # noqa: E402

SIDE = 96
SETTINGS = [
    TracerParams(refit=1, simplify=0.2, steps_per_pixel=5, splice_threshold=10),
    TracerParams(refit=1, simplify=0.2, steps_per_pixel=5, splice_threshold=10, prescale=2.0),
]


def distance_from_middle() -> NDArray[np.float64]:
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.asarray(np.hypot(x - SIDE / 2, y - SIDE / 2))


def vectorised(rgba: Pixels, params: TracerParams) -> tuple[str, Pixels]:
    """The file, and it drawn on nothing."""
    svg = picture_of(rgba, params).svg
    return svg, SkiaDrawing(svg).rgba(SIDE, SIDE)


@pytest.mark.parametrize("params", SETTINGS)
def test_half_opacity_is_kept(params: TracerParams) -> None:
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[..., 3] = np.rint(np.clip(36.5 - distance_from_middle(), 0, 1) * 127)
    svg, drawn = vectorised(rgba, params)
    assert 'opacity=".5"' in svg
    assert tuple(drawn[48, 48]) == (0, 0, 0, 128)
    assert damage(Reference.of(rgba), drawn).score <= VISIBLE_DAMAGE


@pytest.mark.parametrize("params", SETTINGS)
def test_an_opaque_image_stays_opaque(params: TracerParams) -> None:
    rgba = np.full((SIDE, SIDE, 4), 255, np.uint8)
    rgba[..., :3] = np.rint(255 - 235 * np.clip(36.5 - distance_from_middle(), 0, 1))[..., np.newaxis]
    assert (vectorised(rgba, params)[1][..., 3] < 255).mean() <= 0.005


@pytest.mark.parametrize("params", SETTINGS)
def test_small_clear_corners_stay_clear(params: TracerParams) -> None:
    """So few transparent pixels that VTracer, left alone, paints them."""
    y, x = np.abs(np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2)
    cover = 8.5 - np.hypot(np.maximum(x - 40, 0), np.maximum(y - 40, 0))
    rgba = np.zeros((SIDE, SIDE, 4), np.uint8)
    rgba[..., 2], rgba[..., 3] = 160, np.rint(np.clip(cover, 0, 1) * 255)
    assert vectorised(rgba, params)[1][[0, 0, -1, -1], [0, -1, 0, -1], 3].tolist() == [0] * 4
