from __future__ import annotations

import numpy as np

from pipeline.vectorizing.reduction import REDUCED_PIXELS, at_size, reduced


def test_small_images_stay_and_large_ones_keep_their_shape_and_colours() -> None:
    small = np.zeros((2048, 2048, 4), np.uint8)
    assert reduced(small) is small
    large = np.full((1500, 6000, 4), (10, 20, 30, 255), np.uint8)
    result = reduced(large)
    assert result.shape[0] * result.shape[1] <= REDUCED_PIXELS
    assert abs(result.shape[1] / result.shape[0] - 4) < 0.01
    assert (result == [10, 20, 30, 255]).all()


def test_the_colour_of_clear_pixels_does_not_run_into_others() -> None:
    rgba = np.zeros((4096, 4096, 4), np.uint8)
    rgba[..., 0] = 255  # hidden red
    rgba[:, 1001:] = (0, 200, 0, 255)
    result = reduced(rgba)
    assert result.shape == (1024, 1024, 4)
    assert (result[:, 250] == (0, 200, 0, 191)).all()
    assert (result[:, 200, 3] == 0).all()


def test_the_svg_of_a_reduced_image_has_its_own_size() -> None:
    svg = '<svg width="100" height="50" viewBox="0 0 100 50"><path d="M0 0"/></svg>'
    answer = {
        "svg": svg,
        "bytes": len(svg),
        "default_bytes": 200,
        "note": None,
        "curve": [{"bytes": len(svg), "svg": svg}],
    }
    shown = at_size(answer, (5000, 10000, 4), (50, 100, 4))
    assert shown["svg"].startswith('<svg width="10000" height="5000" viewBox="0 0 100 50">')
    assert shown["bytes"] == len(shown["svg"]) == shown["curve"][0]["bytes"]
    assert shown["curve"][0]["svg"] == shown["svg"]
    assert shown["default_bytes"] == 204
    assert shown["note"] == "10000 x 5000 pixels were traced at 100 x 50"
    assert at_size(answer, (50, 100, 4), (50, 100, 4)) is answer
