"""A shard process: `python -m pipeline.vectorizing.process PARENT`, which `pipeline.vectorizing.crew` starts.

The first line of standard input is the assignment; each line after it is an order: {"shard": 7}, or
{"shard": 7, "only": 12} for one file of it. Lines of standard output: {"ready": true}, then for each order
{"files": n} as they are done and at last {"tally": ...} or {"result": ...}; {"error": text, "exit_code": n} where
nothing can be done. It may die at any time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import cv2

from pipeline.core.errors import Stopped, TracewrightError
from pipeline.core.stop_signals import sigterm_when_parent_ends, stop_on_sigterm
from pipeline.vectorizing.disk import sync_disk
from pipeline.vectorizing.shard import Assignment, ShardWorker
from pipeline.vectorizing.table import tally_of

TELL_EVERY_FILES = 32

Say = Callable[[dict[str, Any]], None]


def main() -> int:
    """Returns the exit code."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Whatever a library prints must not end up between the answers.

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which decides.
    stop_on_sigterm()
    try:
        _end_with(int(sys.argv[1]))
        cv2.setNumThreads(1)
        with ShardWorker(Assignment(**json.loads(sys.stdin.readline()))) as worker:
            say({"ready": True})
            for line in sys.stdin:
                obey(worker, json.loads(line), say)
    except (Stopped, BrokenPipeError):
        return Stopped.exit_code
    except TracewrightError as error:
        say({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return 0


def obey(worker: ShardWorker, order: dict[str, Any], say: Say) -> None:
    if (only := order.get("only")) is not None:
        [result] = worker.results([worker.plan.entries(order["shard"])[only]])
        sync_disk(worker.plan.output)
        say({"result": asdict(result)})
        return
    results = []
    for result in worker.do(order["shard"]):
        results.append(result)
        if len(results) % TELL_EVERY_FILES == 0:
            say({"files": TELL_EVERY_FILES})
    say({"files": len(results) % TELL_EVERY_FILES})
    say({"tally": asdict(tally_of(results))})


def _end_with(parent: int) -> None:
    """SIGTERM comes when the parent ends. Raises Stopped when it has."""
    sigterm_when_parent_ends()
    if os.getppid() != parent:
        raise Stopped("stopped: the parent has ended")


if __name__ == "__main__":
    sys.exit(main())
