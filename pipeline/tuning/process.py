"""The start of a tuning worker's process, on whatever machine it is to work."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def started(root: str, order: str, log: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """A worker's process on this machine; what it says goes to the log's end."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.tuning.worker"],
            cwd=root,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the command alone, which passes it on
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(order)
    return process
