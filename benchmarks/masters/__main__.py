"""tracewright against the designers' own vector files, by number of traces; JSON out.

    python -m benchmarks.masters LOGOS [--model FOLDER] [--traces 1 8 64] [--logos N] [--method random ...]

LOGOS holds category folders of PNGs and `masters/` with the SVG that each was made from; nothing else reads those.
Every method gets the same traces, objective and finishing. For each number of traces:

bytes    geometric mean of bytes / the fair default's, with its interval; the fair default is VTracer's command-line
         default through our minifier, and `svgo_bytes` divides by the sizes of `fair_default_bytes.json` where that is
         beside the masters: the same default through SVGO 4.
damaged  share of the logos with more than 10 source pixels of damage against the master, drawn at 4 x.
median   of the damage, pixels. delta: mean colour error, OKLab distance x 100. nodes: geometric mean against the
         default's, as VTracer prints it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fidelity.masters import DAMAGED, Master
from pipeline.agent.agent import TRAINED, Agent, AgentProposer, load_agent
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo, Scored
from pipeline.data.categories import categorise
from pipeline.data.probe import measure
from pipeline.search.loop import Outcome, Proposer, image_seed, run_searches, svg_text
from pipeline.search.rivals import CMAESSearch, FixedSequence, GPSearch, RandomSearch, TPESearch
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import load_settings
from pipeline.tracing.backends import pool_from_settings
from pipeline.tracing.evaluator import Evaluator

METHODS = ("agent", "default", "fixed", "portfolio", "random", "tpe", "gp", "cmaes")
BOOTSTRAP = Bootstrap(2000, 0.95)


@dataclass(frozen=True, slots=True)
class Judged:
    """One SVG beside its master. svgo_bytes: None where that size of the default is not known."""

    name: str
    category: str
    bytes: float
    svgo_bytes: float | None
    nodes: float
    damage: float
    delta: float
    estimate: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="LOGOS")
    parser.add_argument("--model", type=Path, default=TRAINED)
    parser.add_argument("--traces", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--logos", type=int, default=0, help="of each category; 0 for all")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["agent", "default"])
    parser.add_argument("--out", type=Path, help="folder for the SVGs, one per method and number of traces")
    arguments = parser.parse_args()
    agent = load_agent(arguments.model)
    files = logo_files(arguments.root, arguments.logos)
    logos = [read_logo(file) for file in files]
    report: dict[str, Any] = {"logos": len(logos), "objective": agent.objective.name, "methods": {}}
    with pool_from_settings(load_settings(Path("params.yaml")).compute, agent.background) as pool:
        nodes = default_nodes(logos, pool)
        for method in arguments.method:
            for traces in arguments.traces:
                outcomes = search(method, agent, logos, pool, traces)
                judged = judge(outcomes, files, arguments.root, nodes, traces)
                row = summary(judged)
                report["methods"].setdefault(method, {})[str(traces)] = row
                print(f"{method} {traces}: {json.dumps(row)}", file=sys.stderr, flush=True)
                if arguments.out:
                    write_svgs(outcomes, files, arguments.out / f"{method}-{traces}", traces)
    print(json.dumps(report, indent=2))


def logo_files(root: Path, per_category: int) -> list[Path]:
    """Every PNG that has a master, the first of each category by name."""
    found: list[Path] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "masters"):
        known = [file for file in sorted(folder.glob("*.png")) if (root / "masters" / f"{file.stem}.svg").is_file()]
        found += known[: per_category or None]
    return found


def read_logo(file: Path) -> Logo:
    rgba = np.asarray(Image.open(file).convert("RGBA"))
    return Logo.of(f"{file.parent.name}/{file.stem}", rgba, categorise(measure(rgba))[0])


def default_nodes(logos: Sequence[Logo], evaluator: Evaluator) -> dict[str, int]:
    """Nodes of each image's default, by digest: the minifier leaves them as they are."""
    found = evaluator.evaluate([Job(logo, DEFAULT_PARAMS) for logo in logos])
    return {e.digest: e.scores.nodes for e in found if isinstance(e, Scored)}


def search(method: str, agent: Agent, logos: Sequence[Logo], evaluator: Evaluator, traces: int) -> list[Outcome]:
    tasks, failures = make_tasks(logos, evaluator, agent.background, keep_svg=True)
    for logo, failed in failures:
        print(f"{logo.name}: {failed.kind}: {failed.detail}", file=sys.stderr)
    searches = []
    for task in tasks:
        seed = image_seed(0, task)
        makers: dict[str, Any] = {
            "agent": lambda: AgentProposer(agent),
            "default": lambda: FixedSequence([]),
            "fixed": lambda category=task.logo.category: FixedSequence(agent.portfolio(category)[:1]),
            "portfolio": lambda category=task.logo.category: FixedSequence(agent.portfolio(category)),
            "random": lambda seed=seed: RandomSearch(seed),
            "tpe": lambda seed=seed: TPESearch(seed, 4),
            "gp": lambda seed=seed: GPSearch(seed),
            "cmaes": lambda seed=seed: CMAESSearch(seed),
        }
        proposer: Proposer = makers[method]()
        searches.append((agent.episode(task, traces, seed, screened=method == "agent"), proposer))
    return run_searches(searches, evaluator, keep_svg=True)


def judge(
    outcomes: Sequence[Outcome], files: Sequence[Path], root: Path, nodes: dict[str, int], traces: int
) -> list[Judged]:
    sizes_file = root / "masters" / "fair_default_bytes.json"
    sizes = json.loads(sizes_file.read_text(encoding="utf-8")) if sizes_file.is_file() else {}
    by_name = {f"{file.parent.name}/{file.stem}": file for file in files}
    judged = []
    for outcome in outcomes:
        file, chosen = by_name[outcome.task.logo.name], outcome.chosen_at(traces)
        text = (root / "masters" / f"{file.stem}.svg").read_text(encoding="utf-8", errors="ignore")
        master = Master.of(text, outcome.task.logo.width, outcome.task.logo.height)
        damage, delta = master.compare(svg_text(chosen))
        fair = sizes.get(file.stem)
        judged.append(
            Judged(
                name=outcome.task.logo.name,
                category=file.parent.name,
                bytes=chosen.scores.svg_bytes / outcome.task.scores.svg_bytes,
                svgo_bytes=chosen.scores.svg_bytes / fair["bytes"] if fair else None,
                nodes=chosen.scores.nodes / nodes[outcome.task.logo.digest],
                damage=damage,
                delta=delta,
                estimate=chosen.scores.damage,
            )
        )
    return judged


def summary(judged: Sequence[Judged]) -> dict[str, Any]:
    damage = np.array([j.damage for j in judged])
    row: dict[str, Any] = {
        "bytes": ratio([j.bytes for j in judged]),
        "damaged": round(float((damage > DAMAGED).mean()), 3),
        "median": round(float(np.median(damage)), 1),
        "delta": round(float(np.mean([j.delta for j in judged])), 3),
        "nodes": ratio([j.nodes for j in judged]),
        "by_category": {},
    }
    known = [j.svgo_bytes for j in judged if j.svgo_bytes is not None]
    if known:
        row["svgo_bytes"] = ratio(known)
    for category in sorted({j.category for j in judged}):
        own = [j for j in judged if j.category == category]
        row["by_category"][category] = {
            "bytes": ratio([j.svgo_bytes or j.bytes for j in own])["mean"],
            "damaged": round(float(np.mean([j.damage > DAMAGED for j in own])), 3),
        }
    row["worst"] = [
        [j.name, round(j.damage), round(j.estimate, 1)] for j in sorted(judged, key=lambda j: -j.damage)[:30]
    ]
    return row


def ratio(values: Sequence[float]) -> dict[str, float]:
    interval = BOOTSTRAP.mean(-np.log(np.asarray(values))).as_ratio()
    return {name: round(value, 3) for name, value in interval.to_json().items()}


def write_svgs(outcomes: Sequence[Outcome], files: Sequence[Path], folder: Path, traces: int) -> None:
    """At CATEGORY/NAME.svg, as LOGOS has the images."""
    for outcome in outcomes:
        path = folder / f"{outcome.task.logo.name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg_text(outcome.chosen_at(traces)), encoding="utf-8")


if __name__ == "__main__":
    main()
