"""The evaluation as a whole: the agent beside every rival on the test split. What the `evaluate` stage calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.agent.agent import TRAINED, Agent, load_agent
from pipeline.agent.objectives import objective_from
from pipeline.core.errors import DataError
from pipeline.core.files import read_json, whole, write_csv, write_json, write_text
from pipeline.core.intervals import Bootstrap
from pipeline.core.records import Logo
from pipeline.data.dataset import load_split, split_summary
from pipeline.evaluation.comparison import Results, curve, curves_by_category, duel, image_rows, methods, run_method
from pipeline.evaluation.second_renderer import opinions_report, second_opinions, second_renderer
from pipeline.search.loop import Outcome, run_agent, svg_texts
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import Settings
from pipeline.tracing.store_pool import stored_pool
from pipeline.tracing.tracer_pool import Evaluator, pool_from_settings
from pipeline.tracking.run import Run

RESULTS = Path("results/evaluate")
SVG_METHODS = {"agent": "svg", "default": "default"}


def evaluate_agent(root: Path, settings: Settings) -> dict[str, Any]:
    """Run every method on the test split and write results/evaluate; returns evaluate.json.

    Raises DataError, Mismatch, Unavailable or StorageError.
    """
    started = time.perf_counter()
    agent = load_agent(root / TRAINED)
    trained = read_json(root / "results/train/train.json", "dvc repro train")
    logos = load_split(root, settings.data, ("test",))["test"]
    bootstrap = Bootstrap(settings.evaluate.bootstrap_samples, settings.evaluate.confidence, settings.evaluate.seed)
    with stored_pool(root, settings.compute, settings.data.background) as evaluator:
        results, kinds = _run_all(settings, agent, logos, evaluator)
        _write_svgs(root / RESULTS, settings, results, evaluator)
        evaluator.export(root / RESULTS / "evaluations.parquet")
        evaluations = evaluator.summary()
    second = _second_opinions(settings, agent, results["agent"], evaluations["versions"]["rasteriser"])
    report = _report(root, settings, agent, results, kinds, bootstrap)
    report |= {"evaluations": evaluations, "second_renderer": second}
    report |= {"run_id": trained["run_id"], "seconds": time.perf_counter() - started}
    metrics = _metrics(report)
    with Run.resume(root, trained["run_id"]) as run:
        run.log_metrics({f"test/{name}": value for name, value in metrics.items()}, trained["total_timesteps"])
    _write(root / RESULTS, settings, results, report, metrics)
    return report


def agent_values(root: Path, settings: Settings, folder: Path) -> dict[str, float]:
    """What another agent achieves on the test split at the most traces compared: path to value.

    For the promotion gate, when a champion was measured on other images or for another objective: both are then held
    against the objective of the settings. Raises what `evaluate_agent` raises.
    """
    logos = load_split(root, settings.data, ("test",))["test"]
    agent = replace(load_agent(folder), objective=objective_from(settings.objective))
    traces = max(settings.evaluate.traces)
    with stored_pool(root, settings.compute, settings.data.background) as evaluator:
        tasks = _tasks(logos, evaluator, agent)
        outcomes = run_agent(agent, tasks, evaluator, traces=traces, seed=settings.evaluate.seed)
    return {o.task.logo.name: o.value_at(traces) for o in outcomes}


def _tasks(logos: Sequence[Logo], evaluator: Evaluator, agent: Agent) -> list[Any]:
    tasks, failures = make_tasks(logos, evaluator, agent.background)
    for logo, failed in failures:
        tqdm.write(f"{logo.name}: left out of the test: {failed.kind}: {failed.detail}")
    if not tasks:
        raise DataError("VTracer failed on every test image; see the messages above")
    return tasks


def _run_all(
    settings: Settings, agent: Agent, logos: Sequence[Logo], evaluator: Evaluator
) -> tuple[dict[str, list[Outcome]], dict[str, tuple[str, str]]]:
    """Outcomes by method, and each method's label and kind."""
    tasks = _tasks(logos, evaluator, agent)
    compared = methods(agent, settings.evaluate)
    results: dict[str, list[Outcome]] = {}
    with tqdm(total=len(compared), unit="method", desc="evaluate", disable=None) as bar:
        for method in compared:
            bar.set_postfix_str(method.label)
            results[method.name] = run_method(method, agent, tasks, evaluator, settings.evaluate)
            bar.update()
    return results, {m.name: (m.label, m.kind) for m in compared}


def _report(
    root: Path,
    settings: Settings,
    agent: Agent,
    results: Results,
    kinds: dict[str, tuple[str, str]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    traces = settings.evaluate.traces
    failures = Counter(f.kind for outcomes in results.values() for o in outcomes for f in o.failures)
    return {
        "objective": asdict(agent.objective),
        "images": len(results["agent"]),
        "test_digest": split_summary(root)["test"]["digest"],
        "traces": list(traces),
        "confidence": settings.evaluate.confidence,
        "failures": dict(failures),
        "methods": [
            {
                "name": name,
                "label": kinds[name][0],
                "kind": kinds[name][1],
                "curve": curve(outcomes, traces, bootstrap),
                "by_category": curves_by_category(outcomes, traces, bootstrap),
            }
            for name, outcomes in results.items()
        ],
        "duels": [
            {"against": name} | duel(results["agent"], outcomes, count, bootstrap)
            for name, outcomes in results.items()
            if name != "agent"
            for count in traces
        ],
    }


def _metrics(report: dict[str, Any]) -> dict[str, float]:
    """Flat figures for `dvc metrics` and MLflow: every method's ratio at every number of traces, and the duels."""
    metrics: dict[str, float] = {"images": report["images"]}
    for method in report["methods"]:
        for point in method["curve"]:
            metrics[f"{method['name']}_ratio_at_{point['traces']}"] = point["ratio"]["mean"]
    for fight in report["duels"]:
        metrics[f"gain_over_{fight['against']}_at_{fight['traces']}"] = fight["gain"]["mean"]
        metrics[f"gain_over_{fight['against']}_at_{fight['traces']}_low"] = fight["gain"]["low"]
    return metrics


def _second_opinions(
    settings: Settings, agent: Agent, outcomes: Sequence[Outcome], rasteriser: str
) -> dict[str, Any] | None:
    """What the second renderer says of the agent's choices at the most traces; None where there is no second."""
    renderer = second_renderer(rasteriser)
    if renderer is None:
        return None
    chosen = [(o.task, o.chosen_at(max(settings.evaluate.traces))) for o in outcomes]
    with pool_from_settings(settings.compute, settings.data.background, rasteriser=renderer) as pool:
        opinions = second_opinions(chosen, agent.objective, pool)
        return opinions_report(pool.versions["rasteriser"], opinions)


def _write_svgs(folder: Path, settings: Settings, results: Results, evaluator: Evaluator) -> None:
    for method, name in SVG_METHODS.items():
        chosen = [(o.task.logo, o.chosen_at(max(settings.evaluate.traces))) for o in results[method]]
        for (logo, _), svg in zip(chosen, svg_texts(chosen, evaluator), strict=True):
            # By digest: names may clash (a.png and a.jpg) or be too long for another suffix.
            write_text(folder / name / f"{logo.digest}.svg", svg)


def _write(
    folder: Path, settings: Settings, results: Results, report: dict[str, Any], metrics: dict[str, float]
) -> None:
    import pandas as pd

    rows = [row for name, o in results.items() for row in image_rows(name, o, settings.evaluate.traces)]
    with whole(folder / "images.parquet") as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)
    curves = [
        {"method": m["name"], "traces": point["traces"], **point["ratio"]}
        for m in report["methods"]
        for point in m["curve"]
    ]
    for row in curves:
        row["ratio"] = row.pop("mean")
    write_csv(folder / "curves.csv", curves)
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "evaluate.json", report)
