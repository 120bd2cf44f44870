"""A real PostgreSQL server for the tests, where one is installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USER = "postgres"  # the server refuses to run as root

IS_INSTALLED = bool(_BINARIES) and importlib.util.find_spec("psycopg") is not None


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of an empty database, as SQLAlchemy takes it; gone with all that is in it when the block ends."""
    as_user = {"user": USER, "group": USER} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="tracewright-postgres-"))
    if as_user:
        shutil.chown(folder, USER, USER)
    port = free_port()

    def run(name: str, *arguments: str) -> None:
        subprocess.run(
            [_BINARIES[-1] / name, *arguments],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=120,
            **as_user,  # type: ignore[call-overload]
        )

    try:
        run("initdb", "--auth=trust", f"--username={USER}", "--no-sync", "-D", f"{folder}/data")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        run("pg_ctl", "-D", f"{folder}/data", "-o", options, "-w", "-l", f"{folder}/log", "start")
        try:
            yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
