"""DVC stage: the trained model becomes champion if it is better beyond chance; a refusal is a result too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.core.json_records import write_record
from pipeline.settings.params import load_settings
from pipeline.stages.entry import run
from pipeline.tracking.promotion import register

READS = (
    "compute.timeout_seconds",
    "compute.worker_memory_bytes",
    "data",
    "evaluate",
    "experiment",
    "objective",
    "register",
)
"""Settings that decide the result: the `params` of this stage in dvc.yaml."""


def main() -> None:
    root = Path.cwd()
    settings = load_settings(root / "params.yaml").only(READS)

    def evaluate_agent(agent_dir: Path) -> Mapping[str, float]:
        from pipeline.evaluation.session import agent_values  # only when the champion must be measured again

        return agent_values(root, settings, agent_dir)

    result = register(root, settings, evaluate_agent)
    write_record(root / "results/register.json", result)
    print(f"{result.name} version {result.version}: {result.reason}")


if __name__ == "__main__":
    run(main)
