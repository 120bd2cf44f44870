"""What counts as a training's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.training.validation_callback import memory_used_bytes

HELD_BYTES = 200_000_000


@pytest.mark.parametrize(("name", "counts"), [("tracer", True), ("raylet", False), ("gcs_server", False)])
def test_memory_below_a_process_counts_unless_it_is_ray_s(tmp_path: Path, name: str, counts: bool) -> None:
    """A process of this name with a child that holds the memory."""
    program = tmp_path / name
    program.symlink_to(os.path.realpath(sys.executable))
    holder = f"held = b'1' * {HELD_BYTES}; print('ready', flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([{sys.executable!r}, '-c', {holder!r}])"
    before = memory_used_bytes()
    with subprocess.Popen([program, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        grown = memory_used_bytes() - before
        process.communicate(b"\n")
    assert (grown >= HELD_BYTES) == counts, f"{grown} bytes more"
