"""A real Ray cluster of several local nodes, started once for all tests of a process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from pipeline.core.cluster import Cluster, connect, ray_module
from tests.support import tracers

NODES = 2


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """NODES nodes of one CPU each, with a token of their own. RAY_ADDRESS names it."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'tracewright[scale]'")
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    patch.delenv("RAY_ADDRESS", raising=False)
    ray = ray_module()
    from ray.cluster_utils import Cluster

    started: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(NODES - 1):
        started.add_node(num_cpus=1)
    patch.setenv("RAY_ADDRESS", started.address)
    ray.cloudpickle.register_pickle_by_value(tracers)
    yield started
    started.shutdown()
    patch.undo()


@pytest.fixture(scope="session")
def running(cluster: Any) -> Iterator[Cluster]:
    """Being part of it, so that the pools of the tests need not join it each."""
    with connect() as cluster_joined:
        yield cluster_joined


@pytest.fixture
def another_node(cluster: Any, running: Cluster) -> Iterator[Any]:
    """One more, to be lost."""
    node = cluster.add_node(num_cpus=1)
    yield node
    if node in cluster.worker_nodes:
        cluster.remove_node(node)
