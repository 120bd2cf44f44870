"""Pictures to trace: two that are drawn here, and real logos where they are to be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.core.records import Logo
from pipeline.settings.params import load_settings
from pipeline.settings.ranges import TracingSettings
from pipeline.tracing.tracer_pool import TracerPool
from tests.support.drawing import drawn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def logo() -> Logo:
    """96 x 96, on a transparent background."""
    return drawn(96, (0, 0, 0, 0))


@pytest.fixture(scope="session")
def opaque_logo() -> Logo:
    """64 x 64, on a pale opaque background."""
    return drawn(64, (240, 245, 230, 255))


@pytest.fixture(scope="session")
def real_logos() -> list[Logo]:
    """Eight real logos of at most 256 x 256, two of each category."""
    folder = Path(os.environ.get("TRACEWRIGHT_LOGOS", ROOT.parent / "shared" / "logos"))
    if not folder.is_dir():
        pytest.skip("no folder of real logos: set TRACEWRIGHT_LOGOS")
    names = ("simple_geometric", "text_based", "gradients", "complex")
    paths = [path for name in names for path in sorted((folder / name).glob("*.png"))[:30]]
    images = [(path, np.asarray(Image.open(path).convert("RGBA"))) for path in paths]
    small = [Logo.of(path.stem, rgba, "simple") for path, rgba in images if max(rgba.shape) <= 256]
    return small[:: max(1, len(small) // 8)][:8]


@pytest.fixture(scope="session")
def tracing_settings() -> TracingSettings:
    return load_settings(ROOT / "params.yaml").tracing


@pytest.fixture(scope="session")
def pool() -> Iterator[TracerPool]:
    with TracerPool(2, timeout_seconds=20, worker_memory_bytes=2_000_000_000) as running:
        yield running
