"""tracewright from Python: `vectorize` makes an SVG of an image. Nothing heavy is imported before the first call."""

from __future__ import annotations

import atexit
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.agent.agent import Agent
    from pipeline.tracing.tracer_pool import TracerPool

__all__ = ["Vectorized", "vectorize"]

_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectorized:
    """An SVG and how good it is.

    svg: the text. damage: estimated area of visible damage, in pixels; up to 1 nobody sees it. default_bytes,
    default_damage: of what VTracer's default settings give. status: improved; default, when nothing better was found
    and the SVG is the default's. params: VTracer's settings. traces: settings tried. delta: mean colour error,
    OKLab distance x 100. note: what could not be done as asked, or not be kept. curve: the traces that no other beats
    in both bytes and damage. parsed: whether VTracer's output could be read; else the SVG is as VTracer printed it.
    """

    svg: str
    status: Literal["improved", "default"]
    params: dict[str, Any]
    traces: int
    bytes: int
    default_bytes: int
    damage: float
    default_damage: float
    delta: float
    seconds: float
    parsed: bool
    note: str | None
    curve: list[dict[str, Any]]

    def save(self, path: str | Path) -> None:
        """Writes the SVG, whole or not at all. Raises StorageError."""
        from pipeline.core.files import write_text

        write_text(Path(path), self.svg)


def vectorize(
    image: str | Path | bytes | Image.Image,
    *,
    traces: int | Literal["auto"] = 8,
    objective: str | None = None,
    max_damage: float | None = None,
    budget_bytes: int | None = None,
    background: str | None = None,
    curve: bool = False,
    model: str | Path | None = None,
    seed: int = 0,
) -> Vectorized:
    """The SVG of an image: a path, the bytes of a file, or a Pillow image.

    The options are those of `tracewright vectorize`. The agent and one tracing process stay for the next call; calls
    from several threads wait for each other. Raises `pipeline.core.errors.TracewrightError`: ImageRejected when the
    image cannot be read, DataError, Unavailable when there is no such model.
    """
    from pipeline.core.pixels import colour_code
    from pipeline.data.images import decode_image, pixels_of, read_image
    from pipeline.vectorizing.answer import Options
    from pipeline.vectorizing.batch import image_limits, vectorize_pixels, with_objective

    background = None if background is None else colour_code(background)
    options = Options(budget_bytes=budget_bytes, background=background, curve=curve)
    limits = image_limits(options)
    if isinstance(image, (str, Path)):
        rgba = read_image(Path(image), limits)
    elif isinstance(image, bytes):
        rgba = decode_image(image, limits, "image")
    else:
        rgba = pixels_of(image, limits, "image")
    with _LOCK:
        agent, pool = _opened(None if model is None else str(model))
        agent = with_objective(agent, "target" if max_damage is not None else objective, max_damage)
        answer = vectorize_pixels(rgba, agent, pool, traces=traces, seed=seed, options=options)
    return Vectorized(**answer)


@cache
def _opened(model: str | None) -> tuple[Agent, TracerPool]:
    """An agent, and a process that traces for it until this one ends."""
    from pipeline.agent.agent import load_agent
    from pipeline.tracing.tracer_pool import TracerPool
    from pipeline.vectorizing.agents import find_agent

    agent = load_agent(find_agent(model).folder)
    pool = TracerPool(1, agent.timeout_seconds, agent.worker_memory_bytes, agent.background)
    atexit.register(pool.close)
    return agent, pool
