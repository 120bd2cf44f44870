"""Serves a registry over HTTP: /metrics, and /health, which reads nothing."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from pipeline.core.errors import Unavailable
from pipeline.machine.ports import another, holder

TIMEOUT_SECONDS = 10.0
"""For each read of a request, and for each write of an answer."""

MAX_THREADS = 800
"""Below the 1024 files that a process may usually open. A connection beyond is closed at once."""

_log = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ScrapeRequest(WSGIRequestHandler):
    timeout = TIMEOUT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Prometheus asks every few seconds; that is no news."""


class Server(ThreadingWSGIServer):
    """A thread for each connection, so a slow client holds up nobody."""

    request_queue_size = socket.SOMAXCONN

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        """Raises OSError when it cannot listen there."""
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), ScrapeRequest)
        self.set_app(application(registry))

    def verify_request(self, request: object, client_address: object) -> bool:
        return threading.active_count() < MAX_THREADS

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up or runs into the timeout is no news either."""
        _log.debug("no answer to %s", client_address, exc_info=True)


def application(registry: CollectorRegistry) -> Application:
    metrics = make_wsgi_app(registry)

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        status = "200 OK" if path in ("/", "/health") else "404 Not Found"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [b"tracewright's exporter; the metrics are at /metrics\n"]

    return respond


def serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raises Unavailable when it cannot listen there."""
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # in all threads that follow, too: `sigwait` gets them
    try:
        server = Server(registry, host, port)
    except OSError as error:
        raise Unavailable(_refusal(host, port, error)) from error
    threading.Thread(target=server.serve_forever, name="serve", daemon=True).start()
    where = f"[{host}]" if ":" in host else host
    print(f"monitoring: http://{where}:{server.server_port}/metrics", file=sys.stderr, flush=True)
    signal.sigwait(signals)


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by {holder(port)}; end that, or choose another: --port {another(port)}"
    if error.errno == errno.EACCES:
        return f"port {port} is for root only; choose one above 1023: --port 9108"
    return f"--host {host}: {error.strerror}; name an address of this machine, such as 127.0.0.1"
