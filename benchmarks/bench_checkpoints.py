"""How long saving a checkpoint holds a training up, plain and compressed, piece by piece; JSON on standard output.

A training on real logos with the networks, environments and rollouts of params.yaml is gone on with from its last
checkpoint, and then its state is taken and saved again and again; the ways to save take turns. What a save costs in the
long run counts it as often as params.yaml asks for one, at the speed that the training had, and with it the states that
are only held, one per rollout. `python -m benchmarks.bench_checkpoints [--saves N] [--folder DIR]`
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.interleaved import CONFIDENCE, SAMPLES, block_orders
from benchmarks.logos import PROJECT, at_side, real_logos
from pipeline.agent.task import Task
from pipeline.core.facts.training import CheckpointProgress
from pipeline.core.files import write_bytes
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import Logo
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import CheckpointSettings, Settings, load_settings
from pipeline.tracing.backends import pool_from_settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.training.callbacks import CallbackList, TrainingCallback
from pipeline.training.checkpoint import Checkpoint, pack
from pipeline.training.checkpoint_callback import CheckpointCallback
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import Result, Training, train
from pipeline.training.preparation import restored

LOGOS = 60
TIMESTEPS = 2048
STALL_MILLISECONDS = 25.0
STALL_RATIO = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A training that ended. saves: what its own checkpoints took, as its hooks were told."""

    training: Training
    checkpoint: Checkpoint
    result: Result
    saves: list[CheckpointProgress]


class Saves(TrainingCallback):
    def __init__(self) -> None:
        self.reports: list[CheckpointProgress] = []

    def on_checkpoint(self, report: CheckpointProgress) -> None:
        self.reports.append(report)


def small(settings: Settings) -> Settings:
    """As params.yaml has it, but soon done: what is smaller changes no network, no environment and no rollout."""
    fewer = {
        "total_timesteps": TIMESTEPS,
        "table_traces": 16,
        "surrogate_steps": 100,
        "portfolio_images": 8,
        "portfolio_candidates": 16,
        "other_portfolio_candidates": 0,
    }
    return settings.model_copy(
        update={
            "train": settings.train.model_copy(update=fewer),
            "checkpoints": settings.checkpoints.model_copy(update={"every_timesteps": 512, "every_seconds": 3600.0}),
        }
    )


def trained(settings: Settings, tasks: Sequence[Task], evaluator: Evaluator, folder: Path) -> Trained:
    train_tasks, val_tasks = tasks[:-12], tasks[-12:]
    store, saves = CheckpointStore(folder, settings.checkpoints), Saves()
    seed = settings.train.seed
    result = train(settings, train_tasks, val_tasks, evaluator, seed=seed, followers=[saves], checkpoints=store)
    latest = store.latest()
    assert latest is not None
    hooks = CallbackList([])
    keeper = CheckpointCallback(None, settings.checkpoints, hooks.on_checkpoint)
    prepared = restored(latest[1], settings)
    training = Training(settings, train_tasks, val_tasks, evaluator, prepared, hooks, keeper, seed)
    training.restore(latest[1])
    return Trained(training, latest[1], result, saves.reports)


def rows(done: Trained, settings: CheckpointSettings, folder: Path) -> dict[str, Callable[[], Any]]:
    """Ways to save, and the pieces of them."""
    stores = {
        name: CheckpointStore(folder / name, settings.model_copy(update={"compress": name == "compressed"}))
        for name in ("plain", "compressed")
    }
    checkpoint = done.checkpoint
    packed = {name: pack(checkpoint, compress=name == "compressed") for name in stores}
    return {
        "hold": done.training.state,
        "save_plain": lambda: stores["plain"].save(checkpoint, "interval"),
        "save_compressed": lambda: stores["compressed"].save(checkpoint, "interval"),
        "pack_plain": lambda: pack(checkpoint, compress=False),
        "pack_compressed": lambda: pack(checkpoint, compress=True),
        "write_plain": lambda: write_bytes(folder / "plain.ckpt", packed["plain"]),
        "write_compressed": lambda: write_bytes(folder / "compressed.ckpt", packed["compressed"]),
    }


def timed(ways: dict[str, Callable[[], Any]], blocks: int) -> dict[str, list[float]]:
    """Milliseconds of each way in each block, the first block left out."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for order in block_orders(list(ways), blocks + 1, seed=0):
        for name in order:
            started = time.perf_counter()
            ways[name]()
            taken[name].append(1000 * (time.perf_counter() - started))
    return {name: values[1:] for name, values in taken.items()}


def row(milliseconds: Sequence[float]) -> dict[str, Any]:
    return {
        "milliseconds_mean": rounded(Bootstrap(SAMPLES, CONFIDENCE).mean(milliseconds).to_json()),
        "milliseconds_median": round(float(np.median(milliseconds)), 2),
        "milliseconds_99th": round(float(np.quantile(milliseconds, 0.99)), 2),
        "milliseconds_longest": round(max(milliseconds), 2),
    }


def stall(milliseconds: dict[str, list[float]], kind: str, settings: Settings, steps_per_second: float) -> Any:
    """Share of a training's time that goes into its checkpoints: one save and the held states since the last one."""
    asked = settings.checkpoints
    between_saves = min(asked.every_timesteps / steps_per_second, asked.every_seconds)
    rollout = settings.train.n_envs * settings.train.ppo.n_steps
    holds = max(1.0, between_saves * steps_per_second / rollout)
    saves = np.array(milliseconds[f"save_{kind}"]) + np.array(milliseconds["hold"])
    each = saves + (holds - 1) * np.array(milliseconds["hold"])
    share = Bootstrap(SAMPLES, CONFIDENCE).mean(each / 1000 / between_saves)
    return {
        "milliseconds": row(saves.tolist()) | {"target": STALL_MILLISECONDS},
        "share_of_time": rounded(share.to_json(), 6) | {"target": STALL_RATIO},
        "seconds_between_saves": round(between_saves, 1),
        "reached": bool(saves.mean() < STALL_MILLISECONDS and share.high < STALL_RATIO),
    }


def rounded(values: dict[str, float], digits: int = 2) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saves", type=int, default=200, help="how often each way is timed")
    parser.add_argument("--folder", type=Path, help="on the disk that is to be measured; else a temporary one")
    asked = parser.parse_args()
    settings = load_settings(PROJECT / "params.yaml")
    logos = [Logo.of(logo.name, at_side(logo.rgba), logo.category) for logo in real_logos(LOGOS)]
    with (
        tempfile.TemporaryDirectory(prefix="tracewright-", dir=asked.folder) as folder,
        pool_from_settings(settings.compute, settings.data.background) as pool,
    ):
        tasks, _ = make_tasks(logos, pool, settings.data.background)
        done = trained(small(settings), tasks, pool, Path(folder))
        ways = rows(done, settings.checkpoints, Path(folder))
        milliseconds = timed(ways, asked.saves)
        sizes = {kind: ways[f"save_{kind}"]().bytes for kind in ("plain", "compressed")}
    speed = done.result.steps_per_second
    own = [1000 * report.save_seconds for report in done.saves]
    report = {
        "benchmark": "checkpoints",
        "cores": len(os.sched_getaffinity(0)),
        "saves": asked.saves,
        "bytes": sizes,
        "training": {
            "timesteps": done.result.timesteps,
            "steps_per_second": round(speed, 1),
            "its_own_saves": row(own) | {"saves": len(own)},
        },
        "pieces": {name: row(values) for name, values in milliseconds.items()},
        "stall": {kind: stall(milliseconds, kind, settings, speed) for kind in sizes},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
