"""DVC stage: the agent beside every rival on the test split; results in results/evaluate."""

from __future__ import annotations

from pathlib import Path

import pipeline.core.threads  # noqa: F401 - before NumPy
from pipeline.evaluation.session import evaluate_agent
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run

READS = ("compute.timeout_seconds", "compute.worker_memory_bytes", "data", "evaluate")
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    report = evaluate_agent(root, load_settings(root / "params.yaml").only(READS))
    print(f"{report.images} test images; ratio to the default's ({report.objective.name}), lower is better")
    print(f"{'':26}" + "".join(f"{n:>8}" for n in report.traces))
    for method in report.methods:
        print(f"{method.label:26}" + "".join(f"{point.ratio.mean:8.3f}" for point in method.curve))


if __name__ == "__main__":
    run(main)
