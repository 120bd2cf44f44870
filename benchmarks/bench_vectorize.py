"""How long a person waits for `tracewright vectorize`; JSON on standard output.

*first_svg*: the command on one logo of 256 x 256, 8 traces, in a folder that is no project, from its start to its end.
*folder*: the same on a folder of logos. With --rival, a checkout of another release does the same logos in turn, and
the ratio of the clocks is reported. `cpu_seconds` is processor time of the command and all its processes, which other
programs disturb less than the clock. *proposal*: one setting proposed, on one core, without a trace.

`python -m benchmarks.bench_vectorize [--runs 10] [--folder 150] [--rival CHECKOUT --rival-agent FOLDER]`
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scale_vectorize import write_images
from pipeline.agent.agent import AgentProposer, load_agent
from pipeline.vectorizing.agents import SHIPPED
from tests.support.fakes import ROOT, FakeEvaluator, task_of

TRACES = 8
TARGET_SECONDS = 2.0
TARGET_PROPOSAL_MILLISECONDS = 3.0


def measure(runs: int, folder_files: int, agents: Mapping[Path, Path]) -> dict[str, Any]:
    """agents: checkout to the folder of its agent; ours first."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        logos = write_images(root / "in", max(runs, folder_files))
        first: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in agents}
        for number, logo in enumerate(logos[:runs]):
            for checkout, agent in agents.items():
                first[checkout].append(_command(checkout, agent, [logo], root / f"out-{number}-{checkout.name}"))
        report: dict[str, Any] = {"first_svg": _rows(first) | {"target_seconds": TARGET_SECONDS}}
        if folder_files:
            whole = {
                checkout: [_command(checkout, agent, logos[:folder_files], root / f"all-{checkout.name}")]
                for checkout, agent in agents.items()
            }
            report["folder"] = {"files": folder_files} | _rows(whole)
    return report | {"proposal": _proposals(next(iter(agents.values()))), "load_average": os.getloadavg()}


def _command(checkout: Path, agent: Path, logos: Sequence[Path], output: Path) -> tuple[float, float]:
    """Seconds of the clock and of the processors."""
    command = [sys.executable, "-P", "-m", "pipeline.cli.main", "vectorize", *map(str, logos)]
    command += ["-o", str(output), "--traces", str(TRACES), "--model", str(agent)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, cwd=output.parent, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True, check=False
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _rows(timed: Mapping[Path, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, checkout in zip(("ours", "rival"), timed, strict=False):
        clock, cpu = np.array(timed[checkout]).T
        rows[name] = {
            "seconds": {"median": _shown(np.median(clock)), "min": _shown(clock.min()), "max": _shown(clock.max())},
            "cpu_seconds": _shown(np.median(cpu)),
        }
    if "rival" in rows:
        ours, rival = (np.array(measured)[:, 0] for measured in timed.values())
        rows["times_as_fast"] = _shown(np.median(rival / ours))
    return rows


def _proposals(agent: Path) -> dict[str, Any]:
    loaded, evaluator = load_agent(agent), FakeEvaluator()
    milliseconds = []
    for seed in range(20):
        episode = loaded.episode(task_of(seed), TRACES, seed=seed)
        while not episode.done:
            started = time.process_time()
            params = AgentProposer(loaded).propose(episode)
            assert params is not None, "only one that may stop returns none"
            milliseconds.append(1000 * (time.process_time() - started))
            episode.record(evaluator.evaluate([episode.job(params)])[0])
    return {
        "cpu_milliseconds": {"median": _shown(np.median(milliseconds)), "min": _shown(min(milliseconds))},
        "target_milliseconds": TARGET_PROPOSAL_MILLISECONDS,
    }


def _shown(value: float) -> float:
    return round(float(value), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--folder", type=int, default=0, metavar="FILES")
    parser.add_argument("--agent", type=Path, default=SHIPPED)
    parser.add_argument("--rival", type=Path, help="checkout of another release")
    parser.add_argument("--rival-agent", type=Path, default=SHIPPED)
    given = parser.parse_args()
    agents = {ROOT: given.agent.resolve()} | (
        {given.rival.resolve(): given.rival_agent.resolve()} if given.rival else {}
    )
    print(json.dumps({"benchmark": "bench_vectorize"} | measure(given.runs, given.folder, agents), indent=2))


if __name__ == "__main__":
    main()
