"""Nodes of a Ray cluster that are lost."""

from __future__ import annotations

from typing import Any

import psutil


def cut_power(cluster: Any, node: Any) -> None:
    """All processes of a node at once. Ray alone lets actors go on for as long as they do not miss their raylet."""
    [raylet] = node.all_processes["raylet"]
    below = psutil.Process(raylet.process.pid).children(recursive=True)
    for process in below:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)
