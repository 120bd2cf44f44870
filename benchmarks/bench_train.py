"""Training's speed and memory: environment steps per second, time shares, peak memory; JSON on standard output.

Real logos at 256 x 256 without prescaling, on all cores. `python -m benchmarks.bench_train [TIMESTEPS]`
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import yaml

from benchmarks.logos import at_side, real_logos
from pipeline.core.records import Logo
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import parse_settings
from pipeline.tracing.backends import pool_from_settings
from pipeline.training.loop import train


def main() -> None:
    timesteps = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["tracing"]["prescale"] = {"fixed": 1.0}
    values["train"] |= {"total_timesteps": timesteps, "eval_every_timesteps": timesteps}
    settings = parse_settings(values, "params.yaml")
    logos = [Logo.of(logo.name, at_side(logo.rgba), logo.category) for logo in real_logos(120)]
    with pool_from_settings(settings.compute, settings.data.background) as pool:
        tasks, failures = make_tasks(logos, pool, settings.data.background)
        result = train(settings, tasks[:100], tasks[100:], pool, seed=settings.train.seed)
        print(
            json.dumps(
                {
                    "benchmark": "train",
                    "cores": len(os.sched_getaffinity(0)),
                    "workers": pool.workers,
                    "images": len(tasks),
                    "failed_images": len(failures),
                    "timesteps": result.timesteps,
                    "steps_per_second": round(result.steps_per_second, 1),
                    "time_shares": {name: round(share, 4) for name, share in result.time_shares.items()},
                    "ppo_and_tracking_share_of_learning": round(learning_share(result.time_shares), 4),
                    "peak_memory_bytes": result.peak_memory_bytes,
                },
                indent=2,
            )
        )


def learning_share(shares: dict[str, float]) -> float:
    """PPO's and tracking's part of the time spent learning (tracing, PPO and tracking together)."""
    own = shares["ppo"] + shares["tracking"]
    return own / (own + shares["tracing"])


if __name__ == "__main__":
    main()
