"""What grows, and by how much; JSON on standard output.

Run it with `python -m benchmarks.bench_scale [ray] [tune] [vectorize] [serving] [catalogue]`; all of them by default,
which takes about an hour on two cores.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import scale_catalogue, scale_ray, scale_serving, scale_tune, scale_vectorize

ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "ray": scale_ray.measure,
    "tune": scale_tune.measure,
    "vectorize": scale_vectorize.measure,
    "serving": scale_serving.measure,
    "catalogue": scale_catalogue.measure,
}


def main() -> None:
    asked = sys.argv[1:] or list(ROWS)
    unknown = [name for name in asked if name not in ROWS]
    if unknown:
        raise SystemExit(f"there is no {unknown[0]!r}; choose from {', '.join(ROWS)}")
    print(json.dumps({"benchmark": "scale"} | {name: ROWS[name]() for name in asked}, indent=2))


if __name__ == "__main__":
    main()
