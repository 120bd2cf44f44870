"""One training as a whole: images in, agent, MLflow run and results folder out. What the `train` stage calls."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.agent.agent import TRAINED, Agent
from pipeline.agent.task import Task
from pipeline.core.errors import DataError
from pipeline.core.facts.data import SplitSummary
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.facts.training import (
    BestValidation,
    MeanScores,
    Progress,
    SeedResult,
    SeedSpread,
    TrainReport,
    Validation,
)
from pipeline.core.files import required_root, write_csv, write_json
from pipeline.core.json_records import write_record
from pipeline.core.records import Logo
from pipeline.core.stop_signals import StopRequest, stop_request
from pipeline.data.dataset import load_split, split_summary
from pipeline.machine.history import Recorder
from pipeline.runs import resume
from pipeline.runs.callbacks import ProgressBar, StatusCallback, TrackingCallback, model_name
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import Settings, load_settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.store_pool import LEDGER, Ledger, StoredEvaluator, stored_pool
from pipeline.tracking import mlflow_store
from pipeline.tracking.lineage import git_tags, run_name
from pipeline.tracking.run import Run
from pipeline.training.callbacks import TrainingCallback
from pipeline.training.checkpoint import Checkpoint, read_checkpoint
from pipeline.training.checkpoint_store import CheckpointStore, bound_store, entry_of
from pipeline.training.loop import Result, train

RESULTS = Path("results/train")


def train_all_seeds(root: Path, settings: Settings) -> TrainReport:
    """Train every seed, keep the best on validation in models/agent, write results/train; returns train.json.

    Unfinished trainings are resumed. Raises Stopped when a signal asks for it, and DataError, Mismatch,
    Unavailable or StorageError.
    """
    return _train(
        root, settings, [TrainingRequest(settings.train.seed + n) for n in range(settings.train.n_seeds)], root
    )[0]


def train_from(root: Path, settings: Settings, checkpoint: Path, *, fork: bool) -> TrainReport:
    """Go on from a checkpoint, of a run's folder or another file, as `train_all_seeds` does with one seed.

    fork: begin a new run from its state, whatever changed since. Raises Mismatch, with the differences, when something
    did and it is no fork; else as `train_all_seeds`.
    """
    seed = entry_of(checkpoint, read_checkpoint(checkpoint)).seed
    return _train(root, settings, [TrainingRequest(seed, ResumeRequest(checkpoint, fork))], root)[0]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingResult:
    """What `train_into` gave. report: that of results/train/train.json."""

    run_id: str
    folder: Path
    agent: Agent
    report: TrainReport


def train_into(
    folder: Path,
    settings: Settings | None = None,
    *,
    root: Path | None = None,
    hooks: Sequence[TrainingCallback] = (),
    progress: bool = True,
    run_id: str | None = None,
) -> TrainingResult:
    """Train one agent outside of DVC: models/agent and results/train come into `folder`, not into the project's.

    For notebooks and scripts. settings: those of params.yaml by default. root: the project's folder, by default the
    one at or above the current folder. hooks: told what happens; what one raises ends the training, with a checkpoint.
    run_id: of a run to resume, or to begin where it does not exist; None begins a new one.
    Signals ask it to stop in the main thread only; no other thread may touch them. Raises as `train_all_seeds`.
    """
    from tqdm.auto import tqdm as bar_of_here

    root = root or required_root()
    settings = settings or load_settings(root / "params.yaml")
    bar = ProgressBar(settings.train.total_timesteps, bar_of_here, disable=not progress)
    request = TrainingRequest(settings.train.seed, NewRun(run_id), hooks=hooks, bar=bar)
    report, agent = _train(root, settings, [request], folder)
    return TrainingResult(report.run_id, folder, agent, report)


def train_one(context: TrainingContext, request: TrainingRequest) -> tuple[Path, Result]:
    """One training whose result goes nowhere but into its run: the run's folder, and the result.

    The run can be resumed until `resume.deliver` records that its result is where it belongs.
    """
    ran = train_seed(context, request)
    _tag(context.root, ran, context.evaluator.summary())
    return ran.folder, ran.result


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """A run goes on that was left with the same settings, images and code; where there is none, one begins.

    checkpoint: of whatever run, to go on from; None for the latest. fork: a run begins from it, whatever changed since.
    """

    checkpoint: Path | None = None
    fork: bool = False


@dataclass(frozen=True, slots=True)
class NewRun:
    """Resumes the run `run_id`, or begins it under that name; it never resumes other unfinished trainings.

    run_id: None for a new one. parent_run_id, name, tags: of the run in MLflow, when it begins.
    """

    run_id: str | None = None
    parent_run_id: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """One training: its seed, its run, and its callbacks.

    bar: None for a line in the terminal. best_only: of the validated agents only the best is logged.
    """

    seed: int
    run: ResumeRequest | NewRun = ResumeRequest()
    hooks: Sequence[TrainingCallback] = ()
    bar: ProgressBar | None = None
    best_only: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SeedRun:
    """A training that came to its end. folder: of its run. model: the name of its best agent in MLflow."""

    seed: int
    run_id: str
    folder: Path
    tracking_uri: str
    model: str
    result: Result


def _train(root: Path, settings: Settings, requests: Sequence[TrainingRequest], out: Path) -> tuple[TrainReport, Agent]:
    started = datetime.now(UTC)
    with prepared(root, settings) as context:
        runs = [train_seed(context, request) for request in requests]
        context.evaluator.export(out / RESULTS / "evaluations.parquet")
        evaluations = context.evaluator.summary()
    for ran in runs:
        _tag(root, ran, evaluations)
    best = max(runs, key=lambda ran: ran.result.best_value)
    best.result.agent.save(out / TRAINED)
    report = _report(context, best, runs, started, evaluations)
    write_record(out / RESULTS / "train.json", report)
    write_json(out / RESULTS / "metrics.json", headline_figures(best.result.best_report))
    write_csv(out / RESULTS / "progress.csv", progress_rows(best.result.progress))
    write_csv(out / RESULTS / "validation.csv", validation_rows(best.result.validations))
    for ran in runs:
        resume.deliver(ran.folder)
    return report, best.result.agent


@dataclass(frozen=True, slots=True, eq=False)
class TrainingContext:
    """What the trainings of all seeds share. split: its summary."""

    root: Path
    settings: Settings
    train_tasks: Sequence[Task]
    val_tasks: Sequence[Task]
    evaluator: StoredEvaluator
    split: SplitSummary
    stop: StopRequest


@contextmanager
def prepared(root: Path, settings: Settings) -> Iterator[TrainingContext]:
    """Images, their defaults and the pool with its store, for one training or many. Raises as `train_all_seeds`."""
    splits, summary = load_split(root, settings.data, ("train", "val")), split_summary(root)
    in_main_thread = threading.current_thread() is threading.main_thread()
    with (
        stop_request() if in_main_thread else nullcontext(StopRequest()) as stop,
        stored_pool(root, settings.compute, settings.data.background, check_stop=stop.check) as evaluator,
    ):
        train_tasks = _tasks(splits["train"], evaluator, settings, "training")
        val_tasks = _tasks(splits["val"], evaluator, settings, "validation")
        yield TrainingContext(root, settings, train_tasks, val_tasks, evaluator, summary, stop)


def _tasks(logos: Sequence[Logo], evaluator: Evaluator, settings: Settings, what: str) -> list[Task]:
    tasks, failures = make_tasks(logos, evaluator, settings.data.background)
    for logo, failed in failures:
        tqdm.write(f"{logo.name}: left out of {what}: {failed.kind}: {failed.detail}")
    if not tasks:
        raise DataError(f"VTracer failed on every {what} image; see the messages above")
    return tasks


def train_seed(context: TrainingContext, request: TrainingRequest) -> SeedRun:
    """One training in its run, from where that was left to the end. Raises as `train_all_seeds`."""
    settings = context.settings
    every_seconds = settings.monitoring.sample_every_seconds
    with ExitStack() as opened:
        run = opened.enter_context(_opened(context, request))
        context.evaluator.note_in(opened.enter_context(Ledger(run.folder / LEDGER)))
        recorder = Recorder(run.folder, interval_seconds=every_seconds or 1.0)
        if every_seconds:
            opened.enter_context(recorder)
        checkpoints, begin = _checkpoints(settings, run, request)
        bar = request.bar or ProgressBar(settings.train.total_timesteps)
        tracked = TrackingCallback(run, recorder, best_only=request.best_only)
        status = StatusCallback(
            run.folder,
            seed=request.seed,
            total_timesteps=settings.train.total_timesteps,
            stages=[stage.name for stage in settings.curriculum.stages],
            evaluations=lambda: (context.evaluator.asked, context.evaluator.found),
            refused=run.journal.refused.total,
            behind=run.behind,
        )
        with status, closing(bar):
            result = train(
                settings,
                context.train_tasks,
                context.val_tasks,
                context.evaluator,
                seed=request.seed,
                followers=[bar, status, tracked, *request.hooks],
                checkpoints=checkpoints,
                resume_from=begin,
                check_stop=context.stop.check,
            )
        tracked.keep(result.agent, result.best_report)
        model = model_name(run.run_id, result.best_timesteps)
        return SeedRun(request.seed, run.run_id, run.folder, run.tracking_uri, model, result)


def _checkpoints(settings: Settings, run: Run, request: TrainingRequest) -> tuple[CheckpointStore, Checkpoint | None]:
    """The run's checkpoints, cleaned up, and the one that it goes on from."""
    checkpoints = CheckpointStore(run.folder, settings.checkpoints)
    checkpoints.clear_half_written()
    bound_store(run.folder.parent, settings.checkpoints.max_bytes, [run.folder])
    latest = checkpoints.latest()
    begin = latest[1] if latest else None
    if begin is None and isinstance(request.run, ResumeRequest) and request.run.checkpoint is not None:
        begin = read_checkpoint(request.run.checkpoint)
    if begin is not None:
        tqdm.write(f"resuming run {run.run_id} from step {begin.facts['summary']['timesteps']}")
    return checkpoints, begin


def _opened(context: TrainingContext, request: TrainingRequest) -> Run:
    """The run to resume, or a new one."""
    root, settings, wanted = context.root, context.settings, request.run
    fingerprint = resume.fingerprint_of(root, settings, context.split, context.evaluator.pool.versions, request.seed)
    runs = mlflow_store.home(root) / mlflow_store.RUNS_FOLDER
    if isinstance(wanted, ResumeRequest):
        found = resume.find(runs, fingerprint, wanted.checkpoint, fork=wanted.fork)
        named, forked_from = NewRun(), resume.place_of(wanted.checkpoint) if wanted.checkpoint else None
    else:
        folder = runs / wanted.run_id if wanted.run_id else None
        was_begun = folder is not None and (folder / resume.TRAINING).is_file()
        found = resume.require_same_conditions(folder, fingerprint, "start a new run") if folder and was_begun else None
        named, forked_from = wanted, None
    if found is not None:
        return Run.resume(root, found.name)
    run = Run.start(
        root,
        settings,
        stage="train",
        inputs=context.split,
        tags=_description(context, request.seed)
        | {"seed": str(request.seed), **named.tags}
        | ({"forked_from": forked_from} if forked_from else {}),
        parent_run_id=named.parent_run_id,
        name=named.name or run_name(root, settings, request.seed),
        run_id=named.run_id,
    )
    resume.TrainingOrigin(fingerprint, forked_from=forked_from).write(run.folder)
    return run


def _description(context: TrainingContext, seed: int) -> dict[str, str]:
    """What the run's page in MLflow says until the report adds the verdict."""
    settings = context.settings
    text = (
        f"Training of an agent with seed {seed}: objective {settings.objective.name}, {len(context.train_tasks)} "
        f"training images, {settings.train.total_timesteps:,} timesteps. `make repro` tests the agent, registers it "
        "and adds the verdict and the report to this page."
    )
    return {"mlflow.note.content": text}


def progress_rows(progress: Sequence[Progress]) -> list[dict[str, Any]]:
    """Of progress.csv."""
    names = [field.name for field in fields(Progress)]
    return [{name: getattr(row, name) for name in names} for row in progress]


def validation_rows(validations: Sequence[Validation]) -> list[dict[str, float]]:
    """Of validation.csv."""
    names = (
        "target_reached_ratio",
        "value",
        "bytes_ratio",
        "damaged_ratio",
        *(field.name for field in fields(MeanScores)),
    )
    return [{"timesteps": v.timesteps} | {name: v.figures()[name] for name in names} for v in validations]


def _tag(root: Path, ran: SeedRun, evaluations: EvaluationTotals) -> None:
    """Tag the run with whether another run must give the same bits."""
    with Run.resume(root, ran.run_id) as tracked:
        tracked.set_tags({"bit_comparable": str(evaluations.bit_comparable).lower()})


def _report(
    context: TrainingContext, best: SeedRun, runs: Sequence[SeedRun], started: datetime, evaluations: EvaluationTotals
) -> TrainReport:
    """best: the run of the seed that is kept. evaluations: of all seeds."""
    result = best.result
    values = [run.result.best_value for run in runs]
    git = git_tags(context.root)
    return TrainReport(
        run_id=best.run_id,
        experiment=context.settings.experiment,
        tracking_uri=best.tracking_uri,
        model=best.model,
        seed=best.seed,
        started=started.isoformat(timespec="seconds"),
        seconds=(datetime.now(UTC) - started).total_seconds(),
        total_timesteps=result.timesteps,
        steps_per_second=result.steps_per_second,
        peak_memory_bytes=result.peak_memory_bytes,
        stopped=result.stopped,
        best=BestValidation(timesteps=result.best_timesteps, value=result.best_value),
        time_shares=result.time_shares,
        dataset=context.split,
        failures=result.failures,
        evaluations=evaluations,
        stages=tuple(result.stages),
        seeds=tuple(SeedResult(seed=r.seed, run_id=r.run_id, best_value=r.result.best_value) for r in runs),
        seed_spread=(
            SeedSpread(mean=statistics.mean(values), std=statistics.stdev(values)) if len(values) > 1 else None
        ),
        validations=tuple(result.validations),
        git_commit=git.get("mlflow.source.git.commit"),
        git_dirty=git["git.dirty"] == "true" if "git.dirty" in git else None,
    )


def headline_figures(report: Validation) -> dict[str, float]:
    """results/train/metrics.json, for `dvc metrics`: of the best validation, named as those of results/evaluate."""
    figures = {"value": report.value.mean, "ratio": report.bytes_ratio.mean, "damaged": report.damaged_ratio}
    return {"timesteps": report.timesteps, **figures}
