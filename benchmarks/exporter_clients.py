"""Clients that scrape without a pause, all in one loop, so that an exporter is timed and not threads of ours."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 10.0
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/plain\r\n\r\n"


@dataclass(slots=True)
class Scrapes:
    """latencies: seconds from the question to the last byte, of those that were answered. errors: why not, in words."""

    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answer_bytes: int = 0

    def add(self, other: Scrapes) -> None:
        self.latencies += other.latencies
        self.errors += other.errors
        self.answer_bytes = other.answer_bytes or self.answer_bytes


@dataclass(slots=True)
class _Client:
    """One connection; opened anew, as a scraper would, when the exporter closes it after an answer."""

    port: int
    sock: socket.socket | None = None
    asked_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def ask(self) -> socket.socket:
        """Raises OSError when it cannot connect."""
        self.asked_at = time.perf_counter()
        self.received.clear()
        if self.sock is None:
            self.sock = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECONDS)
        self.sock.sendall(REQUEST)
        return self.sock

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def scrape(port: int, count: int, clients: int, marker: bytes) -> Scrapes:
    """So many scrapes by so many clients, each asking again as soon as it is answered.

    marker: what every answer must hold. An answer that is no 200, lacks it or ends early is an error, as is none.
    """
    result, left = Scrapes(), count
    with selectors.DefaultSelector() as selector:
        waiting = [_Client(port) for _ in range(min(clients, count))]
        for client in waiting:
            left -= 1
            _ask(client, selector, result)
        while selector.get_map():
            events = selector.select(TIMEOUT_SECONDS)
            if not events:
                result.errors += ["no answer in time"] * len(selector.get_map())
                break
            for key, _ in events:
                if _finished(key.data, selector, result, marker) and left:
                    left -= 1
                    _ask(key.data, selector, result)
        for client in waiting:
            client.close()
    result.errors += ["not asked"] * left
    return result


def _ask(client: _Client, selector: selectors.BaseSelector, result: Scrapes) -> None:
    try:
        selector.register(client.ask(), selectors.EVENT_READ, client)
    except OSError as error:
        client.close()
        result.errors.append(f"{type(error).__name__}")


def _finished(client: _Client, selector: selectors.BaseSelector, result: Scrapes, marker: bytes) -> bool:
    """Take what has come; whether that was all of it."""
    assert client.sock is not None
    try:
        part = client.sock.recv(1 << 18)
    except OSError as error:
        part, result.errors = b"", [*result.errors, type(error).__name__]
    client.received += part
    if part and not _whole(client.received):
        return False
    seconds = time.perf_counter() - client.asked_at
    selector.unregister(client.sock)
    if client.received.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and marker in client.received:
        result.latencies.append(seconds)
        result.answer_bytes = len(client.received)
    else:
        result.errors.append(bytes(client.received[:40]).decode("latin-1") or "closed without an answer")
    if not part or client.received.startswith(b"HTTP/1.0"):
        client.close()
    return True


def _whole(received: bytearray) -> bool:
    """As far as the answer says how long it is; else it ends with the connection."""
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    headers = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n")[1:])
    if b"content-length" in headers:
        return len(body) >= int(headers[b"content-length"])
    return headers.get(b"transfer-encoding") == b"chunked" and body.endswith(b"\r\n0\r\n\r\n")


def milliseconds_at(latencies: Sequence[float], share: float) -> float:
    """The latency that this share of the scrapes does not pass."""
    ordered = sorted(latencies)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
