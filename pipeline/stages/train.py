"""DVC stage: train the agent on the training split; results in models/agent and results/train."""

from __future__ import annotations

from pathlib import Path

import pipeline.core.threads  # noqa: F401 - before NumPy
from pipeline.runs.session import train_all_seeds
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run

READS = (
    "compute.memory_limit_bytes",
    "compute.timeout_seconds",
    "compute.worker_memory_bytes",
    "curriculum",
    "data",
    "evaluate.bootstrap_samples",
    "evaluate.confidence",
    "experiment",
    "objective",
    "tracing",
    "train",
    "validation",
)
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    report = train_all_seeds(root, load_settings(root / "params.yaml").only(READS))
    print(
        f"trained {report.total_timesteps} steps in {report.seconds:.0f} s "
        f"({report.steps_per_second:.0f} steps/s); MLflow run {report.run_id}"
    )


if __name__ == "__main__":
    run(main)
