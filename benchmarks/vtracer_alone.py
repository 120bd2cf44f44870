"""VTracer and nothing else, in processes of its own: as fast as this machine can trace.

The strongest rival there can be: the processes run and hold the prepared PNGs before the clock starts, they are told
numbers and answer lengths, and whoever is free takes the next few.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import vtracer

from pipeline.core.records import Job, TracerParams
from pipeline.tracing.preparation import adapt, prepare
from pipeline.tracing.tracer import encode

NOT_VTRACERS = ("prescale", "palette", "simplify", "refit", "steps_per_pixel")
"""What is done before and after it."""

MOST_AT_ONCE = 8
"""Traces handed over together: fewer messages, and still none waits long at the end."""

Ready = tuple[bytes, dict[str, Any]]
"""A prepared PNG and what VTracer is to be told."""

_ready: dict[str, Sequence[Ready]] = {}
_all_here: Any = None


def vtracer_arguments(params: TracerParams) -> dict[str, Any]:
    return {name: value for name, value in params.to_json().items() if name not in NOT_VTRACERS}


def ready(jobs: Sequence[Job]) -> list[Ready]:
    """Prepared and encoded as the pool does it, each preparation once."""
    encoded: dict[tuple[str, float, int, int], bytes] = {}
    found: list[Ready] = []
    for job in jobs:
        rgba, params = job.logo.rgba, job.params
        adapted = adapt(params, rgba)
        key = (job.logo.digest, params.prescale, params.palette, params.refit)
        if key not in encoded:
            encoded[key] = encode(prepare(rgba, adapted))
        found.append((encoded[key], vtracer_arguments(adapted)))
    return found


class VTracerAlone:
    """So many processes that only trace; use it with `with`."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        context = multiprocessing.get_context("fork")
        self._pool = context.Pool(processes, _begin, (context.Barrier(processes),))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def load(self, work: Mapping[str, Sequence[Ready]]) -> dict[str, Callable[[], list[int]]]:
        """Give every process the work in place of what it had; returns by name what does it."""
        self._pool.map(_hold, [work] * self._processes, chunksize=1)
        return {name: partial(self._trace, name, len(items)) for name, items in work.items()}

    def _trace(self, name: str, count: int) -> list[int]:
        """The lengths of the SVGs, in any order."""
        chunk = max(1, min(MOST_AT_ONCE, count // (12 * self._processes)))
        return list(self._pool.imap_unordered(partial(_svg_length, name), range(count), chunksize=chunk))


def _begin(all_here: Any) -> None:
    global _all_here
    _all_here = all_here


def _hold(work: Mapping[str, Sequence[Ready]]) -> None:
    """Waits for the others, so that each process takes one of these tasks."""
    _ready.clear()
    _ready.update(work)
    _all_here.wait()


def _svg_length(name: str, index: int) -> int:
    """0 where VTracer panics, which is no Exception and would end the process."""
    png, arguments = _ready[name][index]
    try:
        return len(vtracer.convert_raw_image_to_svg(png, img_format="png", **arguments))
    except BaseException as error:  # pyo3's PanicException is no Exception
        if type(error).__name__ != "PanicException":
            raise
        return 0
