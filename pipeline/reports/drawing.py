"""Pictures of SVGs for the app, drawn in a process of their own: `python -m pipeline.reports.drawing`.

An SVG in a folder may be anything by the time it is looked at, and a rasteriser may crash on it; then one picture is
missing. The request comes on standard input as JSON, the pictures go out on standard output as JSON.
"""

from __future__ import annotations

import base64
import io
import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import TracewrightError, Unavailable

SECONDS, MEMORY_BYTES = 15, 3_000_000_000
MOST_PIXELS = 4_000_000  # of a difference; a larger image is compared at a smaller size


@dataclass(frozen=True, slots=True)
class DifferenceImage:
    """png: white where an SVG agrees with the original, darker the more it differs. mean: of 255."""

    png: bytes
    mean: float


def differences(image: Path, background: str, svgs: Mapping[str, str]) -> dict[str, DifferenceImage]:
    """By the names of `svgs`, what each differs by from the image; one that cannot be drawn is left out.

    Raises Unavailable with the reason when the drawing process fails or takes longer than SECONDS.
    """
    request = json.dumps({"image": str(image), "background": background, "svgs": dict(svgs)})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.reports.drawing"],
            cwd=Path(__file__).parents[2],
            input=request.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["the drawing process died"]
            raise Unavailable(f"the difference could not be drawn: {last[0]}")
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, OSError, ValueError) as error:
        raise Unavailable(f"the difference could not be drawn ({type(error).__name__})") from error
    return {name: DifferenceImage(base64.b64decode(d["png"]), d["mean"]) for name, d in answer.items()}


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"))
    try:
        answer = _draw(request)
    except TracewrightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    json.dump(answer, sys.stdout)
    return 0


def _draw(request: Mapping[str, Any]) -> dict[str, Any]:
    from PIL import Image

    from pipeline.core.pixels import on_background, rgb_of
    from pipeline.data.images import read_image
    from pipeline.reports.pictures import difference, shade
    from pipeline.reports.thumbnails import LIMITS
    from pipeline.tracing.raster import RenderError, render

    background = rgb_of(request["background"])
    rgb = on_background(read_image(Path(request["image"]), LIMITS), background)
    scale = min(1.0, (MOST_PIXELS / (rgb.shape[0] * rgb.shape[1])) ** 0.5)
    if scale < 1:
        import numpy as np

        size = (max(1, int(rgb.shape[1] * scale)), max(1, int(rgb.shape[0] * scale)))
        rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))
    answer = {}
    for name, svg in request["svgs"].items():
        try:
            drawn = render(svg, rgb.shape[1], rgb.shape[0], background)
        except RenderError:
            continue
        buffer = io.BytesIO()
        Image.fromarray(shade(rgb, drawn)).save(buffer, "PNG")
        png = base64.b64encode(buffer.getvalue()).decode("ascii")
        answer[name] = {"png": png, "mean": round(float(difference(rgb, drawn).mean()), 4)}
    return answer


if __name__ == "__main__":
    sys.exit(main())
