"""The Ray cluster that work is spread over: the one that RAY_ADDRESS names, one that runs on this machine, or one that
is started here for as long as it is needed. Ray is imported only here and below, when it is asked for.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
import threading
import time
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
"""Of an order whose process or node was lost: more is no accident."""

HEAD_SECONDS = 20.0
"""For which the head may be silent. After 60 Ray itself ends this process, in the middle of whatever it is at."""

_LOOK_SECONDS = 2.0
_OBJECT_STORE_BYTES = 500_000_000

Order = TypeVar("Order")
Answer = TypeVar("Answer")


class Joined:
    """A cluster that this process is part of."""

    def __init__(self) -> None:
        self._head: str = ray_module().get_runtime_context().gcs_address
        self._look_at = 0.0
        self._silent_since: float | None = None
        self._cpus = 1
        self.look()

    def look(self) -> None:
        """Every few seconds, see how many CPUs there are. Raises Unavailable when the head is silent for HEAD_SECONDS.

        To be called while something is waited for. Ray's own calls to a head that is gone do not return, so somebody
        must be there before one is made.
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
        """Of all nodes that are up now, at least 1. Raises as `look`."""
        self.look()
        return self._cpus

    @property
    def node_cpus(self) -> list[int]:
        """The CPUs of each node that is up."""
        nodes = [node for node in ray_module().nodes() if node["Alive"]]
        return [int(node["Resources"].get("CPU", 0)) for node in nodes]

    def map_unordered(
        self,
        task: Callable[[Order], Answer],
        orders: Iterable[Order],
        *,
        at_once: int | None = None,
        check_stop: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[Order, Answer]]:
        """Each order with its answer, in the order in which they are done.

        Each is worked on in a process of its own that has one CPU of the cluster, and is done again elsewhere when that
        process or its node is lost. task: a function that the nodes can import. orders: of any length, taken as there
        is room. at_once: orders handed out at a time; None for twice as many as there are CPUs. check_stop: called
        several times a second; what it raises ends what is at work, as closing the iterator does.
        Raises what the task raises, what `look` raises, and Unavailable when an order's process was lost more than
        MOST_RETRIES times.
        """
        ray = ray_module()
        remote = ray.remote(num_cpus=1, max_retries=MOST_RETRIES)(task)
        waiting = iter(orders)
        at_work: dict[Any, Order] = {}
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
                    order = at_work.pop(reference)
                    yield order, _answer(reference)
        finally:
            for reference in at_work:
                ray.cancel(reference, force=True)


class Lost(Exception):
    """A process of the cluster ended before it answered. reason: the last line of what Ray says."""

    @property
    def reason(self) -> str:
        return (str(self).strip().splitlines() or ["no message"])[-1].strip()


def answer_to(reference: Any) -> Any:
    """The answer that a reference stands for, waiting for it.

    Raises Lost when the process or its node is gone, and what the work there raised.
    """
    ray = ray_module()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TracewrightError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise Lost(str(error)) from error


def _answer(reference: Any) -> Any:
    try:
        return answer_to(reference)
    except Lost as error:
        raise Unavailable(
            f"a piece of work was lost {MOST_RETRIES + 1} times with its process ({error.reason}); look at the nodes' "
            "memory, and at the logs in /tmp/ray/session_latest/logs on them"
        ) from error


@contextmanager
def joined(cpus: int = 0) -> Iterator[Joined]:
    """Be part of a cluster while the block runs. Inside another such block it is the same cluster.

    cpus: of the cluster that is started here when none is found; 0 for one per core that this process may use.
    Raises Unavailable when Ray is not installed, the cluster does not answer or refuses the token, SettingsError when
    the address cannot be one, Mismatch when the cluster has other versions.
    """
    ray = ray_module()
    if ray.is_initialized():
        yield Joined()
        return
    # As Ray's own: the paths of its sockets may have 107 bytes, and another temporary folder may be deep.
    with tempfile.TemporaryDirectory(prefix="tracewright-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        try:
            with _own_sigterm():
                _join_or_start(ray, cpus or len(os.sched_getaffinity(0)), folder)
            yield Joined()
        finally:
            ray.shutdown()


def ray_module() -> ModuleType:
    """Ray, with token authentication on and nothing sent to its makers. Raises Unavailable when it is not installed."""
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        raise SettingsError(
            f"RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']!r}: whoever reached such a cluster could run code on it; "
            "write token, or unset it"
        )
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray will do from its next release on, as it says in a warning.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise Unavailable(f"Ray is not installed ({error}); {INSTALL}") from error
    return ray


def _join_or_start(ray: ModuleType, cpus: int, folder: str) -> None:
    quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS") or "auto"
    if address != "local":
        try:
            _join(ray, address, quiet)
            return
        except _NoneRuns:
            """One is started."""
    _make_token()
    ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=folder,
        **quiet,
    )


class _NoneRuns(Exception):
    """No cluster runs on this machine."""


def _join(ray: ModuleType, address: str, quiet: dict[str, Any]) -> None:
    if address != "auto":
        _must_answer(address)
    try:
        ray.init(address=address, **quiet)
    except ray.exceptions.AuthenticationError as error:
        raise Unavailable(f"the Ray cluster at {address} asks for a token, and there is none here; {TOKEN}") from error
    except ConnectionError as error:
        if address == "auto" and "Could not find any running Ray instance" in str(error):
            raise _NoneRuns from error
        if "InvalidAuthToken" in "".join(map(str, _causes(error))):
            raise Unavailable(f"the Ray cluster at {address} refuses this process's token; {TOKEN}") from error
        raise Unavailable(f"the Ray cluster at {address} cannot be joined: {brief(error)}") from error
    except RuntimeError as error:
        if "ersion mismatch" in str(error):
            raise Mismatch(f"the Ray cluster at {address} has other versions than this process: {error}") from error
        raise Unavailable(f"the Ray cluster at {address} cannot be joined: {brief(error)}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _must_answer(address: str) -> None:
    """Ray itself would try for two minutes."""
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


def _make_token() -> None:
    """For a cluster of this process alone, where there is none; Ray would write one that other users can read."""
    if (
        not ({"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys())
        and not (Path.home() / ".ray/auth_token").is_file()
    ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in SIGTERM's place; who waits for the signal here has it back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
