"""Where a drawing is damaged, and what is wrong there: a lost colour, a lost detail, a moved edge, lost transparency.

The damaged pixels of `tracing.fidelity` within 2 pixels of each other are one region. What is wrong with it is read off
its pixels, whose colours are compared on a light and on a dark background at once:

- Most colours of the image are found in the drawing within 3 pixels, and the other way round: an edge moved.
- They are found, but the drawing has colours there that the image has not: an artefact.
- They are not found, and the drawing is more opaque there: transparency was lost.
- They are not found, and the drawing has them nowhere at all: a colour was lost. Otherwise a detail was.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.facts.comparison import DamagedRegion, DamageKind
from pipeline.core.records import Pixels
from pipeline.tracing.fidelity import BACKGROUNDS, NOTICED, Floats, Reference, composite, damage_map, oklab

MOST_REGIONS = 12
LEAST_DAMAGE = 0.5  # pixels; a smaller region is dust beside the one that was seen
NEAR = 3  # pixels in which a colour still counts as there
MOST_LOST = 0.35  # of a region's pixels, from which something is lost rather than moved
MORE_OPAQUE = 48  # of 255
LEAST_SHARE = 0.0005  # of the drawing, from which it has a colour

Looks = Floats
"""float32 (6, H, W): OKLab x 100 on the light background, then on the dark one."""


def damaged_regions(rgba: Pixels, drawing: Pixels) -> list[DamagedRegion]:
    """The worst first, at most MOST_REGIONS.

    rgba: the image, uint8 (H, W, 4), straight alpha. drawing: of the same size, premultiplied. Raises ValueError for
    another size.
    """
    reference = Reference.of(rgba)
    areas = damage_map(reference, drawing)
    near = cv2.dilate((areas > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    count, labels = cv2.connectedComponents(near, connectivity=8)
    labels[areas == 0] = 0
    totals = np.bincount(labels.ravel(), areas.ravel(), count)
    worst = [int(i) for i in np.argsort(-totals, kind="stable") if i and totals[i] >= LEAST_DAMAGE][:MOST_REGIONS]
    if not worst:
        return []
    image = np.concatenate([ground.lab[:, 1:-1, 1:-1] for ground in reference.grounds])
    drawn = _looks(drawing)
    opaquer = drawing[..., 3].astype(np.int16) - rgba[..., 3] > MORE_OPAQUE
    return [_region(labels == i, float(totals[i]), image, drawn, opaquer) for i in worst]


def _region(
    where: NDArray[np.bool_], damage: float, image: Looks, drawn: Looks, opaquer: NDArray[np.bool_]
) -> DamagedRegion:
    rows, columns = np.nonzero(where)
    x, y = int(columns.min()), int(rows.min())
    kind = _kind(rows, columns, image, drawn, opaquer)
    width, height = int(columns.max()) - x + 1, int(rows.max()) - y + 1
    return DamagedRegion(x=x, y=y, width=width, height=height, damage=damage, kind=kind)


def _kind(
    rows: NDArray[np.intp], columns: NDArray[np.intp], image: Looks, drawn: Looks, opaquer: NDArray[np.bool_]
) -> DamageKind:
    lost = ~_found_near(image, drawn, rows, columns)
    if lost.mean() < MOST_LOST:
        strange = ~_found_near(drawn, image, rows, columns)
        return "artefact" if strange.mean() >= MOST_LOST else "edge"
    rows, columns = rows[lost], columns[lost]
    if opaquer[rows, columns].mean() > 0.5:
        return "transparency"
    gone = _distances(image[:, rows, columns][:, :, None], _palette(drawn)[:, None, :]).min(axis=1) > NOTICED
    return "colour" if gone.mean() > 0.5 else "detail"


def _found_near(ours: Looks, theirs: Looks, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pixels of `ours` have their colour in `theirs` within NEAR pixels along x and y: bool (n,)."""
    looks, found = ours[:, rows, columns], np.zeros(len(rows), np.bool_)
    for down, right in _steps():
        there = theirs[
            :, np.clip(rows + down, 0, theirs.shape[1] - 1), np.clip(columns + right, 0, theirs.shape[2] - 1)
        ]
        found |= _distances(looks, there) <= NOTICED
    return found


def _steps() -> Iterator[tuple[int, int]]:
    return ((down, right) for down in range(-NEAR, NEAR + 1) for right in range(-NEAR, NEAR + 1))


def _palette(drawn: Looks) -> Looks:
    """The colours that the drawing has in more than a few places, to an eighth of the scale: (6, n)."""
    steps = np.rint(drawn.reshape(6, -1) / (NOTICED / 2)).astype(np.int16)
    values, counts = np.unique(steps, axis=1, return_counts=True)
    often = counts >= max(4, LEAST_SHARE * steps.shape[1])
    chosen: Looks = values[:, often if often.any() else counts > 0].astype(np.float32) * np.float32(NOTICED / 2)
    return chosen


def _looks(drawing: Pixels) -> Looks:
    """drawing: uint8 (H, W, 4), premultiplied."""
    height, width = drawing.shape[:2]
    return np.concatenate(
        [oklab(composite(drawing, color)[..., :3].reshape(-1, 3)).reshape(3, height, width) for color in BACKGROUNDS]
    )


def _distances(left: Looks, right: Looks) -> Floats:
    """The larger of both backgrounds', of colours (6, ...)."""
    squares = (left - right) ** 2
    lengths: Floats = np.sqrt(np.maximum(squares[:3].sum(axis=0), squares[3:].sum(axis=0)))
    return lengths
