"""A tuning worker on a node of a Ray cluster: the same process as on this machine, started and watched by an actor.

The project's folder must be on a file system that all nodes share; that a node has it is seen before its worker begins.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.cluster import CHECK_SECONDS, Lost, answer_to, ray_module
from pipeline.core.errors import Unavailable
from pipeline.core.files import read_json
from pipeline.tracing.store_pool import STORE_VARIABLE
from pipeline.tuning.process import started

START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """What an actor is told.

    order: JSON, for the worker's standard input. mark: a file of the study that every node must see, and what stands in
    it. host: the machine that the command was given on.
    """

    root: str
    order: str
    log: str
    mark: tuple[str, Mapping[str, Any]]
    host: str


class Workplace:
    """One worker's room on a node. Made into an actor there."""

    def __init__(self, place: Place) -> None:
        here = socket.gethostname()
        path, content = place.mark
        if not Path(path).is_file() or read_json(Path(path), "tracewright tune") != content:
            raise Unavailable(
                f"{here} of the Ray cluster does not see {path}; put the project on a file system that all "
                "nodes share, at the same path"
            )
        environment = dict(os.environ)
        if here != place.host:
            # SQLite's write-ahead log does not work between machines.
            environment[STORE_VARIABLE] = str(Path(tempfile.gettempdir()) / f"tracewright-{os.getuid()}.sqlite")
        self._process = started(place.root, place.order, Path(place.log), environment)

    def poll(self) -> int | None:
        """Its exit code, when it has ended."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to leave its trial and end."""
        self._process.terminate()


class Placed:
    """A worker on the cluster, with what `tune` needs of a process. A node that is lost is as a kill."""

    def __init__(self, place: Place, cpus: int) -> None:
        self._ray = ray_module()
        self._place = place
        self._remote = self._ray.remote(num_cpus=cpus, max_restarts=0, scheduling_strategy="SPREAD")(Workplace)
        self._deadline = time.monotonic() + START_SECONDS
        self._trouble = f"no CPU of the Ray cluster was to be had for {START_SECONDS:.0f} s"
        self._begun = False
        self._code: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._actor = self._remote.remote(self._place)
        self._asked = self._actor.poll.remote()

    def poll(self) -> int | None:
        """Its exit code, when it has ended; that of SIGKILL where its node was lost."""
        if self._code is not None:
            return self._code
        if self._ray.wait([self._asked], timeout=0)[0]:
            self._take_answer()
        elif not self._begun and time.monotonic() > self._deadline:
            self._give_up()
        return self._code

    def terminate(self) -> None:
        if self._code is None:
            self._actor.terminate.remote()

    def wait(self, timeout: float) -> int:
        """Raises subprocess.TimeoutExpired when it has not ended by then."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("pipeline.tuning.worker", timeout)
            time.sleep(CHECK_SECONDS)
        return code

    def _take_answer(self) -> None:
        try:
            self._code = answer_to(self._asked)
        except Lost as error:
            if self._begun:
                self._end(-signal.SIGKILL)
            elif time.monotonic() < self._deadline:
                self._trouble = error.reason
                self._begin()  # It may have been sent to a node that is gone, which the cluster had not noticed yet.
            else:
                self._give_up()
            return
        self._begun = True
        if self._code is None:
            self._asked = self._actor.poll.remote()
        else:
            self._end(self._code)

    def _give_up(self) -> None:
        with Path(self._place.log).open("a", encoding="utf-8") as log:
            log.write(f"{self._trouble}\n")
        self._end(Unavailable.exit_code)

    def _end(self, code: int) -> None:
        self._code = code
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)


def cpus_each(nodes: Sequence[int], workers: int) -> int:
    """The most CPUs that each of so many workers can have, each on one node. nodes: the CPUs of each; 0 for none."""
    fitting = [cpus for cpus in range(1, max(nodes, default=0) + 1) if sum(n // cpus for n in nodes) >= workers]
    return max(fitting, default=0)
