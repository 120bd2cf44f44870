"""The Ray cluster that work is spread over: the one that RAY_ADDRESS names, one that runs on this machine, or a new one
for as long as it is needed. Ray is imported on first use only.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pipeline.core.errors import Mismatch, SettingsError, TracewrightError, Unavailable, brief

INSTALL = "install it with `pip install 'tracewright[scale]'`, or set compute.backend: local"
TOKEN = "set RAY_AUTH_TOKEN to the cluster's, or copy its ~/.ray/auth_token; RAY_ADDRESS=local starts another one here"

CHECK_SECONDS = 0.25
ANSWER_SECONDS = 5.0
MOST_RETRIES = 3
"""How often an order is tried again after its process or node was lost; more losses are no accident."""

HEAD_SECONDS = 20.0
"""How long the head may be silent. After 60 s Ray itself ends this process, whatever it is doing."""

_LOOK_SECONDS = 2.0
_OBJECT_STORE_BYTES = 500_000_000

WorkItem = TypeVar("WorkItem")
WorkResult = TypeVar("WorkResult")


class Cluster:
    """A cluster that this process is part of."""

    def __init__(self) -> None:
        self._head: str = ray_module().get_runtime_context().gcs_address
        self._look_at = 0.0
        self._silent_since: float | None = None
        self._cpus = 1
        self.look()

    def look(self) -> None:
        """Every few seconds, count the CPUs. Raises Unavailable when the head is silent for HEAD_SECONDS.

        Call it while waiting. Ray's own calls never return when the head is gone, so this asks for an answer first.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        try:
            _knock(self._head, 1.0)
        except OSError as error:
            self._silent_since = self._silent_since or now
            if now - self._silent_since > HEAD_SECONDS:
                raise Unavailable(
                    f"the head of the Ray cluster, {self._head}, has not answered for {HEAD_SECONDS:.0f} s ({error}); "
                    "start it again, or unset RAY_ADDRESS, and give the same command"
                ) from error
        else:
            self._silent_since = None
            self._cpus = max(1, int(ray_module().cluster_resources().get("CPU", 0)))

    @property
    def cpus(self) -> int:
        """The CPUs of all nodes that are up now, at least 1. Raises as `look`."""
        self.look()
        return self._cpus

    @property
    def node_cpus(self) -> list[int]:
        """The CPUs of each node that is up."""
        nodes = [node for node in ray_module().nodes() if node["Alive"]]
        return [int(node["Resources"].get("CPU", 0)) for node in nodes]

    def map_unordered(
        self,
        task: Callable[[WorkItem], WorkResult],
        orders: Iterable[WorkItem],
        *,
        at_once: int | None = None,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[WorkItem, WorkResult]]:
        """Yields each order with its answer, as answers arrive.

        Each order runs in a process with one CPU of the cluster, and runs again elsewhere when that process or its node
        is lost. task: a function that the nodes can import. orders: consumed lazily. at_once: orders handed out at a
        time; None for twice the number of CPUs. check_stop: called several times a second; an exception of its cancels
        the running orders, as closing the iterator does. Raises what the task and `look` raise, and Unavailable when
        an order's process was lost more than MOST_RETRIES times.
        """
        ray = ray_module()
        remote = ray.remote(num_cpus=1, max_retries=MOST_RETRIES)(task)
        waiting = iter(orders)
        at_work: dict[Any, WorkItem] = {}
        try:
            while True:
                check_stop()
                self.look()
                while len(at_work) < (at_once or 2 * self.cpus):
                    for order in waiting:
                        at_work[remote.remote(order)] = order
                        break
                    else:
                        break
                if not at_work:
                    return
                for reference in ray.wait(list(at_work), timeout=CHECK_SECONDS)[0]:
                    try:
                        yield at_work.pop(reference), answer_to(reference)
                    except ProcessLostError as error:
                        raise Unavailable(
                            f"a piece of work was lost {MOST_RETRIES + 1} times with its process ({error.reason}); "
                            "look at the nodes' memory, and at the logs in /tmp/ray/session_latest/logs on them"
                        ) from error
        finally:
            for reference in at_work:
                ray.cancel(reference, force=True)


class ProcessLostError(Exception):
    """A process of the cluster ended before it answered. reason: the last line of Ray's message."""

    @property
    def reason(self) -> str:
        return (str(self).strip().splitlines() or ["no message"])[-1].strip()


def answer_to(reference: Any) -> Any:
    """A reference's answer. Raises ProcessLostError when process or node is gone, else what the task raised."""
    ray = ray_module()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TracewrightError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise ProcessLostError(str(error)) from error


@contextmanager
def connect(cpus: int = 0) -> Iterator[Cluster]:
    """Join a cluster for the block; nested blocks share it.

    cpus: of the cluster that is started when none is found; 0 for one per core that this process may use.
    Raises Unavailable when Ray is not installed, the cluster does not answer or refuses the token, SettingsError for
    an invalid address, Mismatch when the cluster has other versions.
    """
    ray = ray_module()
    if ray.is_initialized():
        yield Cluster()
        return
    before = signal.getsignal(signal.SIGTERM)
    # In /tmp, as Ray's own: socket paths are limited to 107 bytes, and $TMPDIR may be deep.
    with tempfile.TemporaryDirectory(prefix="tracewright-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            try:
                _join_or_start(ray, cpus or len(os.sched_getaffinity(0)), folder)
            finally:
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, before)  # Ray replaced the handler
            yield Cluster()
        finally:
            ray.shutdown()


def ray_module() -> ModuleType:
    """Ray, with token authentication on and nothing sent to its makers. Raises Unavailable when it is not installed."""
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        raise SettingsError(
            f"RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']!r}: anybody who reaches such a cluster can run code on it; "
            "set it to token, or unset it"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # The default from Ray's next release on; without it Ray warns.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise Unavailable(f"Ray is not installed ({error}); {INSTALL}") from error
    return ray


def _join_or_start(ray: ModuleType, cpus: int, folder: str) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS") or "auto"
    if address != "local" and _join(ray, address, quiet):
        return
    has_token = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    if not has_token and not (Path.home() / ".ray/auth_token").is_file():
        # For this process's cluster alone; Ray would write a token that other users can read.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=folder,
        **quiet,
    )


def _join(ray: ModuleType, address: str, quiet: dict[str, Any]) -> bool:
    """False when the address is `auto` and no cluster runs on this machine."""
    if address != "auto":
        _check_address(address)
    try:
        ray.init(address=address, **quiet)
        return True
    except ray.exceptions.AuthenticationError as error:
        raise Unavailable(f"the Ray cluster at {address} asks for a token, and there is none here; {TOKEN}") from error
    except ConnectionError as error:
        if address == "auto" and "Could not find any running Ray instance" in str(error):
            return False
        if "InvalidAuthToken" in "".join(traceback.format_exception(error)):
            raise Unavailable(f"the Ray cluster at {address} refuses this process's token; {TOKEN}") from error
        raise Unavailable(f"the Ray cluster at {address} cannot be joined: {brief(error)}") from error
    except RuntimeError as error:
        if "ersion mismatch" in str(error):
            raise Mismatch(f"the Ray cluster at {address} has other versions than this process: {error}") from error
        raise Unavailable(f"the Ray cluster at {address} cannot be joined: {brief(error)}") from error


def _check_address(address: str) -> None:
    """Asks the head for a sign of life; Ray itself would try for two minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise SettingsError(
            f"RAY_ADDRESS is {address!r}: write host:port of the cluster's head, as `ray start --head` shows it, and "
            "start the command on a machine of the cluster"
        )
    try:
        _knock(address, ANSWER_SECONDS)
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"no Ray cluster answers at {address} ({error}); `ray start --head` starts one, RAY_ADDRESS names it"
        ) from error


def _knock(address: str, seconds: float) -> None:
    """Raises OSError where nobody answers at host:port."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()
