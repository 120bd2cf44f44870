"""Synthetic damage in growing doses, and changes that nobody sees, on enlarged drawings of designers' files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.fidelity.drawings import draw_with_resvg, straight
from pipeline.core.records import Pixels
from pipeline.tracing.fidelity import Reference, damage

ZOOM = 4
WAVELENGTH = 16.0
"""Pixels of the image."""


@dataclass(frozen=True, slots=True)
class Dose:
    """change: of an enlarged drawing, premultiplied, by an amount: pixels of the image, or a share of a colour."""

    amounts: tuple[float, ...]
    change: Callable[[Pixels, float], Pixels]


def scores(master: str, width: int, height: int) -> dict[str, list[float]]:
    """The score of every amount of every dose, and of each harmless change."""
    big = draw_with_resvg(master, width * ZOOM, height * ZOOM)
    reference = Reference.of(straight(shrink(big)))
    return {
        name: [damage(reference, shrink(dose.change(big, amount))).score for amount in dose.amounts]
        for name, dose in {**DOSES, **HARMLESS}.items()
    }


def shrink(big: Pixels) -> Pixels:
    """Each pixel the mean of those it covers."""
    size = big.shape[1] // ZOOM, big.shape[0] // ZOOM
    small: Pixels = cv2.resize(big, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small


def hole(big: Pixels, radius: float) -> Pixels:
    """A disc where the shapes are widest becomes transparent."""
    depth = _depth(_solid(big))
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    ys, xs = np.ogrid[: depth.shape[0], : depth.shape[1]]
    return _kept(big, (xs - x) ** 2 + (ys - y) ** 2 > (radius * ZOOM) ** 2)


def merge(big: Pixels, share: float) -> Pixels:
    """The commonest opaque colour moves towards the second commonest, or towards grey where there is none."""
    colors, counts = np.unique(big[big[..., 3] == 255][::7], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    first = colors[order[0]]
    common = [colors[i] for i in order[1:] if counts[i] > 0.02 * counts.sum()]
    other = common[0] if common else np.array((128, 128, 128, 255), np.uint8)
    merged = big.copy()
    merged[(big == first).all(axis=2)] = np.rint(first + share * (other.astype(float) - first)).astype(np.uint8)
    return merged


def rounded(big: Pixels, radius: float) -> Pixels:
    """Corners that a disc does not reach are cut off."""
    core = _depth(_solid(big)) > radius * ZOOM
    return _kept(big, _depth((~core).astype(np.uint8)) <= radius * ZOOM)


def thin(big: Pixels, width: float) -> Pixels:
    """A margin along every outline becomes transparent."""
    return _kept(big, _depth(_solid(big)) > width * ZOOM)


def wobble(big: Pixels, amplitude: float) -> Pixels:
    y, x = np.mgrid[: big.shape[0], : big.shape[1]].astype(np.float32)
    wave = np.float32(2 * np.pi / (WAVELENGTH * ZOOM))
    moved: Pixels = cv2.remap(  # type: ignore[assignment]
        big,
        x + np.float32(amplitude * ZOOM) * np.sin(wave * y),
        y + np.float32(amplitude * ZOOM) * np.sin(wave * x),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved


def shift(big: Pixels, distance: float) -> Pixels:
    """To the right and down, by the same distance each."""
    by = round(distance * ZOOM)
    return np.pad(big, ((by, 0), (by, 0), (0, 0)), mode="edge")[: big.shape[0], : big.shape[1]]


def _solid(big: Pixels) -> Pixels:
    solid: Pixels = (big[..., 3] > 127).astype(np.uint8)
    return solid


def _kept(big: Pixels, kept: NDArray[np.bool_]) -> Pixels:
    return np.where((kept | (big[..., 3] < 128))[..., None], big, np.uint8(0))


def _depth(shape: Pixels) -> NDArray[np.float32]:
    """How far inside a shape (not 0) each pixel is, in enlarged pixels; what lies outside the canvas is not inside."""
    depth = cv2.distanceTransform(np.pad(shape, 1), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.ascontiguousarray(depth, np.float32)


DOSES = {
    "dot removed (radius)": Dose((0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0), hole),
    "colours merged (share)": Dose((0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0), merge),
    "corners rounded (radius)": Dose((0.5, 1.0, 2.0, 3.0, 5.0, 8.0), rounded),
    "outlines wobble (amplitude)": Dose((0.25, 0.5, 0.75, 1.0, 1.5, 2.0), wobble),
    "strokes thinned (margin)": Dose((0.25, 0.5, 0.75, 1.0, 1.5), thin),
}

HARMLESS = {"shifted by half a pixel in x and y": Dose((0.5,), shift)}
