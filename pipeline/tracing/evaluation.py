"""The one act: prepare, trace, draw, measure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cv2
import PIL

from pipeline.core.records import Evaluation, Failed, FailureKind, Gate, Job, Logo, Lost, Scored, Scores, TracerParams
from pipeline.tracing import quality
from pipeline.tracing.preparation import prepare
from pipeline.tracing.raster import RASTERISERS, Drawing, Unrenderable
from pipeline.tracing.tracer import TRACER_VERSION, TraceError, encode, trace_png

REFERENCE_BYTES = 40_000_000
PREPARED_BYTES = 16_000_000
BLANKS = 100_000  # a number for each image

SCORES_VERSION = 2
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


class Bench:
    """What one process keeps between evaluations: references by digest, encoded inputs by digest and preparation."""

    def __init__(self, background: tuple[int, int, int], drawing: type[Drawing]) -> None:
        self._background = background
        self._drawing = drawing
        self._references: Cache[str, quality.Reference] = Cache(REFERENCE_BYTES, lambda r: r.nbytes)
        self._blanks: Cache[str, float] = Cache(BLANKS, lambda _: 1)
        self._scratch = quality.Scratch()
        self._inputs: Cache[tuple[str, float, int], bytes] = Cache(PREPARED_BYTES, len)

    def evaluate(self, job: Job) -> Evaluation:
        """Trace and score one image; whatever goes wrong with it is a Failed. Deterministic but for `seconds`.

        What does not pass the job's gate is Lost, and measured no further.
        """
        digest, params = job.logo.digest, job.params
        start = time.perf_counter()

        def failed(kind: FailureKind, detail: str) -> Failed:
            return Failed(digest, params, kind, detail, time.perf_counter() - start)

        try:
            svg = self._trace(job.logo, params)
            scores = self._measure(job.logo, svg, job.gate)
        except TraceError as error:
            return failed(error.kind, error.detail)
        except Unrenderable as error:
            return failed("unrenderable", str(error))
        except MemoryError as error:
            return failed("memory", str(error) or "the worker's memory limit was reached")
        except cv2.error as error:
            if error.code != cv2.Error.StsNoMem:
                raise
            return failed("memory", str(error))
        seconds = time.perf_counter() - start
        if isinstance(scores, Scores):
            return Scored(digest, params, scores, seconds, svg if job.keep_svg else None)
        return Lost(digest, params, *scores, seconds)

    def _trace(self, logo: Logo, params: TracerParams) -> str:
        key = (logo.digest, params.prescale, params.palette)
        png = self._inputs.get(key, lambda: encode(prepare(logo.rgba, params)))
        return trace_png(png, params, logo.width, logo.height)

    def _measure(self, logo: Logo, svg: str, gate: Gate) -> Scores | tuple[int, float | None]:
        """All scores, or the size and perhaps the SSIM of what did not pass the gate."""
        content = svg.encode("utf-8")
        if len(content) > gate.max_bytes:
            return len(content), None
        reference = self._references.get(logo.digest, lambda: quality.Reference.of(logo.rgba, self._background))
        drawing = self._drawing(svg)
        rgb = drawing.pixels(logo.width, logo.height, self._background)
        ssim = quality.ssim(reference, rgb, self._scratch)
        if ssim < gate.min_ssim:
            return len(content), ssim
        zoomed = drawing.greys(logo.width * quality.ZOOM, logo.height * quality.ZOOM, self._background)
        error = quality.mse(reference, rgb)
        paths, nodes = quality.paths_and_nodes(svg)
        return Scores(
            svg_bytes=len(content),
            gzip_bytes=quality.gzip_size(content),
            paths=paths,
            nodes=nodes,
            ssim=ssim,
            skill=quality.skill(ssim, self._blanks.get(logo.digest, lambda: reference.blank_ssim)),
            mse=error,
            psnr=quality.psnr(error),
            zoom_ssim=quality.zoom_ssim(reference, zoomed, self._scratch),
        )
