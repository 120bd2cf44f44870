"""What grows, and by how much; JSON on standard output. `python -m benchmarks.bench_scale [tune]`"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import scale_tune

ROWS: dict[str, Callable[[], dict[str, Any]]] = {"tune": scale_tune.measure}


def main() -> None:
    asked = sys.argv[1:] or list(ROWS)
    unknown = [name for name in asked if name not in ROWS]
    if unknown:
        raise SystemExit(f"there is no {unknown[0]!r}; choose from {', '.join(ROWS)}")
    print(json.dumps({"benchmark": "scale"} | {name: ROWS[name]() for name in asked}, indent=2))


if __name__ == "__main__":
    main()
