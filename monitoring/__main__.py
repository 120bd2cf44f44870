"""`python -m monitoring`: serve the metrics of this machine and of a project's trainings."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from monitoring.exporter import registry_of, sources_of
from monitoring.server import serve
from pipeline.core.errors import SettingsError, Unavailable
from pipeline.machine.sources import Machine

HOST, PORT = "127.0.0.1", 9108


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(SettingsError.exit_code, f"monitoring: {message}\n")


def parser() -> argparse.ArgumentParser:
    made = Parser(prog="python -m monitoring", description=__doc__)
    made.add_argument("--host", default=HOST, help=f"address to listen on ({HOST}: this machine only)")
    made.add_argument("--port", type=port, default=PORT, help=f"{PORT} unless told otherwise")
    made.add_argument("--root", type=Path, default=Path(), help="the project's folder (the current one)")
    made.add_argument(
        "--disk", nargs="+", metavar="PATH", help="any folder of each file system to watch (the project's)"
    )
    return made


def port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is no port; allowed are 1 to 65535, and 0 for any free one")
    return value


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    logging.basicConfig(format="monitoring: %(message)s", level=logging.WARNING)
    root = chosen.root.resolve()
    if not root.is_dir():
        print(f"monitoring: --root {root}: no such folder; name the project's", file=sys.stderr)
        return SettingsError.exit_code
    registry = registry_of(sources_of(Machine(), root, chosen.disk or [str(root)]))
    try:
        serve(registry, chosen.host, chosen.port)
    except Unavailable as error:
        print(f"monitoring: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
