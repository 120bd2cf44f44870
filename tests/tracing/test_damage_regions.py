"""What is wrong with a drawing, on synthetic damage."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.core.facts.comparison import DamageKind
from pipeline.core.records import Pixels
from pipeline.tracing.damage_regions import MOST_REGIONS, damaged_regions
from pipeline.tracing.fidelity import Reference, damage

SIDE, SCALE = 96, 8
BLUE, YELLOW, RED, WHITE, CLEAR = (27, 79, 216, 255), (255, 210, 30, 255), (200, 30, 30, 255), (255,) * 4, (0,) * 4

Disc = tuple[float, float, float, tuple[int, ...]]
"""x, y, radius, colour."""


def discs(*shapes: Disc, ground: tuple[int, ...] = WHITE) -> Pixels:
    """Anti-aliased, premultiplied."""
    big = np.full((SIDE * SCALE, SIDE * SCALE, 4), ground, np.uint8)
    for x, y, radius, colour in shapes:
        cv2.circle(big, (round(x * SCALE), round(y * SCALE)), round(radius * SCALE), colour, -1)
    return cv2.resize(big, (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def straight(premultiplied: Pixels) -> Pixels:
    return cv2.cvtColor(premultiplied, cv2.COLOR_mRGBA2RGBA)  # type: ignore[return-value]


BODY: Disc = (48, 48, 30, BLUE)
TWO_DOTS: tuple[Disc, ...] = (BODY, (40, 40, 4, YELLOW), (58, 56, 6, YELLOW))
CASES: dict[str, tuple[Pixels, Pixels, DamageKind]] = {
    "one of two dots": (discs(*TWO_DOTS), discs(*TWO_DOTS[:2]), "detail"),
    "two colours merged": (discs(BODY, (48, 48, 12, RED)), discs(BODY), "colour"),
    "a part recoloured": (discs(BODY, (48, 48, 12, RED)), discs(BODY, (48, 48, 12, YELLOW)), "colour"),
    "a larger outline": (discs(BODY), discs((48, 48, 32.5, BLUE)), "edge"),
    "a moved part": (discs(BODY, (48, 48, 12, YELLOW)), discs(BODY, (50.5, 48, 12, YELLOW)), "edge"),
    "an opaque background": (discs(BODY, ground=CLEAR), discs(BODY), "transparency"),
    "a filled hole": (discs(BODY, (48, 48, 12, CLEAR), ground=CLEAR), discs(BODY, ground=CLEAR), "transparency"),
    "a spot too many": (discs(BODY), discs(BODY, (48, 48, 2.5, YELLOW)), "artefact"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_named(name: str) -> None:
    image, drawing, kind = CASES[name]
    regions = damaged_regions(straight(image), drawing)
    assert regions[0].kind == kind
    assert damaged_regions(straight(image), image) == []


def test_regions_are_bounded_and_the_worst_comes_first() -> None:
    image = discs(*TWO_DOTS)
    large, small = damaged_regions(straight(image), discs(BODY))
    assert (large.x, large.y, large.width, large.height) == pytest.approx((52, 50, 12, 12), abs=2)
    assert (small.x, small.y, small.width, small.height) == pytest.approx((36, 36, 8, 8), abs=2)
    total = damage(Reference.of(straight(image)), discs(BODY)).score
    assert large.damage + small.damage == pytest.approx(total, rel=0.02)


def test_many_regions_are_cut() -> None:
    dots = [(x, y, 2.0, RED) for x in range(8, 96, 16) for y in range(8, 96, 16)]
    assert len(damaged_regions(straight(discs(*dots)), discs())) == MOST_REGIONS
