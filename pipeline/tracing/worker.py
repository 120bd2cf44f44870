"""One tracing process: `python -m pipeline.tracing.worker`. It may die at any time; pipeline.tracing.tracer_pool copes.

Frames come on standard input and go out on standard output. It ends when its input ends, so it does not outlive the
pool; an alarm ends it where VTracer hangs and nobody is left to kill it.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
from collections.abc import Iterator

import cv2

from pipeline.core.pixels import rgb_of
from pipeline.core.records import Logo
from pipeline.tracing.evaluation import TraceEvaluator, evaluation_versions
from pipeline.tracing.frames import Frame, Unpacker, answer_frame, pack, parse_job
from pipeline.tracing.raster import DRAWINGS

_ALARM_GRACE_SECONDS = 1.0
"""How much later than the pool's deadline the alarm goes off: the pool's own kill says more."""

_PIECE = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--timeout-seconds", type=float, required=True)
    parser.add_argument("--background", required=True)
    parser.add_argument("--rasteriser", choices=list(DRAWINGS), default=next(iter(DRAWINGS)))
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool's process, which decides.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (arguments.memory_bytes, arguments.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cv2.setNumThreads(1)
    answers = os.dup(1)
    os.dup2(2, 1)  # Whatever a library prints must not end up between the frames.
    bench = TraceEvaluator(rgb_of(arguments.background), DRAWINGS[arguments.rasteriser])
    versions = evaluation_versions(arguments.background, arguments.rasteriser)
    _send(answers, pack({"ready": True, "versions": versions}))
    serve(answers, bench, arguments.timeout_seconds)


def serve(answers: int, bench: TraceEvaluator, timeout_seconds: float) -> None:
    """Answer every job on standard input until it ends."""
    logos: dict[str, Logo] = {}
    for header, body in _frames(0):
        digest = header["digest"]
        if header["do"] == "image":
            logos[digest] = Logo(
                "", body, header["width"], header["height"], "simple", digest
            )  # its name is not needed
        elif header["do"] == "forget":
            del logos[digest]
        else:
            signal.setitimer(signal.ITIMER_REAL, timeout_seconds + _ALARM_GRACE_SECONDS)
            evaluation = bench.evaluate(parse_job(logos[digest], header))
            signal.setitimer(signal.ITIMER_REAL, 0)
            _send(answers, answer_frame(evaluation))
            _forget_messages()


def _frames(descriptor: int) -> Iterator[Frame]:
    unpacker = Unpacker()
    while piece := os.read(descriptor, _PIECE):
        yield from unpacker.feed(piece)


def _send(descriptor: int, frame: bytes) -> None:
    rest = memoryview(frame)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _forget_messages() -> None:
    """Standard error is a file that the pool reads when this process dies: keep the last job's messages only."""
    os.ftruncate(2, 0)


if __name__ == "__main__":
    main()
