"""Which pool evaluates: processes of this machine, or of a Ray cluster. The numbers are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.tracing.pool import Pool
from pipeline.tracing.tracer_pool import TracerPool

if TYPE_CHECKING:
    from pipeline.settings.params import Backend, ComputeSettings


def open_pool(
    backend: Backend,
    workers: int,
    timeout_seconds: float,
    worker_memory_bytes: int,
    background: str,
    *,
    rasteriser: str | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Pool:
    """A pool, to be used with `with`.

    workers and the others: as Pool's. Raises Unavailable, SettingsError or Mismatch when there is no cluster.
    """
    kind: type[Pool] = TracerPool
    if backend == "ray":
        from pipeline.tracing.ray_pool import RayPool

        kind = RayPool
    return kind(workers, timeout_seconds, worker_memory_bytes, background, rasteriser=rasteriser, check_stop=check_stop)


def pool_from_settings(
    settings: ComputeSettings,
    background: str,
    *,
    rasteriser: str | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Pool:
    """A pool as params.yaml asks for it."""
    return open_pool(
        settings.backend,
        settings.workers,
        settings.timeout_seconds,
        settings.worker_memory_bytes,
        background,
        rasteriser=rasteriser,
        check_stop=check_stop,
    )
