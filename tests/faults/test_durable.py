"""A file is synced before it gets its name, and its folder after: only so is it whole or absent after a power cut."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

WRITE = (
    "import sys; from pathlib import Path; from pipeline.core.files import write_bytes\n"
    "write_bytes(Path(sys.argv[1]), b'x')"
)


def test_file_rename_folder_in_this_order(tmp_path: Path) -> None:
    path, log = tmp_path / "folder" / "a.ckpt", tmp_path / "log"
    path.parent.mkdir()
    options = ["-y", "-qq", "-e", "trace=write,fsync,rename,renameat,renameat2,openat", "-o", str(log)]
    subprocess.run(["strace", *options, sys.executable, "-c", WRITE, str(path)], cwd=ROOT, check=True)
    calls = [line for line in log.read_text().splitlines() if str(path.parent) in line and "O_RDONLY" not in line]
    temporary = rf"{re.escape(str(path.parent))}/\.[0-9a-f]+\.ckpt"
    expected = [
        rf'openat\(.*"{temporary}", O_WRONLY\|O_CREAT\|O_EXCL.*',
        rf'openat\(.*"{temporary}", O_WRONLY\|O_CREAT\|O_TRUNC.*',
        rf"write\(\d+<{temporary}>, .*",
        rf"fsync\(\d+<{temporary}>\) += 0",
        rf'rename\w*\(.*"{temporary}", .*"{re.escape(str(path))}".* = 0',
        rf"fsync\(\d+<{re.escape(str(path.parent))}>\) += 0",
    ]
    assert len(calls) == len(expected), calls
    for call, pattern in zip(calls, expected, strict=True):
        assert re.fullmatch(pattern, call), call
