"""docs/metrics.md against what a training, an evaluation and a registration really log and write.

All three are run, on fakes: names that were only read from the source could be others at run time.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from pipeline.core.facts.decision import Decision
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.intervals import Bootstrap
from pipeline.core.json_records import to_json, write_record
from pipeline.core.records import CATEGORIES, FailureKind, Job, TracerParams
from pipeline.core.stop_signals import StopRequest
from pipeline.data import splits
from pipeline.evaluation import session as evaluation
from pipeline.evaluation.comparison import image_rows, methods, run_method
from pipeline.evaluation.second_renderer import Opinion, opinions_report
from pipeline.evaluation.stopping import compare_stopping
from pipeline.runs import session
from pipeline.settings.params import Settings
from pipeline.tracing.evaluation_store import EvaluationStore
from pipeline.tracing.store_pool import StoredEvaluator
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.tracking import gate, promotion
from pipeline.vectorizing.batch import VectorizeResult
from tests.support.fakes import FakeEvaluator, settings_with, task_of
from tests.support.source import ROOT, modules, tree

TEXT = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
KINDS = get_args(FailureKind)


@dataclass
class NotedRun:
    """Stands where pipeline.tracking.run.Run does, and notes the names."""

    folder: Path
    run_id: str = "r1"
    tracking_uri: str = "sqlite://"
    journal: Any = field(default_factory=lambda: SimpleNamespace(refused=Counter()))
    names: set[str] = field(default_factory=set)

    def __enter__(self) -> NotedRun:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        self.names |= set(values)

    def log_model(self, folder: Path, metrics: Mapping[str, float], **_: Any) -> None:
        self.names |= set(metrics)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        pass

    def behind(self) -> tuple[int, float]:
        return 0, 0.0


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A whole small run. names: logged to MLflow. files: what was written, by file name."""
    root = tmp_path_factory.mktemp("project")
    settings = settings_with(
        train__total_timesteps=64,
        train__n_envs=4,
        train__max_steps=2,
        train__portfolio_candidates=4,
        train__other_portfolio_candidates=0,
        train__table_traces=8,
        train__simulated_timesteps=0,
        train__surrogate_steps=20,
        train__shortlist=6,
        train__ppo__n_steps=4,
        train__ppo__batch_size=16,
        train__ppo__n_epochs=1,
        train__ppo__hidden_units=[8],
        validation__images_per_category=2,
        validation__stochastic_runs=1,
        evaluate__bootstrap_samples=100,
        evaluate__traces=[1, 2],
        evaluate__tpe_startup_trials=1,
        monitoring__sample_every_seconds=0.0,  # names of the machine's are MLflow's own
    )
    noted = NotedRun(root / ".tracewright/runs/r1")
    trained = train(root, settings, noted)
    evaluated = evaluate(root, settings, trained["result"], noted)
    registered = register(noted)
    rows = list(image_rows("agent", evaluated.results["agent"], [1, 2], FakeEvaluator()))
    return SimpleNamespace(
        names=noted.names,
        settings=settings,
        files={
            "data/splits.json": to_json(trained["report"].dataset),
            "results/train/train.json": to_json(trained["report"]) | {"dataset": None},
            "results/train/metrics.json": trained["metrics"],
            "results/train/progress.csv": session.progress_rows(trained["result"].progress)[0],
            "results/train/validation.csv": session.validation_rows(trained["result"].validations)[0],
            "results/evaluate/evaluate.json": to_json(evaluated.report),
            "results/evaluate/metrics.json": evaluated.metrics,
            "results/evaluate/images.parquet": rows[0],
            "results/register.json": to_json(registered),
            "results.jsonl": {f.name: None for f in fields(VectorizeResult)},
        },
    )


def train(root: Path, settings: Settings, noted: NotedRun) -> dict[str, Any]:
    def fails(job: Job) -> bool:
        return job.logo.name != "logo-0.png" and job.params.layer_difference > 60

    class Evaluator(FakeEvaluator):
        asked = found = 0
        pool = SimpleNamespace(versions={"tracer": "1"})

        def note_in(self, ledger: object) -> None:
            pass

    tasks = [task_of(seed) for seed in range(8)]
    started = datetime.now(UTC)
    (root / "dvc.yaml").write_text("stages: {}")
    (root / "params.yaml").write_text("")
    rows = [
        splits.SplitRow(task.logo.name, task.logo.digest, task.logo.category, task.logo.name, "train") for task in tasks
    ]
    summary = splits.summarise(rows)
    write_record(root / "data/splits.json", summary)
    evaluator = cast(Any, Evaluator(fails))
    context = session.TrainingContext(root, settings, tasks, tasks, evaluator, summary, StopRequest())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Run", SimpleNamespace(start=lambda *_, **__: noted, resume=lambda *_: noted))
        best = session.train_seed(context, session.TrainingRequest(1))
        evaluations = evaluations_summary(root)
        session._tag(root, best, evaluations)
    report = session._report(context, best, [best, best], started, evaluations)
    result = best.result
    return {"result": result, "report": report, "metrics": session.headline_figures(result.best_report)}


def evaluations_summary(root: Path) -> EvaluationTotals:
    """Of a real evaluator that was given one evaluation it must refuse."""
    with TracerPool(1, 20, 2_000_000_000) as pool, EvaluationStore(root / "store", 10**7, pool.versions) as store:
        evaluator = StoredEvaluator(pool, store)
        evaluator.evaluate([Job(task_of(1).logo, TracerParams(color_precision=9))])
        return evaluator.summary()


def evaluate(root: Path, settings: Settings, result: Any, noted: NotedRun) -> SimpleNamespace:
    tasks = [task_of(seed) for seed in range(4)]
    agent = result.agent
    compared = methods(agent, settings.evaluate)
    evaluator = FakeEvaluator(lambda job: job.params.filter_speckle > 6)
    results = {m.name: run_method(m, agent, tasks, evaluator, settings.evaluate) for m in compared}
    report = evaluation.comparison(
        settings.evaluate,
        agent,
        compared,
        results,
        evaluations_summary(root),
        left_out={},
        second_renderer=opinions_report("resvg-py 1", [Opinion("logo.png", -0.4, upheld=True)]),
        run_id="r1",
        test_digest="d",
        started=0.0,
        stopping=compare_stopping(replace(agent, stopping_rule=None), tasks, evaluator, 1, Bootstrap(100, 0.95, 1)),
    )
    for traces, metrics in evaluation.curves(report).items():
        noted.log_metrics(metrics, traces)
    return SimpleNamespace(results=results, report=report, metrics=evaluation.headline_figures(report))


def register(noted: NotedRun) -> Decision:
    ours = {f"{n}.png": 0.1 + 0.01 * n for n in range(12)}
    theirs = {path: value - 0.05 for path, value in ours.items()}
    verdict = gate.verdict(ours, theirs, min_improvement=0.0, bootstrap_samples=100, confidence=0.95, seed=1)
    version: Any = SimpleNamespace(name="tracewright", version="2", run_id="r1")
    measured = promotion.Measurement(values=ours, test_digest="d", objective="{}", traces=2)
    result = promotion._result(cast(Any, SimpleNamespace(run_of=lambda _: "r1")), verdict, version, version, measured)
    promotion._log(cast(Any, noted), result)
    return result


def flat(value: Any, key: str = "") -> Iterator[str]:
    """Keys of JSON values: `[]` for the items of a list, `<category>` and `<kind>` for what depends on the data."""
    if isinstance(value, dict) and value and set(value) != {"mean", "low", "high"}:
        for name, inner in value.items():
            shown = "<category>" if name in CATEGORIES else "<kind>" if name in KINDS else name
            yield from flat(inner, f"{key}.{shown}" if key else shown)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from flat(item, f"{key}[]")
    else:
        yield key


def documented(heading: str) -> list[str]:
    """The names in the first column of the table below a heading that holds `heading`."""
    parts = re.split(r"^#{2,4} (.+)$", TEXT, flags=re.MULTILINE)
    [body] = [body for title, body in zip(parts[1::2], parts[2::2], strict=True) if heading in title]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in body.splitlines() if line.startswith("| `")]
    for cells in rows:
        assert len(cells) == 3, cells
        assert all(cell.strip() for cell in cells), cells
    return [cell.strip("`") for cells in rows for cell in re.findall(r"`[^`]+`", cells[0])]


FILES = [
    "data/splits.json",
    "results/train/train.json",
    "results/train/progress.csv",
    "results/train/validation.csv",
    "results/evaluate/evaluate.json",
    "results/evaluate/images.parquet",
    "results/register.json",
    "results.jsonl",
]


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_a_file_is_documented_once_and_no_other(acted: SimpleNamespace, name: str) -> None:
    written = dict.fromkeys(flat(acted.files[name]))
    assert sorted(documented(f"`{name}`")) == sorted(written)


def test_every_metric_in_mlflow_is_documented_and_no_other(acted: SimpleNamespace) -> None:
    patterns = {name: pattern_of(name) for name in documented("in MLflow")}
    charted = {name for name in acted.names if not name.startswith("failures/")}
    assert 25 < len(charted) < 45
    assert len({name for name in charted if name.startswith("test/")}) == 5 + 5 + 4
    for name in acted.names:
        assert [p for p, regex in patterns.items() if regex.fullmatch(name)] != [], f"{name} is not in docs/metrics.md"
    for documented_name, regex in patterns.items():
        assert any(regex.fullmatch(name) for name in acted.names), f"{documented_name} is never logged"


def test_the_metrics_of_dvc_are_documented_and_fit_a_terminal(acted: SimpleNamespace) -> None:
    """`dvc metrics show` has a column for every name in any file; its paths take 31 characters of 120."""
    files = [acted.files[f"results/{name}/metrics.json"] for name in ("train", "evaluate")]
    assert set(documented("Metrics in DVC")) == {name for file in files for name in file}
    names = dict.fromkeys(name for file in files for name in file)
    assert 31 + sum(2 + max(len(name), len("-0.12345")) for name in names) <= 120


def pattern_of(name: str) -> re.Pattern[str]:
    words = {
        "<category>": "|".join(CATEGORIES),
        "<kind>": "|".join(KINDS),
        "<method>": r"[a-z_]+",
        "<traces>": r"\d+",
    }
    escaped = re.escape(name)
    for placeholder, alternatives in words.items():
        escaped = escaped.replace(re.escape(placeholder), f"({alternatives})")
    return re.compile(escaped)


def test_nothing_else_in_the_pipeline_logs_metrics() -> None:
    """Whoever adds a call of log_metrics adds its names to the run above and to docs/metrics.md."""
    assert calls_of("log_metrics") == {
        "pipeline.evaluation.session": 1,
        "pipeline.runs.callbacks": 3,
        "pipeline.tracking.promotion": 1,
        "pipeline.tracking.run": 1,
    }


@cache
def calls_of(method: str) -> dict[str, int]:
    counts = {}
    for name, path in modules("pipeline").items():
        calls = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
        if count := sum(cast(ast.Attribute, call.func).attr == method for call in calls):
            counts[name] = count
    return counts


def test_the_methods_that_are_documented_are_those_compared(acted: SimpleNamespace) -> None:
    names = {method["name"] for method in acted.files["results/evaluate/evaluate.json"]["methods"]}
    assert names == set(documented("The methods compared"))


def test_the_kinds_of_failure_are_documented() -> None:
    assert set(documented("Failures")) == set(KINDS)
