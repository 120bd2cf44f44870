"""The evaluation as a whole: the agent beside every rival on the test split. What the `evaluate` stage calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.agent.agent import TRAINED, Agent, load_agent
from pipeline.agent.objectives import objective_from
from pipeline.agent.task import Task
from pipeline.core.errors import DataError
from pipeline.core.facts.comparison import (
    OURS,
    Comparison,
    ObjectiveTerms,
    SecondRenderer,
    StoppingResult,
    headline_traces,
)
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.facts.training import TrainReport
from pipeline.core.files import write_csv, write_json, write_text
from pipeline.core.intervals import Bootstrap
from pipeline.core.json_records import read_record, write_record
from pipeline.core.parquet import write_table
from pipeline.core.records import Logo
from pipeline.data.dataset import load_split, split_summary
from pipeline.evaluation.comparison import (
    Method,
    MethodOutcomes,
    duel,
    image_rows,
    knee_of,
    method_result,
    methods,
    run_method,
    tradeoff,
)
from pipeline.evaluation.second_renderer import opinions_report, second_opinions, second_renderer
from pipeline.evaluation.stopping import compare_stopping
from pipeline.search.loop import Outcome, evaluate_again, run_agent
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import EvaluateSettings, Settings
from pipeline.tracing.backends import pool_from_settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.store_pool import stored_pool
from pipeline.tracking.run import Run

RESULTS = Path("results/evaluate")
SVG_METHODS = {"agent": "svg", "default": "default"}


def evaluate_agent(root: Path, settings: Settings) -> Comparison:
    """Run every method on the test split and write results/evaluate; returns evaluate.json.

    Raises DataError, Mismatch, Unavailable or StorageError.
    """
    started = time.perf_counter()
    agent = load_agent(root / TRAINED)
    trained = read_record(TrainReport, root / "results/train/train.json", "dvc repro train")
    logos = load_split(root, settings.data, ("test",))["test"]
    compared = methods(agent, settings.evaluate)
    with stored_pool(root, settings.compute, settings.data.background) as evaluator:
        tasks, left_out = _tasks(logos, evaluator, agent)
        results = _run_all(settings, agent, compared, tasks, evaluator)
        bootstrap = Bootstrap(settings.evaluate.bootstrap_samples, settings.evaluate.confidence, settings.evaluate.seed)
        stopping = compare_stopping(agent, tasks, evaluator, settings.evaluate.seed, bootstrap)
        _write_svgs(root / RESULTS, settings, results, evaluator)
        rows = [row for name, o in results.items() for row in image_rows(name, o, settings.evaluate.traces, evaluator)]
        evaluator.export(root / RESULTS / "evaluations.parquet")
        evaluations = evaluator.summary()
    report = comparison(
        settings.evaluate,
        agent,
        compared,
        results,
        evaluations,
        second_renderer=_second_opinions(settings, agent, results[OURS], evaluations.versions["rasteriser"]),
        run_id=trained.run_id,
        left_out=left_out,
        test_digest=split_summary(root).test.digest,
        started=started,
        stopping=stopping,
    )
    with Run.resume(root, trained.run_id) as run:
        for traces, metrics in curves(report).items():
            run.log_metrics(metrics, traces)
    _write(root / RESULTS, rows, report)
    return report


def comparison(
    settings: EvaluateSettings,
    agent: Agent,
    compared: Sequence[Method],
    results: MethodOutcomes,
    evaluations: EvaluationTotals,
    *,
    second_renderer: SecondRenderer | None,
    run_id: str,
    left_out: Mapping[str, str],
    test_digest: str,
    started: float,
    stopping: StoppingResult | None = None,
) -> Comparison:
    """started: when the evaluation was, by `time.perf_counter`."""
    bootstrap = Bootstrap(settings.bootstrap_samples, settings.confidence, settings.seed)
    against_damage = tradeoff(results[OURS], bootstrap)
    return Comparison(
        run_id=run_id,
        objective=ObjectiveTerms(**asdict(agent.objective)),
        images=len(results[OURS]),
        test_digest=test_digest,
        traces=tuple(settings.traces),
        confidence=settings.confidence,
        seconds=time.perf_counter() - started,
        failures=dict(Counter(f.kind for outcomes in results.values() for o in outcomes for f in o.failures)),
        left_out=dict(left_out),
        withdrawn=tuple(sorted({o.task.logo.name for own in results.values() for o in own if o.is_withdrawn})),
        evaluations=evaluations,
        second_renderer=second_renderer,
        methods=tuple(method_result(m, results[m.name], settings.traces, bootstrap) for m in compared),
        duels=tuple(
            duel(name, results[OURS], outcomes, traces, agent.objective.name, bootstrap)
            for name, outcomes in results.items()
            if name != OURS
            for traces in settings.traces
        ),
        tradeoff=against_damage,
        knee=knee_of(against_damage),
        stopping=stopping,
    )


def agent_values(root: Path, settings: Settings, folder: Path) -> dict[str, float]:
    """What another agent achieves on the test split at the most traces compared: path to value.

    For the promotion gate, when a champion was measured on other images or for another objective: both are then held
    against the objective of the settings. Raises what `evaluate_agent` raises.
    """
    logos = load_split(root, settings.data, ("test",))["test"]
    agent = replace(load_agent(folder), objective=objective_from(settings.objective))
    traces = max(settings.evaluate.traces)
    with stored_pool(root, settings.compute, settings.data.background) as evaluator:
        tasks, _ = _tasks(logos, evaluator, agent)
        outcomes = run_agent(agent, tasks, evaluator, traces=traces, seed=settings.evaluate.seed)
    return {o.task.logo.name: o.value_at(traces) for o in outcomes}


def _tasks(logos: Sequence[Logo], evaluator: Evaluator, agent: Agent) -> tuple[list[Task], dict[str, str]]:
    """And the images that even the default failed on, with the kind of its failure."""
    tasks, failures = make_tasks(logos, evaluator, agent.background)
    for logo, failed in failures:
        tqdm.write(f"{logo.name}: left out of the test: {failed.kind}: {failed.detail}")
    if not tasks:
        raise DataError("VTracer failed on every test image; see the messages above")
    return tasks, {logo.name: failed.kind for logo, failed in failures}


def _run_all(
    settings: Settings, agent: Agent, compared: Sequence[Method], tasks: Sequence[Task], evaluator: Evaluator
) -> dict[str, list[Outcome]]:
    """Outcomes by method."""
    results: dict[str, list[Outcome]] = {}
    with tqdm(total=len(compared), unit="method", desc="evaluate", disable=None) as bar:
        for method in compared:
            bar.set_postfix_str(method.label)
            results[method.name] = run_method(method, agent, tasks, evaluator, settings.evaluate)
            bar.update()
    return results


def curves(report: Comparison) -> dict[int, dict[str, float]]:
    """MLflow's `test/` metrics by number of traces, their step: the agent and its rivals, without the references."""
    metrics: dict[int, dict[str, float]] = {traces: {} for traces in report.traces}
    compared = [m for m in report.methods if m.kind != "reference"]
    for method in compared:
        for point in method.curve:
            metrics[point.traces][f"test/ratio/{method.name}"] = point.ratio.mean
            metrics[point.traces][f"test/damaged/{method.name}"] = point.damaged.mean
    for fight in report.duels:
        if fight.against in {m.name for m in compared}:
            metrics[fight.traces][f"test/gain_over/{fight.against}"] = fight.gain.mean
    return metrics


def headline_figures(report: Comparison) -> dict[str, float]:
    """results/evaluate/metrics.json, for `dvc metrics`: at the headline's number of traces, each rival's ratio last."""
    traces = report.headline_traces
    ours = report.method(OURS)
    point = ours.point_at(traces) if ours else None
    figures = {"value": point.value.mean, "ratio": point.ratio.mean, "damaged": point.damaged.mean} if point else {}
    rivals = {m.name: m.at(traces) for m in report.methods if m.kind == "rival"}
    return figures | {name: ratio.mean for name, ratio in rivals.items() if ratio}


def _second_opinions(
    settings: Settings, agent: Agent, outcomes: Sequence[Outcome], rasteriser: str
) -> SecondRenderer | None:
    """What the second renderer says of the agent's choices that headlines tell of; None where there is no second."""
    renderer = second_renderer(rasteriser)
    if renderer is None:
        return None
    chosen = [(o.task, o.chosen_at(headline_traces(settings.evaluate.traces))) for o in outcomes]
    with pool_from_settings(settings.compute, settings.data.background, rasteriser=renderer) as pool:
        opinions = second_opinions(chosen, agent.objective, pool)
        return opinions_report(pool.versions["rasteriser"], opinions)


def _write_svgs(folder: Path, settings: Settings, results: MethodOutcomes, evaluator: Evaluator) -> None:
    for method, name in SVG_METHODS.items():
        places = [(outcome, headline_traces(settings.evaluate.traces)) for outcome in results[method]]
        for (outcome, _), scored in zip(places, evaluate_again(places, evaluator, keep_svg=True), strict=True):
            if scored.svg is not None:
                # By digest: names may clash (a.png and a.jpg) or be too long for another suffix.
                write_text(folder / name / f"{outcome.task.logo.digest}.svg", scored.svg)


def _write(folder: Path, rows: list[dict[str, Any]], report: Comparison) -> None:
    import pandas as pd
    import pyarrow as pa

    write_table(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), folder / "images.parquet")
    points = [
        {
            "method": method.name,
            "traces": point.traces,
            "low": point.ratio.low,
            "high": point.ratio.high,
            "ratio": point.ratio.mean,
            "damaged": point.damaged.mean,
        }
        for method in report.methods
        for point in method.curve
    ]
    write_csv(folder / "curves.csv", points)
    write_json(folder / "metrics.json", headline_figures(report))
    write_record(folder / "evaluate.json", report)
