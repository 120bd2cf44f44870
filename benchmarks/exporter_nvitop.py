"""nvitop-exporter with its own server, on a machine that may have no GPU: its command refuses to start there.

Without a driver it then watches the host alone, which is less work than it does elsewhere. `python -m
benchmarks.exporter_nvitop PORT`
"""

from __future__ import annotations

import sys
from typing import Any

from nvitop import Device
from nvitop_exporter.exporter import PrometheusExporter
from prometheus_client import start_wsgi_server


def main() -> None:
    devices: list[Any] = Device.all()
    if not devices:
        Device.count = lambda: 0
        Device.driver_version = Device.cuda_driver_version = lambda: "none"
    exporter = PrometheusExporter(devices, hostname="localhost", interval=1.0)
    start_wsgi_server(port=int(sys.argv[1]), addr="127.0.0.1")
    exporter.collect()


if __name__ == "__main__":
    main()
