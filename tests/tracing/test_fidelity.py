"""The estimate of visible damage, on small drawings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import VISIBLE_DAMAGE, Pixels
from pipeline.tracing.fidelity import (
    BACKGROUNDS,
    SHIFTED,
    Damage,
    Reference,
    composite,
    damage,
    damage_map,
    oklab,
)

skia = pytest.importorskip("skia", exc_type=ImportError)

from benchmarks.fidelity.drawings import draw_with_resvg, draw_with_skia, premultiplied, straight  # noqa: E402

SIDE = 64
CARD = '<rect x="8" y="8" width="48" height="48" fill="#1b4fd8"/>'
DOT = '<circle cx="32" cy="32" r="{r}" fill="#ffd21e"/>'


def draw(content: str) -> Pixels:
    return draw_with_skia(_svg(content), SIDE, SIDE)


def _svg(content: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE}">{content}</svg>'


def compare(original: str, drawing: str) -> Damage:
    return damage(Reference.of(straight(draw(original))), draw(drawing))


def test_an_identical_drawing_has_no_damage() -> None:
    assert compare(CARD + DOT.format(r=5), CARD + DOT.format(r=5)) == Damage(0.0, 0.0)


def test_a_lost_dot_is_measured_in_pixels() -> None:
    found = compare(CARD + DOT.format(r=5), CARD)
    assert found.score == pytest.approx(np.pi * 5**2, rel=0.4)
    assert found.delta > 0


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_a_lost_dot_is_visible(radius: float) -> None:
    assert compare(CARD + DOT.format(r=radius), CARD).score > VISIBLE_DAMAGE


def _dot(dose: float) -> tuple[str, str]:
    return CARD + DOT.format(r=dose), CARD


def _colour(dose: float) -> tuple[str, str]:
    return CARD, CARD.replace("#1b4fd8", f"rgb(27,{79 + round(40 * dose)},216)")


def _corner(dose: float) -> tuple[str, str]:
    return CARD, CARD.replace("/>", f' rx="{4 * dose}"/>')


def _stroke(dose: float) -> tuple[str, str]:
    line = '<path d="M10 12L52 50" stroke="#111111" stroke-width="{w}" fill="none"/>'
    return line.format(w=6), line.format(w=6 - dose)


def _wobble(dose: float) -> tuple[str, str]:
    heights = [20 + dose * np.sin(x / 3) for x in range(8, 57)]
    top = "".join(f"L{x} {y:.3f}" for x, y in zip(range(8, 57), heights, strict=True))
    path = '<path d="M8 56{top}L56 56Z" fill="#b01030"/>'
    return path.format(top="L8 20L56 20"), path.format(top=top)


@pytest.mark.parametrize("damaged", [_dot, _colour, _corner, _stroke, _wobble])
def test_more_of_the_same_damage_scores_higher(damaged: Callable[[float], tuple[str, str]]) -> None:
    scores = [compare(*damaged(dose)).score for dose in (0, 0.5, 1, 2, 3, 4)]
    assert scores == sorted(scores)
    assert scores[0] == 0
    assert scores[-1] > VISIBLE_DAMAGE


@pytest.mark.parametrize("colour", ["#000", "#888", "#c81e1e"])
@pytest.mark.parametrize("end", ["52 8", "52 20", "52 33", "40 52", "8 52"])
def test_a_lost_hairline_is_visible(end: str, colour: str) -> None:
    """At any angle, although it is thinner than what an edge may move by in both directions."""
    page = f'<rect width="{SIDE}" height="{SIDE}" fill="#fff"/>'
    line = f'<path d="M8 8L{end}" stroke="{colour}" stroke-width="1"/>'
    assert compare(page + line, page).score > VISIBLE_DAMAGE


def test_a_hairline_that_is_lost_on_a_dark_page_alone_is_visible() -> None:
    line = '<path d="M8 8L52 33" stroke="#20242c" stroke-width="1"/>'
    assert compare(line, "").score > VISIBLE_DAMAGE


def test_two_colours_merged_are_visible() -> None:
    right = '<rect x="32" y="8" width="24" height="48" fill="{}"/>'
    assert compare(CARD + right.format("#1b7fd8"), CARD).score > 100


def test_two_similar_colours_merged_are_visible_if_their_areas_are_large() -> None:
    fold = '<rect x="32" y="8" width="{w}" height="48" fill="#3a66dd"/>'
    assert VISIBLE_DAMAGE < compare(CARD + fold.format(w=20), CARD).score < 100
    assert compare(CARD + fold.format(w=2), CARD).score < VISIBLE_DAMAGE


LOGO = CARD + DOT.format(r=9) + '<path d="M12 50L30 14L36 50Z" fill="#ffffff" opacity=".8"/>'


def test_another_renderer_is_harmless() -> None:
    reference = Reference.of(straight(draw(LOGO)))
    assert damage(reference, draw_with_resvg(_svg(LOGO), SIDE, SIDE)).score == 0


@pytest.mark.parametrize("step", [(0.005, 0.005), (0.5, 0), (0, 0.5), (0.5, 0.5), (-0.5, 0.5)])
def test_edges_that_move_by_half_a_pixel_at_most_are_harmless(step: tuple[float, float]) -> None:
    moved = f'<g transform="translate({step[0]} {step[1]})">{LOGO}</g>'
    assert compare(LOGO, moved).score < VISIBLE_DAMAGE


def test_an_opaque_corner_is_damage_although_it_is_white() -> None:
    assert compare(CARD, f'<rect width="6" height="6" fill="#fff"/>{CARD}').score > 10


def test_a_lost_white_shape_on_nothing_is_damage() -> None:
    white = '<rect x="2" y="58" width="30" height="4" fill="#fff"/>'
    assert compare(CARD + white, CARD).score > 50


def test_a_hole_in_an_opaque_image_is_damage() -> None:
    page = f'<rect width="{SIDE}" height="{SIDE}" fill="#fff"/>'
    hole = f'<path d="M0 0H{SIDE}V{SIDE}H0ZM20 20V40H40V20Z" fill="#fff"/>'
    assert compare(page, page).score == 0
    assert compare(page, hole).score == pytest.approx(400, rel=0.25)


def test_delta_is_the_mean_distance_on_white() -> None:
    page = f'<rect width="{SIDE}" height="{SIDE}" fill="{{}}"/>'
    assert compare(page.format("#000"), page.format("#fff")).delta == pytest.approx(100, abs=0.1)
    assert compare("", page.format("#fff")).delta == 0


def test_the_map_adds_up_to_the_score_where_both_backgrounds_agree() -> None:
    reference = Reference.of(straight(draw(CARD + DOT.format(r=5))))
    assert damage_map(reference, draw(CARD)).sum() == pytest.approx(damage(reference, draw(CARD)).score, rel=0.01)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        damage(Reference.of(straight(draw(CARD))), np.zeros((SIDE, SIDE + 1, 4), np.uint8))


def test_memory_layout_changes_no_bit() -> None:
    rng = np.random.default_rng(3)
    left, right = (premultiplied(rng.integers(0, 256, (41, 53, 4), dtype=np.uint8)) for _ in range(2))
    expected = damage(Reference.of(left), right)
    for offset in range(1, 9):
        buffer = np.zeros(right.size + 64, np.uint8)
        view = buffer[offset : offset + right.size].reshape(right.shape)
        view[...] = right
        wide = np.zeros((41, 53 + offset, 4), np.uint8)
        wide[:, offset:] = right
        assert damage(Reference.of(left), view) == expected
        assert damage(Reference.of(left), wide[:, offset:]) == expected


def test_oklab_is_that_of_its_author() -> None:
    """Of white, black, and the primaries as https://bottosson.github.io/posts/oklab gives them, to three digits."""
    rgb = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    expected = [[1, 0, 0], [0, 0, 0], [0.628, 0.225, 0.126], [0.866, -0.234, 0.179], [0.452, -0.032, -0.312]]
    np.testing.assert_allclose(oklab(rgb).T, 100 * np.array(expected), atol=0.06)


@given(st.integers(0, 2**32 - 1))
def test_damage_is_an_area_of_the_canvas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    left, right = rng.integers(0, 256, (2, height, width, 4), dtype=np.uint8)
    right = premultiplied(right)
    found = damage(Reference.of(left), right)
    assert 0 <= found.score <= height * width
    assert found == damage(Reference.of(left), right)
    assert damage(Reference.of(left), premultiplied(left)).score == 0


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_compositing_rounds_to_the_nearest(red: int, green: int, blue: int, alpha: int) -> None:
    pixel = premultiplied(np.array([[[red, green, blue, alpha]]], np.uint8))
    for background in BACKGROUNDS:
        exact = pixel[0, 0, :3] + np.array(background) * (255 - alpha) / 255
        assert np.abs(composite(pixel, background)[0, 0, :3] - exact).max() <= 0.5 + 1e-9


def test_a_flat_colour_error_counts_once_it_is_visible() -> None:
    page = f'<rect width="{SIDE}" height="{SIDE}" fill="rgb({{0}},{{0}},{{0}})"/>'
    for level in range(128, 200, 4):
        found = compare(page.format(128), page.format(level))
        assert (found.score > 0) == (found.delta > SHIFTED)


def test_golden_values() -> None:
    reference = Reference.of(straight(draw(CARD + DOT.format(r=5))))
    assert reference.nbytes == 2 * (SIDE * SIDE * 9 + 12 * (SIDE + 2) ** 2) + SIDE * SIDE * 5
    assert damage(reference, draw(CARD)).score == GOLDEN


GOLDEN = 77.0
