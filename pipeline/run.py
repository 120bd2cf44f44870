"""One training as a whole: images in, agent, MLflow run and results folder out. What the `train` stage calls."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.data.dataset import load_split, split_summary
from pipeline.errors import DataError
from pipeline.files import write_json, write_text
from pipeline.records import Logo
from pipeline.rl.agent import Agent
from pipeline.rl.episode import Task
from pipeline.rl.hooks import Hooks, Report
from pipeline.rl.train import Result, train
from pipeline.search.tasks import make_tasks
from pipeline.settings import Settings
from pipeline.tracing.stored import stored_pool
from pipeline.tracing.workers import Evaluator
from pipeline.tracking.lineage import git_tags
from pipeline.tracking.run import Run

AGENT = Path("models/agent")
RESULTS = Path("results/train")
CHECKPOINTS = Path(".tracewright/checkpoints")


class ProgressBar(Hooks):
    """A line in the terminal: timesteps, speed, time left, how the agent does."""

    def __init__(self, total_timesteps: int) -> None:
        self._bar = tqdm(total=total_timesteps, unit="step", desc="train", smoothing=0.1, disable=None)

    def on_table(self, progress: Report) -> None:
        self._bar.set_postfix_str(f"{progress['what']}: {progress['done']} of {progress['total']}")

    def on_progress(self, progress: Report) -> None:
        self._bar.total = max(self._bar.total, progress["timesteps"])  # a stage that is retried adds to it
        self._bar.update(progress["timesteps"] - self._bar.n)
        if progress["return_mean"] is not None:
            self._bar.set_postfix(stage=progress["stage"], gain=f"{progress['return_mean']:.3f}")

    def on_validation(self, report: Report, agent: Agent, is_best: bool) -> None:
        ratio = report["bytes_ratio"]
        star = " (best so far)" if is_best else ""
        self._bar.write(
            f"validation at {report['timesteps']} steps: {ratio['mean']:.3f} of the default's bytes "
            f"[{ratio['low']:.3f}, {ratio['high']:.3f}] on {report['images']} images{star}"
        )

    def on_stage(self, result: Report) -> None:
        passed = "passed" if result["passed"] else "not passed"
        rate = result["success_rate"]
        reached = "no episode ended" if rate is None else f"{rate:.0%} of episodes reached the goal"
        self._bar.write(f"stage {result['name']}: {reached}, {result['pass_rate']:.0%} asked for: {passed}")

    def close(self) -> None:
        self._bar.close()


class Tracked(Hooks):
    """Sends what happens to an MLflow run, and keeps the validated agents as logged models."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run, self._folder = run, folder
        self.model_ids: dict[int, str] = {}

    def on_progress(self, progress: Report) -> None:
        names = ("return_mean", "success_rate", "steps_per_second", "memory_bytes")
        metrics = {f"train/{name}": progress[name] for name in names if progress[name] is not None}
        metrics |= {f"failures/{kind}": count for kind, count in progress["failures"].items()}
        self._run.log_metrics(metrics, progress["timesteps"])

    def on_validation(self, report: Report, agent: Agent, is_best: bool) -> None:
        metrics = validation_metrics(report)
        self._run.log_metrics(metrics, report["timesteps"])
        folder = self._folder / f"{report['timesteps']:08d}"
        digest = agent.save(folder)
        self.model_ids[report["timesteps"]] = self._run.log_model(
            folder,
            name=f"agent-{report['timesteps']}",
            step=report["timesteps"],
            params={"weights_sha256": digest},
            metrics=metrics,
            dataset="val",
        )

    def on_stage(self, result: Report) -> None:
        rate = result["success_rate"]
        self._run.set_tags({f"stage/{result['name']}": "passed" if result["passed"] else f"not passed ({rate})"})


class Checkpoints(Hooks):
    """Keeps the weights as they go, outside DVC's outs, so that a failed stage loses nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_checkpoint(self, timesteps: int, agent: Agent) -> None:
        agent.save(self._folder / f"{timesteps:08d}")


class Tables(Hooks):
    """Collects the rows of progress.csv and validation.csv."""

    def __init__(self) -> None:
        self.progress: list[Report] = []
        self.validations: list[Report] = []

    def on_progress(self, progress: Report) -> None:
        names = ("timesteps", "return_mean", "success_rate", "stage", "seconds", "steps_per_second")
        self.progress.append({name: progress[name] for name in names})

    def on_validation(self, report: Report, agent: Agent, is_best: bool) -> None:
        row = {"timesteps": report["timesteps"], "target_reached_ratio": report["target_reached_ratio"]}
        for name in ("value", "bytes_ratio", "skill", "ssim", "zoom_ssim"):
            row[name] = report[name]["mean"] if report[name] else None
        self.validations.append(row)


def validation_metrics(report: Report) -> dict[str, float]:
    """A validation report as flat metrics, named as docs/metrics.md lists them."""
    metrics: dict[str, float] = {}
    for name in ("value", "bytes_ratio", "ssim", "zoom_ssim", "skill", "mse", "psnr"):
        if report[name]:
            metrics[f"val/{name}"] = report[name]["mean"]
    for name in ("target_reached_ratio", "failures", "stability", "consistency", "seconds_per_image"):
        if report[name] is not None:
            metrics[f"val/{name}"] = float(report[name])
    for category, part in report["by_category"].items():
        metrics[f"val/bytes_ratio/{category}"] = part["bytes_ratio"]["mean"]
        metrics[f"val/skill/{category}"] = part["skill"]["mean"]
    return metrics


def train_all_seeds(root: Path, settings: Settings) -> dict[str, Any]:
    """Train every seed, keep the best on validation in models/agent, write results/train; returns train.json.

    Raises DataError, Mismatch, Unavailable or StorageError.
    """
    started = datetime.now(UTC)
    splits = load_split(root, settings.data, ("train", "val"))
    summary = split_summary(root)
    with stored_pool(root, settings.compute, settings.data.background) as evaluator:
        train_tasks = _tasks(splits["train"], evaluator, settings, "training")
        val_tasks = _tasks(splits["val"], evaluator, settings, "validation")
        runs = [
            _train_seed(root, settings, train_tasks, val_tasks, evaluator, summary, settings.train.seed + n)
            for n in range(settings.train.n_seeds)
        ]
        evaluator.export(root / RESULTS / "evaluations.parquet")
        evaluations = evaluator.summary()
    for run in runs:
        _tag(root, run, evaluations)
    best = max(runs, key=lambda run: run["result"].best_value)
    best["result"].agent.save(root / AGENT)
    report = _report(settings, best, runs, summary, started, evaluations) | _commit(root)
    write_json(root / RESULTS / "train.json", report)
    write_json(root / RESULTS / "metrics.json", _flat_metrics(report, best["result"]))
    write_csv(root / RESULTS / "progress.csv", best["tables"].progress)
    write_csv(root / RESULTS / "validation.csv", best["tables"].validations)
    return report


def _tasks(logos: Sequence[Logo], evaluator: Evaluator, settings: Settings, what: str) -> list[Task]:
    tasks, failures = make_tasks(logos, evaluator, settings.data.background)
    for logo, failed in failures:
        tqdm.write(f"{logo.name}: left out of {what}: {failed.kind}: {failed.detail}")
    if not tasks:
        raise DataError(f"VTracer failed on every {what} image; see the messages above")
    return tasks


def _train_seed(
    root: Path,
    settings: Settings,
    train_tasks: Sequence[Task],
    val_tasks: Sequence[Task],
    evaluator: Evaluator,
    summary: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    tables, bar = Tables(), ProgressBar(settings.train.total_timesteps)
    with Run.start(root, settings, stage="train", inputs=summary, tags={"seed": str(seed)}, name=f"seed {seed}") as run:
        folder = root / CHECKPOINTS / run.run_id
        tracked = Tracked(run, folder / "validated")
        followers = [bar, tables, Checkpoints(folder), tracked]
        try:
            result = train(settings, train_tasks, val_tasks, evaluator, seed=seed, followers=followers)
        finally:
            bar.close()
        run.log_metrics({f"time_share/{k}": v for k, v in result.time_shares.items()}, result.timesteps)
        run.log_metrics({"train/steps_per_second_mean": result.steps_per_second}, result.timesteps)
        return {
            "seed": seed,
            "run_id": run.run_id,
            "tracking_uri": run.tracking_uri,
            "model_id": tracked.model_ids[result.best_timesteps],
            "result": result,
            "tables": tables,
        }


def _tag(root: Path, run: dict[str, Any], evaluations: dict[str, Any]) -> None:
    """What another run must have in common with this one to come to the same bits, and whether it then must."""
    with Run.resume(root, run["run_id"]) as tracked:
        tracked.set_tags({f"versions/{name}": value for name, value in evaluations["versions"].items()})
        tracked.set_tags({"bit_comparable": str(evaluations["bit_comparable"]).lower()})
        counts = {"evaluations/asked": evaluations["asked"], "evaluations/found": evaluations["found"]}
        tracked.log_metrics(counts, run["result"].timesteps)


def _report(
    settings: Settings,
    best: dict[str, Any],
    runs: Sequence[dict[str, Any]],
    summary: dict[str, Any],
    started: datetime,
    evaluations: dict[str, Any],
) -> dict[str, Any]:
    result: Result = best["result"]
    values = [run["result"].best_value for run in runs]
    return {
        "run_id": best["run_id"],
        "experiment": settings.experiment,
        "tracking_uri": best["tracking_uri"],
        "model_id": best["model_id"],
        "seed": best["seed"],
        "started": started.isoformat(timespec="seconds"),
        "seconds": (datetime.now(UTC) - started).total_seconds(),
        "total_timesteps": result.timesteps,
        "steps_per_second": result.steps_per_second,
        "peak_memory_bytes": result.peak_memory_bytes,
        "stopped": result.stopped,
        "best": {"timesteps": result.best_timesteps, "value": result.best_value},
        "time_shares": result.time_shares,
        "dataset": summary,
        "failures": result.failures,
        "evaluations": evaluations,
        "stages": result.stages,
        "seeds": [{"seed": r["seed"], "run_id": r["run_id"], "best_value": r["result"].best_value} for r in runs],
        "seed_spread": (
            {"mean": statistics.mean(values), "std": statistics.stdev(values)} if len(values) > 1 else None
        ),
        "validations": result.validations,
    }


def _commit(root: Path) -> dict[str, Any]:
    tags = git_tags(root)
    return {"git_commit": tags.get("mlflow.source.git.commit"), "git_dirty": tags.get("git.dirty") == "true"}


def _flat_metrics(report: dict[str, Any], result: Result) -> dict[str, float]:
    best = next(v for v in report["validations"] if v["timesteps"] == result.best_timesteps)
    return {
        "best_timesteps": result.best_timesteps,
        **{name.replace("/", "_"): value for name, value in validation_metrics(best).items()},
    }


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of the same keys as CSV, with a header; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
