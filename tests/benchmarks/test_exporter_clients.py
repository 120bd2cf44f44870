from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.exporter_clients import milliseconds_at, scrape

MARKER = b"up 1"
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nup 1"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nup 1\r\n0\r\n\r\n"
CLOSED = b"HTTP/1.0 200 OK\r\n\r\nup 1"


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that gives every question this answer, in two parts; after HTTP/1.0, or a torn one, it hangs up."""

    def serve(connection: socket.socket) -> None:
        with connection:
            while connection.recv(4096):
                connection.sendall(answer[:20])
                connection.sendall(answer[20:])
                if not answer.startswith(b"HTTP/1.1") or b"torn" in answer:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", [KEPT, CHUNKED, CLOSED])
def test_every_way_to_end_an_answer_is_understood(answer: bytes) -> None:
    with answering(answer) as port:
        done = scrape(port, 50, 8, MARKER)
    assert (len(done.latencies), done.errors) == (50, [])
    assert all(0 < seconds < 10 for seconds in done.latencies)
    assert done.answer_bytes == len(answer)


@pytest.mark.parametrize(
    "answer",
    [
        KEPT.replace(b"200 OK", b"500 No"),
        KEPT.replace(b"up 1", b"up 0"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\ntorn",
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_an_error(answer: bytes) -> None:
    with answering(answer) as port:
        done = scrape(port, 10, 3, MARKER)
    assert (done.latencies, len(done.errors)) == ([], 10)


def test_nobody_there_is_an_error_each() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = scrape(port, 10, 3, MARKER)
    assert (done.latencies, len(done.errors)) == ([], 10)


def test_a_percentile_is_of_the_ordered_latencies() -> None:
    latencies = [n / 1000 for n in range(100, 0, -1)]
    assert milliseconds_at(latencies, 0.5) == 51
    assert milliseconds_at(latencies, 0.99) == 100
    assert milliseconds_at([0.007], 0.999) == 7
