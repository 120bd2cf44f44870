"""`mlflow models serve` under load: how long a request of one trace takes, and what thousands of them leave behind.

A request traces an image twice or three times: VTracer's default, which no answer may be worse than; the same on hard
alpha where the image is transparent; and the one trace that was asked for. "One trace" is told in two ways beside it:
VTracer's default alone, and one evaluation (trace, draw, score) by a waiting tracing process. All of them do the same
images in turns.

`TRACEWRIGHT_SCALE_REQUESTS=10000 TRACEWRIGHT_SCALE_AGENT=models/agent python -m benchmarks.bench_scale serving`
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.evaluate_memory import shifted_logos
from benchmarks.interleaved import CONFIDENCE, SAMPLES, block_orders
from benchmarks.logos import PROJECT
from pipeline.agent.agent import TRAINED, load_agent
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo
from pipeline.tracing.tracer import encode, trace
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.tracking import mlflow_store
from pipeline.vectorizing.batch import vectorize_image_bytes
from tests.support.registered_model import NAME, promote, register
from tests.support.serving_requests import BAD, BAD_IMAGES
from tests.support.serving_server import Server

BLOCKS = 12
IMAGES_PER_BLOCK = 16
CLIENTS = 2
TARGET = 3.0
BAD_EVERY = 100
LOOKS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the requests after which memory is looked at; the first look is after the latencies were measured."""

REFUSALS = [*BAD.values(), *BAD_IMAGES.values()]


def measure(requests: int | None = None, blocks: int = BLOCKS) -> dict[str, Any]:
    """requests: of the long run. Raises SystemExit where there is no trained agent."""
    requests = requests or int(os.environ.get("TRACEWRIGHT_SCALE_REQUESTS", "10000"))
    agent_dir = Path(os.environ.get("TRACEWRIGHT_SCALE_AGENT", PROJECT / TRAINED))
    if not agent_dir.is_dir():
        raise SystemExit(f"{agent_dir}: there is no trained agent; run `make repro`, or set TRACEWRIGHT_SCALE_AGENT")
    logos = shifted_logos(IMAGES_PER_BLOCK * (blocks + 1))
    with tempfile.TemporaryDirectory(prefix="tracewright-serving-") as folder:
        for name, value in mlflow_store.DEFAULTS.items():
            os.environ.setdefault(name, value)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        register(Path(folder), [agent_dir, agent_dir])
        server = Server(Path(folder), f"models:/{NAME}@champion", follow_seconds=0.5)
        try:
            server.wait()
            latencies = _latencies(server, agent_dir, logos, blocks)
            soak = _Soak(server, Path(folder), [_body(logo) for logo in logos], requests)
            long_run = soak.run()
        finally:
            left = server.stop()
        return {
            "cores": len(os.sched_getaffinity(0)),
            "load_average": [round(load, 1) for load in os.getloadavg()],
            "images": len(logos) - IMAGES_PER_BLOCK,
            "transparent": sum(bool(logo.rgba[..., 3].min() < 255) for logo in logos[IMAGES_PER_BLOCK:]),
            **latencies,
            "long_run": long_run,
            "left_after_sigterm": len(left),
        }


def _latencies(server: Server, agent_dir: Path, logos: Sequence[Logo], blocks: int) -> dict[str, Any]:
    """Rows in an order drawn anew for each block of images; the first block is done and forgotten."""
    agent = load_agent(agent_dir)
    seconds: dict[str, list[float]] = {}
    with TracerPool(1, agent.timeout_seconds, agent.worker_memory_bytes, agent.background) as pool:
        acts: dict[str, Callable[[Logo], Callable[[], object]]] = {
            "VTracer's default": _tracing,
            "one evaluation": lambda logo: partial(pool.evaluate, [Job(logo, DEFAULT_PARAMS)]),
            "Python call": lambda logo: partial(vectorize_image_bytes, _png(logo), agent, pool, traces=1),
        }
        rows: dict[str, Callable[[Sequence[Logo]], list[float]]] = {
            **{name: partial(_one_by_one, act) for name, act in acts.items()},
            "1 client": partial(_by_clients, server, 1),
            "2 clients": partial(_by_clients, server, 2),
        }
        for number, order in enumerate(block_orders(list(rows), blocks + 1, seed=1)):
            some = logos[number * IMAGES_PER_BLOCK : (number + 1) * IMAGES_PER_BLOCK]
            for name in order:
                taken = rows[name](some)
                if number:
                    seconds.setdefault(name, []).extend(taken)
    return {"milliseconds": {name: _row(taken) for name, taken in sorted(seconds.items())}, "ratios": _ratios(seconds)}


def _one_by_one(act: Callable[[Logo], Callable[[], object]], logos: Sequence[Logo]) -> list[float]:
    return [_timed(act(logo)) for logo in logos]


def _tracing(logo: Logo) -> Callable[[], object]:
    png = encode(logo.rgba)
    return lambda: trace(png, DEFAULT_PARAMS)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _by_clients(server: Server, clients: int, logos: Sequence[Logo]) -> list[float]:
    """Each client has a connection of its own and every other image; it sends the next when the last is answered."""

    def client(bodies: Sequence[bytes]) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        taken = []
        for body in bodies:
            started = time.perf_counter()
            status, answer = _ask(connection, body)
            taken.append(time.perf_counter() - started)
            if status != 200:
                raise SystemExit(f"a good request was answered with {status}: {answer[:300]!r}")
        connection.close()
        return taken

    bodies = [_body(logo) for logo in logos]
    with ThreadPoolExecutor(clients) as threads:
        return [s for part in threads.map(client, [bodies[n::clients] for n in range(clients)]) for s in part]


def _ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def _png(logo: Logo) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(logo.rgba).save(buffer, "PNG")
    return buffer.getvalue()


def _body(logo: Logo) -> bytes:
    return json.dumps({"inputs": [{"image": base64.b64encode(_png(logo)).decode(), "traces": 1}]}).encode()


def _row(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.quantile(seconds, [0.5, 0.95, 0.99])
    figures = {"mean": float(np.mean(seconds)), "p50": p50, "p95": p95, "p99": p99}
    return {name: round(1000 * value, 1) for name, value in figures.items()}


def _ratios(seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """p95 of two clients against the p95 and the mean of one trace, in both meanings; bootstrap over the images."""
    generator = np.random.default_rng(0)
    served = np.array(seconds["2 clients"])
    found: dict[str, Any] = {}
    for name in ("one evaluation", "VTracer's default"):
        rival = np.array(seconds[name])
        drawn = generator.integers(len(rival), size=(SAMPLES, len(rival)))
        tops, means = np.quantile(rival[drawn], 0.95, axis=1), rival[drawn].mean(axis=1)
        ours = np.quantile(served[generator.integers(len(served), size=(SAMPLES, len(served)))], 0.95, axis=1)
        point = float(np.quantile(served, 0.95))
        found[f"p95 of 2 clients / p95 of {name}"] = _interval(point / float(np.quantile(rival, 0.95)), ours / tops)
        found[f"p95 of 2 clients / mean of {name}"] = _interval(point / float(rival.mean()), ours / means)
    return found


def _interval(value: float, drawn: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"mean": round(value, 2), "low": round(float(low), 2), "high": round(float(high), 2), "target": TARGET}


@dataclass(slots=True)
class _Soak:
    """Requests by two clients that never pause; every hundredth is bad. The champion changes in the middle.

    unexpected: answers to good requests that were no 200, and to bad ones that were not what is documented.
    """

    server: Server
    root: Path
    bodies: Sequence[bytes]
    requests: int
    statuses: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    tracers: set[int] = field(default_factory=set)

    def run(self) -> dict[str, Any]:
        began = time.perf_counter()
        self._look(0.0)
        done = 0
        for share in LOOKS[1:]:
            part = range(done, round(self.requests * share))
            with ThreadPoolExecutor(CLIENTS) as clients:
                running = [clients.submit(self._client, part[n::CLIENTS]) for n in range(CLIENTS)]
                if share == 0.75:
                    time.sleep(1.0)
                    promote(self.root, "2")
                for client in running:
                    client.result()
            done = part.stop
            self._look(share)
        seconds = time.perf_counter() - began
        return {
            "requests": done,
            "bad": len([n for n in range(done) if n % BAD_EVERY == 0]),
            "per_second": round(done / seconds, 1),
            "statuses": dict(sorted(self.statuses.items())),
            "models": dict(sorted(self.models.items())),
            "unexpected": self.unexpected[:10],
            "memory_after": self.memory,
            "tracing_processes_restarted": len(self.tracers) - len(self.server.tracers),
        }

    def _client(self, numbers: range) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        for number in numbers:
            bad = number % BAD_EVERY == 0
            body, expected, _ = REFUSALS[number // BAD_EVERY % len(REFUSALS)] if bad else (self._good(number), 200, "")
            status, answer = _ask(connection, body)
            self.statuses[f"{'bad' if bad else 'good'}: {status}"] += 1
            if status != expected:
                self.unexpected.append(f"request {number}: {status} {answer[:200]!r}")
            elif not bad:
                self.models[json.loads(answer)["predictions"][0]["model"]] += 1
        connection.close()

    def _good(self, number: int) -> bytes:
        return self.bodies[number % len(self.bodies)]

    def _look(self, share: float) -> None:
        _, *others = self.server.family
        tracers = self.server.tracers
        self.tracers |= {tracer.pid for tracer in tracers}
        self.memory[f"{share:.0%}"] = {
            "server_bytes": sum(p.memory_info().rss for p in others if p not in tracers),
            "tracer_bytes": sorted(p.memory_info().rss for p in tracers),
            "server_threads": sum(p.num_threads() for p in others if p not in tracers),
            "server_files": sum(p.num_fds() for p in others if p not in tracers),
        }


def main() -> None:
    print(json.dumps({"benchmark": "scale_serving"} | measure(), indent=2))


if __name__ == "__main__":
    main()
