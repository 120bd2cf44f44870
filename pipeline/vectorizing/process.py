"""A shard process: `python -m pipeline.vectorizing.process PARENT`, which `pipeline.vectorizing.shard_pool` starts.

The first line of standard input is the assignment; each line after it is an order: {"shard": 7}, or
{"shard": 7, "only": 12} for one file of it. Lines of standard output: {"ready": true}; for each order {"files": n} as
files are done, then {"tally": ...} or {"result": ...}; {"error": text, "exit_code": n} before the process gives up.
It may die at any time.
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
from pipeline.core.processes import end_with_parent
from pipeline.core.stop_signals import stop_on_sigterm
from pipeline.vectorizing.disk import sync_disk
from pipeline.vectorizing.request import Assignment
from pipeline.vectorizing.shard import ShardWorker
from pipeline.vectorizing.table import tally_of

REPORT_EVERY_FILES = 32

Send = Callable[[dict[str, Any]], None]


def main() -> int:
    """Returns the exit code."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not end up between the answers

    def send(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which decides
    stop_on_sigterm()
    try:
        end_with_parent(int(sys.argv[1]))
        cv2.setNumThreads(1)
        with ShardWorker(Assignment.from_line(sys.stdin.readline())) as worker:
            send({"ready": True})
            for line in sys.stdin:
                carry_out(worker, json.loads(line), send)
    except (Stopped, BrokenPipeError):
        return Stopped.exit_code
    except TracewrightError as error:
        send({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return 0


def carry_out(worker: ShardWorker, order: dict[str, Any], send: Send) -> None:
    if (only := order.get("only")) is not None:
        [result] = worker.vectorize([worker.plan.entries(order["shard"])[only]])
        sync_disk(worker.plan.output)
        send({"result": asdict(result)})
        return
    results = []
    for result in worker.vectorize_shard(order["shard"]):
        results.append(result)
        if len(results) % REPORT_EVERY_FILES == 0:
            send({"files": REPORT_EVERY_FILES})
    send({"files": len(results) % REPORT_EVERY_FILES})
    send({"tally": asdict(tally_of(results))})


if __name__ == "__main__":
    sys.exit(main())
