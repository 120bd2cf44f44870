"""`make up`: starts what runs on one machine without Docker, says where it answers, and stops all of it at Ctrl-C.

supervisor (supervisord.org) runs the services: one that ends is started again, and the others go on meanwhile, since
an alarm about a dashboard that died must still reach somebody. This module is the front of it: ports are checked
before anything starts, and what is printed is whether each service answers, not whether its process exists.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from monitoring.services import FOLDER, PORTS, Service, plan
from pipeline.core.errors import SettingsError, TracewrightError, Unavailable
from pipeline.machine.ports import another, holder, is_free

POLL_SECONDS, CALM_SECONDS = 1.0, 5.0
"""Between two looks: while something does not answer, and when all does."""

MISSES_AT_START, MISSES = 30, 2
"""Checks without an answer before it is reported."""

ANSWER_SECONDS = 3.0
STOP_SECONDS = 10
"""How long a service may take to stop before it is killed."""

_PR_SET_CHILD_SUBREAPER = 36


class _StopAsked(Exception):
    """A signal requested the end."""


def taken(services: Iterable[Service], is_free: Callable[[int], bool], holder: Callable[[int], str]) -> list[str]:
    """A sentence for each service whose port is taken: by whom, and what to do.

    holder: who listens on a port, in words.
    """
    return [
        f"port {service.port} of {service.name} is taken by {holder(service.port)}; "
        f"end that, or choose another: {service.port_variable}={another(service.port)} make up"
        for service in services
        if not is_free(service.port)
    ]


def configuration(services: Iterable[Service], root: Path, dies_with_parent: Sequence[str]) -> str:
    """supervisord's settings. dies_with_parent: put before each command, so that no kill leaves anything behind."""
    folder = root / FOLDER
    lines = [
        "[supervisord]",
        "nodaemon=true",
        f"logfile={_escaped(folder / 'supervisord.log')}",
        "logfile_maxbytes=1MB",
        "logfile_backups=1",
        f"pidfile={_escaped(folder / 'supervisord.pid')}",
    ]
    for service in services:
        environment = ",".join(f'{name}="{_escaped(value)}"' for name, value in service.environment.items())
        lines += [
            "",
            f"[program:{service.name}]",
            f"command={_escaped(shlex.join([*dies_with_parent, *service.command]))}",
            f"directory={_escaped(root)}",
            f"environment={environment}",
            "autorestart=true",
            "startsecs=3",
            "startretries=10",
            "stopasgroup=true",
            "killasgroup=true",
            f"stopwaitsecs={STOP_SECONDS}",
            "redirect_stderr=true",
            f"stdout_logfile={_escaped(log(root, service))}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=1",
        ]
    return "\n".join(lines) + "\n"


def log(root: Path, service: Service) -> Path:
    return root / FOLDER / f"{service.name}.log"


def _escaped(value: object) -> str:
    """supervisord expands what stands after a percent sign."""
    return str(value).replace("%", "%%")


def answers(service: Service) -> bool:
    try:
        with urllib.request.urlopen(service.address + service.health, timeout=ANSWER_SECONDS) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def watch(
    services: Sequence[Service],
    is_alive: Callable[[], bool],
    say: Callable[[str], None],
    *,
    log_of: Callable[[Service], Path],
    turn: Callable[[float], None],
) -> None:
    """Says whenever a service begins or ceases to answer, until the supervisor ends.

    turn: called after each look, with the seconds until the next.
    """
    told: dict[str, bool] = {}
    misses: Counter[str] = Counter()
    while is_alive():
        for service in services:
            name = service.name
            if answers(service):
                misses[name] = 0
                if not told.get(name):
                    say(f"{name:<13}{service.address:<24}{service.shows}")
                told[name] = True
                continue
            misses[name] += 1
            if told.get(name, True) and misses[name] >= (MISSES if name in told else MISSES_AT_START):
                say(f"{name:<13}does not answer; it is started again if it ended. {ending(log_of(service))}")
                told[name] = False
        turn(CALM_SECONDS if all(told.get(service.name) for service in services) else POLL_SECONDS)


def ending(path: Path) -> str:
    """The last line of a log, and where the others are."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[-1000:]
    except OSError:
        lines = []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
    return f"Its log {path} ends with: {''.join(filter(str.isprintable, last))[:200]}"


def run(services: Sequence[Service], root: Path, say: Callable[[str], None]) -> int:
    """Runs the services until a signal comes; returns the exit code. Nothing is left when it returns."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (file for service in services for file in service.files.items()):
        (folder / name).write_text(text, encoding="utf-8")
    setpriv = shutil.which("setpriv")
    dies_with_parent = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    config = folder / "supervisord.conf"
    config.touch(mode=0o600)  # it holds Grafana's password
    config.write_text(configuration(services, root, dies_with_parent), encoding="utf-8")
    command = [*dies_with_parent, sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
    _stop_on_signals()
    adopt_orphans()
    # In a session of its own, so that a Ctrl-C reaches this process alone, and the stop is an orderly one.
    supervisor = subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )

    def turn(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            end_orphans(supervisor.pid)
            time.sleep(POLL_SECONDS)

    try:
        watch(services, lambda: supervisor.poll() is None, say, log_of=lambda service: log(root, service), turn=turn)
    except _StopAsked:
        say("stopping all services")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        supervisor.terminate()
        code = supervisor.wait()
        end_orphans(supervisor.pid)
    if code:
        raise Unavailable(f"supervisord ended with {code}; see {folder / 'supervisord.log'}")
    say("all services are stopped")
    return 0


def adopt_orphans() -> None:
    """What a service that died has left becomes this process's child, where the system can do that (Linux)."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(supervisor: int) -> None:
    """Ends them: they would keep the port from the service that is started again."""
    orphans = [child for child in psutil.Process().children() if child.pid != supervisor]
    for orphan in orphans:
        orphan.terminate()
    _, slow = psutil.wait_procs(orphans, timeout=STOP_SECONDS)
    for orphan in slow:
        orphan.kill()
    psutil.wait_procs(slow)


def _stop_on_signals() -> None:
    """SIGHUP as well, which a terminal that is closed sends; `nohup make up` has it ignored, and goes on."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise _StopAsked

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def chosen(names: Sequence[str], root: Path) -> list[Service]:
    """The services to start, of those named or of all; says which are left out. Raises SettingsError or Unavailable."""
    unknown = [name for name in names if name not in PORTS]
    if unknown:
        raise SettingsError(f"there is no service {unknown[0]!r}; there are {', '.join(PORTS)}")
    if not (root / "params.yaml").is_file():
        raise SettingsError("there is no params.yaml here; start it in the project's folder")
    services, left_out = plan(root, os.environ, shutil.which)
    services = [service for service in services if not names or service.name in names]
    problems = taken(services, is_free, holder)
    for name, reason in left_out.items():
        if not names or name in names:
            print(f"{name:<13}is left out: {reason}", flush=True)
    if problems or not services:
        raise Unavailable("\n    ".join(problems) or "nothing is left to start")
    return services


def main() -> int:
    """`python -m monitoring.up [NAME...]`: all services, or these alone."""
    root = Path.cwd()
    try:
        services = chosen(sys.argv[1:], root)
        print(f"starting {', '.join(service.name for service in services)}; Ctrl-C stops all of it", flush=True)
        return run(services, root, lambda line: print(line, flush=True))
    except TracewrightError as error:
        print(f"up: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
