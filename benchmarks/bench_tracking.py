"""How much journal and replica slow a training, with MLflow well and in trouble; JSON on standard output.

A stand-in for a training makes rollouts: arithmetic in Python and torch for as long as a rollout of params.yaml takes,
then what a training says of one. Rows take turns: without tracking, with the journal alone, with MLflow on SQLite,
behind a server, and with a server that refuses, answers 500, stalls or answers by halves. A ratio is the time with
tracking to that without.

Noise between blocks is larger than a percent, so the cost itself is measured too: the time that the calls kept the
training, and the processor time of the replica's thread, which is what it can take from a training at most.
Run it with `python -m benchmarks.bench_tracking [--blocks N] [--rollouts N]`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.interleaved import Block, Timings, interleave
from benchmarks.logos import PROJECT
from pipeline.settings.params import Settings, load_settings
from pipeline.tracking import mlflow_store
from pipeline.tracking.run import Run
from tests.support.mlflow_server import Behaviour, MlflowServer, Proxy

ROLLOUT_SECONDS = 3.0  # 512 timesteps at 160 to 170 a second
STALL_SECONDS = 30.0
LIMIT_RATIO = 0.01
NAMES = [f"train/metric_{n}" for n in range(8)] + [f"failures/kind_{n}" for n in range(4)]
TROUBLE: dict[str, Behaviour] = {
    "server": "pass",
    "server_refuses": "refuse",
    "server_answers_500": "500",
    "server_stalls": "stall",
    "server_answers_half": "half",
}


@dataclass(slots=True)
class Cost:
    """calls: seconds that a training waited. thread: processor seconds of the replica. whole: of the block."""

    calls: float = 0.0
    thread: float = 0.0
    whole: float = 0.0


class Measured(Run):
    """A run whose replica notes its processor time."""

    thread_seconds: float = 0.0

    def _send_regularly(self) -> None:
        super()._send_regularly()
        self.thread_seconds = time.thread_time()


@dataclass(slots=True)
class Bench:
    """root: a project with a migrated database. costs: by row, one per block that counts."""

    root: Path
    settings: Settings
    agent: Path
    rollouts: int
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def without(self) -> None:
        for _ in range(self.rollouts):
            rollout()

    def journal_alone(self) -> None:
        self._tracked("journal", flush_seconds=10_000)

    def embedded(self) -> None:
        self._tracked("sqlite")

    def behind(self, name: str, proxy: Proxy, behaviour: Behaviour) -> Callable[[], None]:
        def row() -> None:
            proxy.behaviour = behaviour
            with environment(MLFLOW_TRACKING_URI=proxy.address):
                self._tracked(name)

        return row

    def _tracked(self, row: str, flush_seconds: float = 1.0) -> None:
        cost, started = Cost(), time.perf_counter()
        run = Measured.start(self.root, self.settings, stage=None)
        run._flush_seconds = flush_seconds
        run._sender.start()
        for number in range(self.rollouts):
            rollout()
            before = time.perf_counter()
            run.log_metrics(dict.fromkeys(NAMES, number / 7), number)
            if number == self.rollouts // 2:
                run.log_model(self.agent, f"agent-{number}", number, {}, {"val/value": 0.5}, None)
            cost.calls += time.perf_counter() - before
        cost.whole = time.perf_counter() - started
        run._ending.set()  # what the end waits for is no part of a training
        if row != "server_stalls":
            run._sender.join(5)
        cost.thread = run.thread_seconds
        run.journal.close()
        run._lock.release()
        self.costs.setdefault(row, []).append(cost)


def rollout() -> None:
    """Work for ROLLOUT_SECONDS of processor time that holds and gives back the interpreter as a training does."""
    until = time.thread_time() + ROLLOUT_SECONDS
    weights = torch.randn(256, 256)
    while time.thread_time() < until:
        weights = torch.tanh(weights @ weights / 16)
        sum(range(2000))


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def bench(rollouts: int) -> Iterator[tuple[Bench, dict[str, Callable[[], None]]]]:
    with tempfile.TemporaryDirectory(prefix="tracewright-") as folder, ExitStack() as opened:
        root = Path(folder) / "project"
        root.mkdir()
        shutil.copy(PROJECT / "params.yaml", root)
        mlflow_store.client(root)  # migrates the database, which takes seconds, once for all
        shutil.copy(root / "mlruns/mlflow.db", folder)
        agent = Path(folder) / "agent"
        agent.mkdir()
        (agent / "policy.safetensors").write_bytes(os.urandom(300_000))
        (agent / "agent.json").write_text("{}")
        server = MlflowServer(Path(folder))
        server.start()
        opened.callback(server.kill)
        made = Bench(root, load_settings(PROJECT / "params.yaml"), agent, rollouts)
        rows: dict[str, Callable[[], None]] = {
            "without": made.without,
            "journal": made.journal_alone,
            "sqlite": made.embedded,
        }
        for name, behaviour in TROUBLE.items():
            proxy = opened.enter_context(Proxy(server.port))
            opened.callback(proxy.shutdown)
            proxy.stall_seconds = STALL_SECONDS
            rows[name] = made.behind(name, proxy, behaviour)
        yield made, rows


def cost_json(costs: list[Cost]) -> dict[str, float]:
    whole = sum(cost.whole for cost in costs)
    calls, thread = (sum(getattr(cost, name) for cost in costs) / whole for name in ("calls", "thread"))
    return {
        "calls_share": round(calls, 5),
        "thread_share": round(thread, 5),
        "both": round(calls + thread, 5),
        "limit": LIMIT_RATIO,
    }


def ratios(timings: Timings[None]) -> dict[str, dict[str, float]]:
    return {row: timings.ratio_json("without", row) for row in timings.seconds if row != "without"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=6, help="times that every row is run, after one to warm up")
    told = "in each, with one model: what lies between two validations"
    parser.add_argument("--rollouts", type=int, default=6, help=told)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with environment(MLFLOW_TRACKING_URI=""), bench(asked.rollouts) as (made, rows):
        blocks = [Block(asked.rollouts, rows) for _ in range(asked.blocks + 1)]
        timings = interleave(blocks)
        report = {
            "benchmark": "tracking",
            "cores": len(os.sched_getaffinity(0)),
            "blocks": asked.blocks,
            "rollouts_per_block": asked.rollouts,
            "rollout_seconds": ROLLOUT_SECONDS,
            "time_relative_to_none": ratios(timings),
            "cost_as_share_of_training": {row: cost_json(costs[1:]) for row, costs in made.costs.items()},
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
