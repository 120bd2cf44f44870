"""`python -m monitoring.grafana` writes the dashboards that Grafana reads, from the pages beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from monitoring.grafana import resources, service, training

FOLDER = Path(__file__).parent / "dashboards"
PAGES = {"service": service.dashboard, "training": training.dashboard, "resources": resources.dashboard}


def main() -> int:
    for name, page in PAGES.items():
        path = FOLDER / f"{name}.json"
        path.write_text(page(), encoding="utf-8")
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
