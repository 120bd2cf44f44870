"""One evaluation: prepare, trace, improve, draw, measure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cv2
import PIL

from pipeline.core.records import (
    Evaluation,
    Failed,
    FailureKind,
    Job,
    Logo,
    Metrics,
    Pixels,
    Pruned,
    Scored,
    Scores,
)
from pipeline.tracing import fidelity, quality
from pipeline.tracing.improvement import Picture, improve
from pipeline.tracing.preparation import adapt, prepare
from pipeline.tracing.raster import RASTERISERS, RasterDrawing, RenderError
from pipeline.tracing.tracer import TRACER_VERSION, TraceError, encode, trace

REFERENCE_BYTES = 40_000_000
PREPARED_BYTES = 16_000_000

SCORES_VERSION = 12
"""To be raised when an evaluation of the same image and parameters gives other scores than before."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """The latest used values, dropped oldest first when their sizes add up to more than `max_bytes`."""

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value kept for `key`, or what `make` returns; one larger than the cache is returned but not kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        self._values[key] = value
        self.nbytes += self._size(value)
        while self.nbytes > self._max_bytes:
            self.nbytes -= self._size(self._values.popitem(last=False)[1])
        return value


def evaluation_versions(background: str, rasteriser: str) -> dict[str, str]:
    """All that decides what an evaluation gives, beside the image and the parameters."""
    return {
        "tracer": TRACER_VERSION,
        "rasteriser": RASTERISERS[rasteriser],
        "pillow": PIL.__version__,
        "opencv": cv2.__version__,
        "scores": str(SCORES_VERSION),
        "background": background,
    }


class TraceEvaluator:
    """What one process keeps between evaluations: references by digest, encoded inputs by digest and preparation."""

    def __init__(self, background: tuple[int, int, int], drawing: type[RasterDrawing]) -> None:
        self._background = background
        self._drawing = drawing
        self._originals: Cache[str, fidelity.Reference] = Cache(REFERENCE_BYTES, lambda r: r.nbytes)
        self._references: Cache[str, quality.QualityReference] = Cache(REFERENCE_BYTES, lambda r: r.nbytes)
        self._scratch = quality.Scratch()
        self._inputs: Cache[tuple[str, float, int, int], bytes] = Cache(PREPARED_BYTES, len)

    def evaluate(self, job: Job) -> Evaluation:
        """Trace, improve and score one image; whatever goes wrong with it is a Failed. Deterministic but for `seconds`.

        What does not pass the job's gate is Pruned, and measured no further.
        """
        digest, params = job.logo.digest, job.params
        start = time.perf_counter()

        def failed(kind: FailureKind, detail: str) -> Failed:
            return Failed(digest, params, kind, detail, time.perf_counter() - start)

        try:
            rgba = job.logo.rgba
            adapted = adapt(params, rgba)
            key = (digest, params.prescale, params.palette, params.refit)
            png = self._inputs.get(key, lambda: encode(prepare(rgba, adapted)))
            picture = improve(trace(png, adapted), rgba, adapted)
            scores = self._measure(job, rgba, picture)
        except TraceError as error:
            return failed(error.kind, error.detail)
        except RenderError as error:
            return failed("unrenderable", str(error))
        except MemoryError as error:
            return failed("memory", str(error) or "the worker's memory limit was reached")
        except cv2.error as error:
            if error.code != cv2.Error.StsNoMem:
                raise
            return failed("memory", str(error))
        seconds = time.perf_counter() - start
        if isinstance(scores, Scores):
            return Scored(digest, params, scores, seconds, picture.svg if job.keep_svg else None, picture.parsed)
        return Pruned(digest, params, *scores, seconds)

    def _measure(self, job: Job, rgba: Pixels, picture: Picture) -> Scores | tuple[int, float | None]:
        """All scores, or the size and perhaps the damage of what did not pass the gate."""
        digest, size = job.logo.digest, len(picture.svg.encode("utf-8"))
        if size > job.gate.max_bytes:
            return size, None
        drawing = self._drawing(picture.svg)
        rendering = drawing.rgba(job.logo.width, job.logo.height)
        original = self._originals.get(digest, lambda: fidelity.Reference.of(rgba))
        found = fidelity.damage(original, rendering)
        if found.score > job.gate.max_damage:
            return size, found.score
        return Scores(
            svg_bytes=size,
            traced_bytes=picture.traced_bytes,
            paths=picture.paths,
            nodes=picture.nodes,
            damage=found.score,
            delta=found.delta,
            metrics=self._metrics(job.logo, rgba, picture.svg, drawing) if job.metrics else None,
        )

    def _metrics(self, logo: Logo, rgba: Pixels, svg: str, drawing: RasterDrawing) -> Metrics:
        reference = self._references.get(logo.digest, lambda: quality.QualityReference.of(rgba, self._background))
        rgb = drawing.pixels(logo.width, logo.height, self._background)
        zoomed = drawing.greys(logo.width * quality.ZOOM, logo.height * quality.ZOOM, self._background)
        ssim, error = quality.ssim(reference, rgb, self._scratch), quality.mse(reference, rgb)
        return Metrics(
            gzip_bytes=quality.gzip_size(svg.encode("utf-8")),
            ssim=ssim,
            skill=quality.skill(ssim, reference.blank_ssim),
            mse=error,
            psnr=quality.psnr(error),
            zoom_ssim=quality.zoom_ssim(reference, zoomed, self._scratch),
        )
