"""An HTTP server that slow clients cannot stop: one loop reads all requests and sends all answers.

It knows what a scrape needs of HTTP/1.1 and no more: GET and HEAD without a body, connections that are kept.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys

import psutil

from monitoring.exporter import Answer, Site

MOST_CONNECTIONS = 900
"""Below the 1024 files that a process may usually open; then who has been silent longest makes room."""

IDLE_SECONDS = 60.0
"""After its last answer a connection is closed, whatever it sent of a question; longer than scrapes are apart."""

MAX_REQUEST_BYTES = 16384

_log = logging.getLogger(__name__)

_ADDRESS = "name an address of this machine, 127.0.0.1 say"


class CannotListen(Exception):
    """The message names who has it, and what to do."""


def serve(site: Site, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotListen when it cannot listen there."""
    listening = listen(host, port)
    address, its_port = listening.getsockname()[:2]
    where = f"[{address}]" if ":" in address else address
    print(f"monitoring: http://{where}:{its_port}/metrics", file=sys.stderr, flush=True)
    asyncio.run(_serve(site, listening))


async def _serve(site: Site, listening: socket.socket) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    connections: dict[Connection, None] = {}
    server = await loop.create_server(lambda: Connection(site, connections), sock=listening, backlog=socket.SOMAXCONN)
    await stopping.wait()
    server.close()
    for connection in list(connections):
        connection.abort()


class Connection(asyncio.Protocol):
    """One client. Its questions are answered one after another, the next only when the answer before was taken.

    connections: all there are, those that were silent longest first.
    """

    def __init__(self, site: Site, connections: dict[Connection, None]) -> None:
        self._site, self._connections = site, connections
        self._received = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._full = False
        self._transport: asyncio.Transport
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._connections) >= MOST_CONNECTIONS:
            next(iter(self._connections)).abort()
        self._wait()

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.pop(self, None)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_REQUEST_BYTES:
            self._send(Answer(431, "Request Header Fields Too Large", b"ask for /metrics\n"), close=True)
        else:
            self._take_up()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._take_up()

    def abort(self) -> None:
        self._connections.pop(self, None)
        self._transport.abort()

    def _wait(self) -> None:
        """Until it has asked a whole question; nobody may hold a connection for ever."""
        if self._idle is not None:
            self._idle.cancel()
        self._connections.pop(self, None)
        self._connections[self] = None
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.abort)

    def _take_up(self) -> None:
        if self._task is not None or self._full or self._transport.is_closing():
            return
        head, end, rest = bytes(self._received).partition(b"\r\n\r\n")
        if end:
            self._received = bytearray(rest)
            self._task = asyncio.get_running_loop().create_task(self._reply(head))
            self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a question was not answered", exc_info=error)
            self.abort()

    async def _reply(self, head: bytes) -> None:
        line, *headers = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            self._send(Answer(400, "Bad Request", b"ask for /metrics\n"), close=True)
            return
        method, path, version = words
        answer = await self._site.answer(method, path.partition("?")[0])
        closes = {"connection: close", "connection:close"} & {header.lower() for header in headers}
        self._send(answer, close=bool(closes) or version == "HTTP/1.0" or answer.status == 405, bare=method == "HEAD")
        self._task = None
        self._take_up()

    def _send(self, answer: Answer, *, close: bool, bare: bool = False) -> None:
        if self._transport.is_closing():
            return
        head = (
            f"HTTP/1.1 {answer.status} {answer.reason}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: {'close' if close else 'keep-alive'}\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1") + (b"" if bare else answer.body))
        self._wait()
        if close:
            self._transport.close()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises CannotListen."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(
            f"--host {host}: {error.strerror}; name an address of this machine, 127.0.0.1 say"
        ) from error
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(socket.SOMAXCONN)
    except OSError as error:
        made.close()
        raise CannotListen(_refusal(host, port, error)) from error
    return made


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by {holder(port)}; end that, or choose another: --port {another(port)}"
    if error.errno == errno.EACCES:
        return f"port {port} is for root only; choose one above 1023: --port 9108"
    return f"{host}:{port}: {error.strerror}; {_ADDRESS}"


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
