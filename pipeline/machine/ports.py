"""TCP ports of this machine."""

from __future__ import annotations

import socket

import psutil


def is_free(port: int) -> bool:
    """Whether a program may listen there, on 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def another(port: int) -> int:
    return port + 1 if port < 65535 else port - 1


def holder(port: int) -> str:
    """The process that listens on the port, in words."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        connections = []
    pids = {c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.laddr[1:] == (port,) and c.pid}
    for pid in sorted(pids):
        try:
            return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})"
        except psutil.Error:
            continue
    return f"a process of another user (`sudo ss -ltnp 'sport = :{port}'` shows it)"
