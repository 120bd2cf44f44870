"""`python -m dashboard [--port N] [--address A]`: the app on the project of the current folder."""

from __future__ import annotations

import argparse
import gc
import logging
import socket
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EX_UNAVAILABLE = 69
HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dashboard", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1", help="where it listens; 127.0.0.1 is this machine alone")
    parser.add_argument("--port", type=int, default=8501)
    arguments = parser.parse_args()
    trouble = port_trouble(arguments.address, arguments.port)
    if trouble:
        print(f"dashboard: {trouble}", file=sys.stderr)
        return EX_UNAVAILABLE
    print(f"the app is on http://{arguments.address}:{arguments.port}", flush=True)
    serve(arguments.address, arguments.port)
    return 0


def port_trouble(address: str, port: int) -> str | None:
    """Why nothing can listen there, with what to do; None where something can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            return f"port {port} of {address} cannot be used ({error}); name another with --port"
    return None


def serve(address: str, port: int) -> None:
    """Until it is stopped. What the first page needs is imported and read before anybody opens it."""
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # it warns of caches that are used before it runs
    from streamlit.web import bootstrap

    from dashboard import app, queries

    if root := queries.project():
        queries.runs(root)
    # Streamlit collects garbage after every run of the script: what is here for good need not be looked at each time.
    gc.collect()
    gc.freeze()
    logging.getLogger("streamlit").setLevel(logging.INFO)
    options = config() | {"server_address": address, "server_port": port}
    bootstrap.load_config_options(options)
    bootstrap.run(app.__file__, False, [], options)


def config() -> dict[str, Any]:
    """.streamlit/config.toml as Streamlit's own options: it would look for it in the current folder alone."""
    path = HERE.parent / ".streamlit" / "config.toml"
    return dict(_flat(tomllib.loads(path.read_text(encoding="utf-8")), "")) if path.is_file() else {}


def _flat(values: dict[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}_")
        else:
            yield f"{before}{name}", value


if __name__ == "__main__":
    sys.exit(main())
