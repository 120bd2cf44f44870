"""VTracer's default on one image of a stranger: `python -m pipeline.reports.default_trace FILE`, for the app.

The image is decoded in this process and traced in another, so what it does to a decoder or a tracer stays there.
JSON on standard output; a file that cannot be used ends with its reason on standard error and exit code 65.
"""

from __future__ import annotations

import base64
import json
import resource
import sys
from pathlib import Path

from pipeline.core.errors import DataError, TracewrightError
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo, Scored
from pipeline.data.images import ImageLimits, read_image
from pipeline.reports import thumbnails
from pipeline.reports.trial_limits import MAX_FILE_BYTES, MAX_PIXELS, MIN_SIDE_PIXELS
from pipeline.tracing.tracer_pool import TracerPool

TIMEOUT_SECONDS, MEMORY_BYTES = 20.0, 2_000_000_000
LIMITS = ImageLimits(MIN_SIDE_PIXELS, MAX_PIXELS, MAX_FILE_BYTES, "#ffffff")


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        print(json.dumps(trace_default(Path(sys.argv[1]))))
    except TracewrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def trace_default(path: Path) -> dict[str, object]:
    """svg, bytes, damage, delta, width, height, and the image as PNG in base64.

    Raises ImageRejected, or DataError where VTracer fails.
    """
    rgba = read_image(path, LIMITS, "image")
    logo = Logo.of("image", rgba, "simple")
    with TracerPool(1, TIMEOUT_SECONDS, MEMORY_BYTES) as pool:
        [outcome] = pool.evaluate([Job(logo, DEFAULT_PARAMS, keep_svg=True)])
    if not isinstance(outcome, Scored):
        detail = getattr(outcome, "detail", "it gave no picture")
        raise DataError(f"image: VTracer failed on it: {detail}")
    return {
        "svg": outcome.svg,
        "bytes": outcome.scores.svg_bytes,
        "damage": outcome.scores.damage,
        "delta": outcome.scores.delta,
        "width": logo.width,
        "height": logo.height,
        "png": base64.b64encode(thumbnails.png_of(rgba)).decode("ascii"),
    }


if __name__ == "__main__":
    sys.exit(main())
