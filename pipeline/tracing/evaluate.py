"""The one act: prepare, trace, draw, measure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import cv2

from pipeline.records import Evaluation, Failed, FailureKind, Gate, Pixels, Scored, Scores, TracerParams
from pipeline.tracing import quality
from pipeline.tracing.prepare import prepare
from pipeline.tracing.raster import Drawing, Unrenderable
from pipeline.tracing.tracer import TraceError, encode, trace_png

REFERENCE_BYTES = 128_000_000
PREPARED_BYTES = 64_000_000

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


class Bench:
    """What one process keeps between evaluations: references by digest, encoded inputs by digest and preparation."""

    def __init__(self, background: tuple[int, int, int]) -> None:
        self._background = background
        self._references: Cache[str, quality.Reference] = Cache(REFERENCE_BYTES, lambda r: r.nbytes)
        self._inputs: Cache[tuple[str, float, int], bytes] = Cache(PREPARED_BYTES, len)

    def evaluate(self, digest: str, rgba: Pixels, params: TracerParams, gate: Gate, keep_svg: bool) -> Evaluation:
        """Trace and score one image; whatever goes wrong with it is a Failed. Deterministic but for `seconds`.

        digest must identify the pixels. Zoom SSIM is measured only where `gate` lets the candidate through.
        """
        start = time.perf_counter()
        try:
            svg, scores = self._measure(digest, rgba, params, gate)
        except TraceError as error:
            return _failed(digest, params, error.kind, error.detail, start)
        except Unrenderable as error:
            return _failed(digest, params, "unrenderable", str(error), start)
        except MemoryError as error:
            return _failed(digest, params, "memory", str(error) or "the worker's memory limit was reached", start)
        except cv2.error as error:
            if error.code != cv2.Error.StsNoMem:
                raise
            return _failed(digest, params, "memory", str(error), start)
        return Scored(digest, params, scores, time.perf_counter() - start, svg if keep_svg else None)

    def _measure(self, digest: str, rgba: Pixels, params: TracerParams, gate: Gate) -> tuple[str, Scores]:
        height, width = rgba.shape[:2]
        key = (digest, params.prescale, params.palette)
        png = self._inputs.get(key, lambda: encode(prepare(rgba, params)))
        svg = trace_png(png, params, width, height)
        reference = self._references.get(digest, lambda: quality.Reference.of(rgba, self._background))
        return svg, measure(svg, reference, gate, self._background)


def measure(svg: str, reference: quality.Reference, gate: Gate, background: tuple[int, int, int]) -> Scores:
    """The scores of an SVG against an image. Raises Unrenderable."""
    height, width = reference.rgb.shape[:2]
    drawing = Drawing(svg)
    rgb = drawing.pixels(width, height, background)
    statistics = quality.svg_statistics(svg)
    ssim = quality.ssim(reference, rgb)
    error = quality.mse(reference, rgb)
    zoom = None
    if statistics.svg_bytes <= gate.max_bytes and ssim >= gate.min_ssim:
        zoom = quality.zoom_ssim(reference, drawing.pixels(width * quality.ZOOM, height * quality.ZOOM, background))
    return Scores(
        svg_bytes=statistics.svg_bytes,
        gzip_bytes=statistics.gzip_bytes,
        paths=statistics.paths,
        nodes=statistics.nodes,
        ssim=ssim,
        skill=quality.skill(ssim, reference.blank_ssim),
        mse=error,
        psnr=quality.psnr(error),
        zoom_ssim=zoom,
    )


def _failed(digest: str, params: TracerParams, kind: FailureKind, detail: str, start: float) -> Failed:
    return Failed(digest, params, kind, detail, time.perf_counter() - start)
