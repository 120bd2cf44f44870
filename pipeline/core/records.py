"""The nouns that travel between the parts: images, parameters, scores, evaluations.

Frozen values without behaviour beyond conversion to and from JSON; nothing here reads a file or imports a tracer.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.core.objectives import BYTES_OBJECTIVES as BYTES_OBJECTIVES
from pipeline.core.objectives import OBJECTIVES as OBJECTIVES
from pipeline.core.objectives import VISIBLE_DAMAGE as VISIBLE_DAMAGE
from pipeline.core.objectives import ObjectiveName as ObjectiveName

Category = Literal["simple", "text", "gradient", "complex"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
"""In the order of the curriculum, easiest first."""

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

FailureKind = Literal["panic", "died", "timeout", "memory", "empty", "unrenderable", "invalid"]
"""Why a trace gave no result.

panic: VTracer panicked. died: the worker process ended. timeout: the deadline passed. memory: the worker's memory
limit. empty: an SVG without a path where the image is not blank. unrenderable: the SVG could not be drawn.
invalid: parameters out of range, refused before tracing.
"""

ACCIDENTS: frozenset[FailureKind] = frozenset({"died", "timeout", "memory"})
"""Failures that the machine had a part in: the same evaluation may succeed elsewhere, or later."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracerParams:
    """One complete setting: VTracer's parameters by their own names, the preparation of its input, and what is done to
    its output.

    The defaults are those of VTracer's command line (`path_precision` 2) with nothing prepared and nothing improved:
    once minified, that is the *fair default*, the baseline of every comparison.
    """

    colormode: Literal["color", "binary"] = "color"
    hierarchical: Literal["stacked", "cutout"] = "stacked"
    mode: Literal["spline", "polygon", "none"] = "spline"
    filter_speckle: int = 4  # 0-16, side of a square in pixels; smaller patches are dropped
    color_precision: int = 6  # 1-8 significant bits per channel
    layer_difference: int = 16  # 1-255 colour difference between gradient layers
    corner_threshold: int = 60  # 0-180 degrees
    length_threshold: float = 4.0  # 3.5-10 pixels, longest segment before subdivision stops
    max_iterations: int = 10  # 1-20 rounds of subdivision
    splice_threshold: int = 45  # 0-180 degrees
    path_precision: int = 2  # 0-8 decimals
    prescale: float = 1.0  # 1-3, Lanczos enlargement of the input; above 1, more in small images
    palette: int = 0  # 0 = as it is, else 2-256 colours the input is reduced to
    simplify: float = 0.0  # 0-2 pixels that an outline may move to become simpler, less in small images; 0 = as traced
    refit: int = 0  # 1 = each shape's fill is fitted to the image's pixels again
    steps_per_pixel: int = 100  # 1-100, the grid of the printed coordinates, finer in small images; 100 = two decimals

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in PARAM_NAMES}  # A third of the time that asdict takes.

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TracerParams:
        """Raises TypeError when a name is unknown."""
        return cls(**values)


DEFAULT_PARAMS = TracerParams()
PARAM_NAMES: tuple[str, ...] = tuple(f.name for f in fields(TracerParams))


@dataclass(frozen=True, slots=True, eq=False)
class Logo:
    """A decoded image, ready to be traced, in a twentieth of the memory that its pixels take.

    packed: the pixels as `pack_pixels` packs them.
    digest: SHA-256 over the size and the pixels, so two files with the same picture share it.
    """

    name: str
    packed: bytes = field(repr=False)
    width: int
    height: int
    category: Category
    digest: str

    @classmethod
    def of(cls, name: str, rgba: Pixels, category: Category) -> Logo:
        """rgba: uint8 of shape (height, width, 4), straight alpha."""
        height, width = rgba.shape[:2]
        return cls(name, pack_pixels(rgba), width, height, category, pixel_digest(rgba))

    @property
    def rgba(self) -> Pixels:
        """uint8 of shape (height, width, 4), straight alpha; unpacked at each access."""
        return unpack_pixels(self.packed, self.width, self.height)


def pack_pixels(rgba: Pixels) -> bytes:
    """Level 1 of zlib: a millisecond for a logo of 256 x 256, and no header to be wrong about."""
    return zlib.compress(np.ascontiguousarray(rgba).data, 1)


def unpack_pixels(packed: bytes, width: int, height: int) -> Pixels:
    """uint8 (height, width, 4), read-only."""
    return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, width, 4)


def pixel_digest(rgba: Pixels) -> str:
    """SHA-256, in hex, over the shape and the bytes of an image."""
    hasher = hashlib.sha256(f"{rgba.shape[1]}x{rgba.shape[0]}x{rgba.shape[2]}:".encode())
    hasher.update(np.ascontiguousarray(rgba).tobytes())
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What is reported of a picture and decides nothing; docs/metrics.md defines each.

    gzip_bytes: of the file as written. ssim, zoom_ssim: -1 to 1. skill: 0 is a blank canvas, 1 is identical.
    mse: 0 to 65025. psnr: decibels, at most 100.
    """

    gzip_bytes: int
    ssim: float
    skill: float
    mse: float
    psnr: float
    zoom_ssim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one SVG is worth against its image; docs/metrics.md defines each.

    svg_bytes: of the file as written, minified. traced_bytes: of VTracer's own text. damage: of the worst region, 0 for
    none; see tracing.fidelity. delta: the mean colour difference, OKLab distance x 100. metrics: where a job asks.
    """

    svg_bytes: int
    traced_bytes: int
    paths: int
    nodes: int
    damage: float
    delta: float
    metrics: Metrics | None = None

    @property
    def reported(self) -> Metrics:
        """Raises ValueError where the evaluation was made without them."""
        if self.metrics is None:
            raise ValueError("the evaluation was made without metrics")
        return self.metrics


@dataclass(frozen=True, slots=True)
class Gate:
    """What can still win: svg_bytes <= max_bytes and damage <= max_damage. Any other is measured no further."""

    max_bytes: float = float("inf")
    max_damage: float = float("inf")


EVERYTHING = Gate()


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation to be done.

    keep_svg: whether the SVG's text is returned with the scores; a store, which keeps none, cannot answer then.
    metrics: whether the scores that are only reported are measured too; they take longer than all others.
    """

    logo: Logo
    params: TracerParams
    gate: Gate = EVERYTHING
    keep_svg: bool = False
    metrics: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """An evaluation that gave a picture. seconds: wall clock in the worker, tracing and scoring together.

    parsed: False where the SVG is as VTracer printed it, because it could not be parsed; known where the SVG is kept.
    """

    digest: str
    params: TracerParams
    scores: Scores
    seconds: float
    svg: str | None = None
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class Pruned:
    """An evaluation that did not pass its job's gate: a picture, measured only as far as to know that it loses.

    damage: None where its size alone had lost.
    """

    digest: str
    params: TracerParams
    svg_bytes: int
    damage: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An evaluation that gave none: counted, never a zero."""

    digest: str
    params: TracerParams
    kind: FailureKind
    detail: str
    seconds: float


Evaluation = Scored | Pruned | Failed


def scores_from_json(values: dict[str, Any]) -> Scores:
    """Raises TypeError when a name is missing or unknown."""
    metrics = values["metrics"]
    return Scores(**values | {"metrics": None if metrics is None else Metrics(**metrics)})
