"""One training as a whole: images in, agent, MLflow run and results folder out. What the `train` stage calls."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.agent.agent import TRAINED, Agent
from pipeline.agent.task import Task
from pipeline.core.errors import DataError
from pipeline.core.files import required_root, write_csv, write_json
from pipeline.core.records import Logo
from pipeline.core.stop_signals import StopRequest, stop_request
from pipeline.data.dataset import load_split, split_summary
from pipeline.machine.history import Recorder
from pipeline.runs import resume
from pipeline.runs.callbacks import ProgressBar, StatusCallback, TrackingCallback, model_name, validation_metrics
from pipeline.search.tasks import make_tasks
from pipeline.settings.params import Settings, load_settings
from pipeline.tracing.store_pool import Ledger, StoredEvaluator, stored_pool
from pipeline.tracing.tracer_pool import Evaluator
from pipeline.tracking import mlflow_store
from pipeline.tracking.lineage import git_tags
from pipeline.tracking.run import Run
from pipeline.training.callbacks import Hooks, Report
from pipeline.training.checkpoint import Checkpoint, read_checkpoint
from pipeline.training.checkpoint_store import CheckpointStore, bound_store, entry_of
from pipeline.training.loop import Result, train

RESULTS = Path("results/train")


def train_all_seeds(root: Path, settings: Settings) -> dict[str, Any]:
    """Train every seed, keep the best on validation in models/agent, write results/train; returns train.json.

    Trainings that were left are gone on with. Raises Stopped when a signal asks for it, and DataError, Mismatch,
    Unavailable or StorageError.
    """
    return _train(root, settings, [Source(settings.train.seed + n) for n in range(settings.train.n_seeds)], root)[0]


def train_from(root: Path, settings: Settings, checkpoint: Path, *, fork: bool) -> dict[str, Any]:
    """Go on from a checkpoint, of a run's folder or another file, as `train_all_seeds` does with one seed.

    fork: begin a new run from its state, whatever changed since. Raises Mismatch, with the differences, when something
    did and it is no fork; else as `train_all_seeds`.
    """
    seed = entry_of(checkpoint, read_checkpoint(checkpoint)).seed
    return _train(root, settings, [Source(seed, Left(checkpoint, fork))], root)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What `train_into` gave. report: that of results/train/train.json."""

    run_id: str
    folder: Path
    agent: Agent
    report: dict[str, Any]


def train_into(
    folder: Path,
    settings: Settings | None = None,
    *,
    root: Path | None = None,
    hooks: Sequence[Hooks] = (),
    progress: bool = True,
    run_id: str | None = None,
) -> Trained:
    """Train one agent outside of DVC: models/agent and results/train come into `folder`, not into the project's.

    For notebooks and scripts. settings: those of params.yaml by default. root: the project's folder, by default the
    one at or above the current folder. hooks: told what happens; what one raises ends the training, with a checkpoint.
    run_id: of a run that is gone on with where it was left, and begun where there is none; None begins a new one.
    Signals ask it to stop in the main thread only; no other thread may touch them. Raises as `train_all_seeds`.
    """
    from tqdm.auto import tqdm as bar_of_here

    root = root or required_root()
    settings = settings or load_settings(root / "params.yaml")
    bar = ProgressBar(settings.train.total_timesteps, bar_of_here, disable=not progress)
    source = Source(settings.train.seed, Own(run_id), hooks=hooks, bar=bar)
    report, agent = _train(root, settings, [source], folder)
    return Trained(report["run_id"], folder, agent, report)


def train_one(setting: Setting, source: Source) -> tuple[Path, Result]:
    """One training whose result goes nowhere but into its run: the run's folder, and what came of it.

    The run may be gone on with until `resume.deliver` says that its result is where it belongs.
    """
    ran = train_seed(setting, source)
    _tag(setting.root, ran, setting.evaluator.summary())
    return ran.folder, ran.result


@dataclass(frozen=True, slots=True)
class Left:
    """A run goes on that was left with the same settings, images and code; where there is none, one begins.

    checkpoint: of whatever run, to go on from; None for the latest. fork: a run begins from it, whatever changed since.
    """

    checkpoint: Path | None = None
    fork: bool = False


@dataclass(frozen=True, slots=True)
class Own:
    """The run `run_id` goes on, or begins under that name; what other trainings left is not its to go on with.

    run_id: None for a new one. parent_run_id, name, tags: of the run in MLflow, when it begins.
    """

    run_id: str | None = None
    parent_run_id: str | None = None
    name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """One training: its seed, the run it is, and who is told.

    bar: None for a line in the terminal. best_only: of the validated agents only the best is logged.
    """

    seed: int
    run: Left | Own = Left()
    hooks: Sequence[Hooks] = ()
    bar: ProgressBar | None = None
    best_only: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """A training that came to its end. folder: of its run. model: the name of its best agent in MLflow."""

    seed: int
    run_id: str
    folder: Path
    tracking_uri: str
    model: str
    result: Result


def _train(root: Path, settings: Settings, sources: Sequence[Source], out: Path) -> tuple[dict[str, Any], Agent]:
    started = datetime.now(UTC)
    with prepared(root, settings) as setting:
        runs = [train_seed(setting, source) for source in sources]
        setting.evaluator.export(out / RESULTS / "evaluations.parquet")
        evaluations = setting.evaluator.summary()
    for ran in runs:
        _tag(root, ran, evaluations)
    best = max(runs, key=lambda ran: ran.result.best_value)
    best.result.agent.save(out / TRAINED)
    report = _report(settings, best, runs, setting.split, started, evaluations) | _commit(root)
    write_json(out / RESULTS / "train.json", report)
    write_json(out / RESULTS / "metrics.json", _flat_metrics(best.result))
    write_csv(out / RESULTS / "progress.csv", progress_rows(best.result.progress))
    write_csv(out / RESULTS / "validation.csv", validation_rows(best.result.validations))
    for ran in runs:
        resume.deliver(ran.folder)
    return report, best.result.agent


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What the trainings of all seeds share. split: its summary."""

    root: Path
    settings: Settings
    train_tasks: Sequence[Task]
    val_tasks: Sequence[Task]
    evaluator: StoredEvaluator
    split: dict[str, Any]
    stop: StopRequest


@contextmanager
def prepared(root: Path, settings: Settings) -> Iterator[Setting]:
    """Images, their defaults and the pool with its store, for one training or many. Raises as `train_all_seeds`."""
    splits, summary = load_split(root, settings.data, ("train", "val")), split_summary(root)
    in_main_thread = threading.current_thread() is threading.main_thread()
    with (
        stop_request() if in_main_thread else nullcontext(StopRequest()) as stop,
        stored_pool(root, settings.compute, settings.data.background, check_stop=stop.check) as evaluator,
    ):
        train_tasks = _tasks(splits["train"], evaluator, settings, "training")
        val_tasks = _tasks(splits["val"], evaluator, settings, "validation")
        yield Setting(root, settings, train_tasks, val_tasks, evaluator, summary, stop)


def _tasks(logos: Sequence[Logo], evaluator: Evaluator, settings: Settings, what: str) -> list[Task]:
    tasks, failures = make_tasks(logos, evaluator, settings.data.background)
    for logo, failed in failures:
        tqdm.write(f"{logo.name}: left out of {what}: {failed.kind}: {failed.detail}")
    if not tasks:
        raise DataError(f"VTracer failed on every {what} image; see the messages above")
    return tasks


def train_seed(setting: Setting, source: Source) -> Ran:
    """One training in its run, from where that was left to the end. Raises as `train_all_seeds`."""
    settings = setting.settings
    every_seconds = settings.monitoring.sample_every_seconds
    with ExitStack() as opened:
        run = opened.enter_context(_opened(setting, source))
        setting.evaluator.note_in(opened.enter_context(Ledger(run.folder / "asked.bin")))
        recorder = Recorder(run.folder, interval_seconds=every_seconds or 1.0)
        if every_seconds:
            opened.enter_context(recorder)
        checkpoints, begin = _checkpoints(settings, run, source)
        bar = source.bar or ProgressBar(settings.train.total_timesteps)
        tracked = TrackingCallback(run, recorder, best_only=source.best_only)
        status = _status(setting, run, source.seed)
        with status, closing(bar):
            result = train(
                settings,
                setting.train_tasks,
                setting.val_tasks,
                setting.evaluator,
                seed=source.seed,
                followers=[bar, status, tracked, *source.hooks],
                checkpoints=checkpoints,
                resume_from=begin,
                check_stop=setting.stop.check,
            )
        tracked.keep(result.agent, result.best_report)
        run.log_metrics({f"time_share/{k}": v for k, v in result.time_shares.items()}, result.timesteps)
        run.log_metrics({"train/steps_per_second_mean": result.steps_per_second}, result.timesteps)
        model = model_name(result.best_timesteps)
        return Ran(source.seed, run.run_id, run.folder, run.tracking_uri, model, result)


def _checkpoints(settings: Settings, run: Run, source: Source) -> tuple[CheckpointStore, Checkpoint | None]:
    """The run's checkpoints, cleaned up, and the one that it goes on from."""
    checkpoints = CheckpointStore(run.folder, settings.checkpoints)
    checkpoints.clear_half_written()
    bound_store(run.folder.parent, settings.checkpoints.max_bytes, [run.folder])
    latest = checkpoints.latest()
    begin = latest[1] if latest else None
    if begin is None and isinstance(source.run, Left) and source.run.checkpoint is not None:
        begin = read_checkpoint(source.run.checkpoint)
    if begin is not None:
        tqdm.write(f"going on with run {run.run_id} from step {begin.facts['summary']['timesteps']}")
    return checkpoints, begin


def _opened(setting: Setting, source: Source) -> Run:
    """The run to go on with, or a new one."""
    root, settings, wanted = setting.root, setting.settings, source.run
    fingerprint = resume.fingerprint_of(root, settings, setting.split, setting.evaluator.pool.versions, source.seed)
    runs = mlflow_store.home(root) / mlflow_store.RUNS
    if isinstance(wanted, Left):
        found = resume.find(runs, fingerprint, wanted.checkpoint, fork=wanted.fork)
    else:
        folder = runs / wanted.run_id if wanted.run_id else None
        was_begun = folder is not None and (folder / resume.TRAINING).is_file()
        found = resume.held_to(folder, fingerprint, "start a new run") if folder and was_begun else None
    if found is not None:
        return Run.resume(root, found.name)
    checkpoint = wanted.checkpoint if isinstance(wanted, Left) else None
    forked_from = resume.place_of(checkpoint) if checkpoint else None
    run = _begun(setting, source, forked_from)
    resume.Lineage(fingerprint, forked_from=forked_from).write(run.folder)
    return run


def _begun(setting: Setting, source: Source, forked_from: str | None) -> Run:
    named = source.run if isinstance(source.run, Own) else Own()
    tags = {"seed": str(source.seed), **named.tags} | ({"forked_from": forked_from} if forked_from else {})
    return Run.start(
        setting.root,
        setting.settings,
        stage="train",
        inputs=setting.split,
        tags=tags,
        parent_run_id=named.parent_run_id,
        name=named.name or f"seed {source.seed}",
        run_id=named.run_id,
    )


def _status(setting: Setting, run: Run, seed: int) -> StatusCallback:
    evaluator, settings = setting.evaluator, setting.settings
    return StatusCallback(
        run.folder,
        seed=seed,
        total_timesteps=settings.train.total_timesteps,
        stages=[stage.name for stage in settings.curriculum.stages],
        evaluations=lambda: (evaluator.asked, evaluator.found),
        refused=run.journal.refused.total,
        behind=run.behind,
    )


def progress_rows(progress: Sequence[Report]) -> list[Report]:
    """Of progress.csv."""
    names = ("timesteps", "return_mean", "success_rate", "stage", "seconds", "steps_per_second")
    return [{name: row[name] for name in names} for row in progress]


def validation_rows(validations: Sequence[Report]) -> list[Report]:
    """Of validation.csv."""
    rows = []
    for report in validations:
        row = {"timesteps": report["timesteps"], "target_reached_ratio": report["target_reached_ratio"]}
        for name in ("value", "bytes_ratio", "skill", "ssim", "zoom_ssim"):
            row[name] = report[name]["mean"] if report[name] else None
        rows.append(row)
    return rows


def _tag(root: Path, ran: Ran, evaluations: dict[str, Any]) -> None:
    """What another run must have in common with this one to come to the same bits, and whether it then must."""
    with Run.resume(root, ran.run_id) as tracked:
        tracked.set_tags({f"versions/{name}": value for name, value in evaluations["versions"].items()})
        tracked.set_tags({"bit_comparable": str(evaluations["bit_comparable"]).lower()})
        counts = {"evaluations/asked": evaluations["asked"], "evaluations/found": evaluations["found"]}
        tracked.log_metrics(counts, ran.result.timesteps)


def _report(
    settings: Settings,
    best: Ran,
    runs: Sequence[Ran],
    summary: dict[str, Any],
    started: datetime,
    evaluations: dict[str, Any],
) -> dict[str, Any]:
    result = best.result
    values = [ran.result.best_value for ran in runs]
    return {
        "run_id": best.run_id,
        "experiment": settings.experiment,
        "tracking_uri": best.tracking_uri,
        "model": best.model,
        "seed": best.seed,
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
        "seeds": [{"seed": r.seed, "run_id": r.run_id, "best_value": r.result.best_value} for r in runs],
        "seed_spread": (
            {"mean": statistics.mean(values), "std": statistics.stdev(values)} if len(values) > 1 else None
        ),
        "validations": result.validations,
    }


def _commit(root: Path) -> dict[str, Any]:
    tags = git_tags(root)
    return {"git_commit": tags.get("mlflow.source.git.commit"), "git_dirty": tags.get("git.dirty") == "true"}


def _flat_metrics(result: Result) -> dict[str, float]:
    best = validation_metrics(result.best_report)
    return {
        "best_timesteps": result.best_timesteps,
        **{name.replace("/", "_"): value for name, value in best.items()},
    }
