"""Every writer, killed before each of its system calls: what it left is the old or the new, and it can go on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.files import read_json
from pipeline.tracing.evaluation_store import EvaluationStore
from pipeline.tracing.store_pool import Ledger
from pipeline.tracking.journal import Journal, records
from pipeline.training.checkpoint import read_checkpoint
from pipeline.training.checkpoint_store import files_in, latest_in
from tests.support.source import ROOT
from tests.support.tally import tally
from tests.support.writers import SAVES, write_all

CALLS = "openat,write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat"
EVERY = int(os.environ.get("TRACEWRIGHT_EVERY_BOUNDARY", "60"))

WRITERS = ROOT / "tests/support/writers.py"

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

Boundary = tuple[str, int]
"""A system call's name, and how many of that name the process had made, this one included."""


def traced(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    return subprocess.run(
        ["strace", "-f", "-qq", *options, sys.executable, "-m", "tests.support.writers", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def boundaries(folder: Path) -> list[Boundary]:
    """The calls between the writers' first mark and their last."""
    done = traced(folder, "-e", f"trace={CALLS}", "-o", f"{folder}.trace")
    assert done.returncode == 0, done.stderr
    counts: Counter[str] = Counter()
    found: list[Boundary] = []
    between = False
    for line in Path(f"{folder}.trace").read_text().splitlines():
        call = re.match(r"\d+ +(\w+)\(", line)
        if call is None:
            continue
        counts[call[1]] += 1
        if between:
            found.append((call[1], counts[call[1]]))
        if f'"{folder}/begin"' in line:
            between = True
        if f'"{folder}/end"' in line:
            return found
    raise AssertionError("the writers' last mark is missing")


def test_a_kill_at_a_system_call_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    every = boundaries(tmp_path / "whole")
    assert {"openat", "write", "fsync", "rename", "unlink", "pwrite64"} <= {name for name, _ in every}
    inside: Counter[str] = Counter()
    for number, (name, nth) in enumerate(every[::EVERY]):
        folder = tmp_path / str(number)
        killed = traced(folder, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}", "-o", "/dev/null")
        assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), (name, nth, killed.stderr)
        check(folder)
        write_all(folder)
        check(folder, finished=True)
        inside[name] += 1
    tally("SIGKILL before a system call", killed=inside.total(), boundaries=len(every), **inside)


def check(folder: Path, *, finished: bool = False) -> None:
    """Whatever stands in the folder is whole."""
    for path in files_in(folder / "checkpoints"):
        read_checkpoint(path)
    if (folder / "training.json").exists():
        assert read_json(folder / "training.json", "x")["delivered"] in (False, True)
    if (folder / "evaluations.sqlite").exists():
        with EvaluationStore(folder / "evaluations.sqlite", 10**7, {"tracer": "1"}) as store:
            assert len(store) in (0, 1)
    assert not list(folder.glob("*damaged*")), "a store that was put aside as damaged"
    if (folder / "asked.bin").exists():
        with Ledger(folder / "asked.bin") as ledger:
            assert set(ledger.noted()) <= {(bytes(16), 3, True)}
    if (folder / "journal.jsonl").exists():
        journal = Journal(folder)  # which drops a line that was torn, and names any other damage
        journal.close()
        written = [record for record, _ in records(folder / "journal.jsonl", 0)]
        for record in written:
            if record["kind"] == "artifact":
                assert (folder / record["path"]).read_bytes() == WRITERS.read_bytes()
            if record["kind"] == "model":
                assert (folder / "models/agent-1" / WRITERS.name).read_bytes() == WRITERS.read_bytes()
        if finished:
            assert [record["kind"] for record in written] == [
                "start",
                "metrics",
                "metrics",
                "artifact",
                "model",
                "end",
            ]
    if finished:
        latest = latest_in(folder / "checkpoints")
        assert latest is not None
        assert latest[1].facts["summary"]["timesteps"] == SAVES
        assert not list((folder / "checkpoints").glob(".*"))
