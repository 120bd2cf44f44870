"""The one place that decides the state of a run, from its status, its launch and the process that has it."""

from __future__ import annotations

from typing import Any, Literal

from pipeline.core.errors import Stopped
from pipeline.machine.processes import find_process
from pipeline.machine.sources import Machine
from pipeline.runs.launch import Launch
from pipeline.runs.status import ReportedState, RunStatus

RunState = Literal["waiting", "preparing", "training", "finished", "stopped", "failed", "killed"]
"""waiting: for room on the machine. killed: its process ended without recording how, as after a power cut."""

ACTIVE: tuple[RunState, ...] = ("waiting", "preparing", "training")
TROUBLE: tuple[RunState, ...] = ("failed", "killed")


def process_of(machine: Machine, status: RunStatus | None, launch: Launch | None) -> Any | None:
    """The living process that has the run, as psutil gives it: its launch's, else the one that wrote its status."""
    found = None
    if launch is not None and launch.pid is not None and launch.process_started_seconds is not None:
        found = find_process(machine, launch.pid, launch.process_started_seconds)
    if found is None and status is not None and status.state in ACTIVE:
        found = find_process(machine, status.pid, status.process_started_seconds)
    return found


def state_of(status: RunStatus | None, launch: Launch | None, pid: int | None) -> RunState:
    """The process that began last decides. pid: of the living process that has the run; None where there is none."""
    if launch is None or (status and status.process_started_seconds > (launch.process_started_seconds or 0.0)):
        return "killed" if status is None or (status.state in ACTIVE and pid is None) else status.state
    if pid is not None and launch.phase == "waiting":
        return "waiting"
    if pid is not None:
        # A training that has ended goes on in the background until its results are written.
        return "preparing" if status is None or status.pid != pid or status.state == "preparing" else "training"
    if launch.exit_code is None:
        return "killed"
    return "finished" if launch.exit_code == 0 else "stopped" if launch.exit_code == Stopped.exit_code else "failed"


def state_after(error: BaseException | None) -> ReportedState:
    """What a training reports when it ends, with this error or without one."""
    if error is None:
        return "finished"
    return "stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed"
