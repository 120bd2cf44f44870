"""`tracewright runs`: trainings in the background, and the state of every training of the project."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import json_option
from pipeline.core.errors import DataError, Unavailable
from pipeline.core.files import required_root

if TYPE_CHECKING:
    from pipeline.runs.listing import RunSummary
    from pipeline.settings.params import Settings

LOOK_SECONDS = 1.0

_SETTING = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override a setting of params.yaml; repeatable."
)


@click.group()
def runs() -> None:
    """Train in the background, and watch every training of this project.

    \b
    tracewright runs start --set train.seed=5
    tracewright runs list
    tracewright runs follow RUN

    A background training outlives the terminal. Its results are in .tracewright/runs/RUN/out; the project's
    models/agent and results/ stay as they are.
    """


@runs.command("start")
@_SETTING
@click.option("--now", is_flag=True, help="Do not wait for other background trainings.")
@click.option("--queue", is_flag=True, help="Queue the whole pipeline as a DVC experiment instead.")
def start(assignments: tuple[str, ...], now: bool, queue: bool) -> None:
    """Start a training in the background; with train.n_seeds above 1, one for each seed.

    It waits until other background trainings leave it enough cores (compute.workers) and memory
    (compute.memory_limit_bytes).
    """
    from pipeline.runs import background
    from pipeline.settings.overrides import overridden
    from pipeline.settings.params import load_settings

    root = required_root()
    settings, overrides = overridden(load_settings(root / "params.yaml"), assignments)
    if queue:
        click.echo(_queue(root, settings, assignments))
        return
    for launch in background.start(root, settings, overrides, now=now):
        state = "waits for room" if launch.phase == "waiting" and not now else "started"
        click.echo(f"run {launch.run_id} {state} ({background.describe(launch.overrides)})")
    click.echo("`tracewright runs list` shows its state, `tracewright runs follow RUN` its progress")


def _queue(root: Path, settings: Settings, assignments: tuple[str, ...]) -> str:
    """Adds to DVC's own queue; each experiment runs in a copy of the last commit."""
    from pipeline.data.samples import FOLDER

    if _run(root, "git", "rev-parse", "--verify", "HEAD").returncode:
        raise Unavailable("DVC's queue needs a Git repository with a commit; leave out --queue for a plain process")
    data = settings.data.root
    is_tracked = bool(_run(root, "git", "ls-files", "--", data, f"{data}.dvc").stdout.strip())
    if not (is_tracked or Path(data).is_absolute() or Path(data) == FOLDER):
        raise DataError(
            f"data.root: {data} is in neither Git nor DVC, so the copy that DVC trains in would lack it; "
            f"run `dvc add {data}` and commit {data}.dvc, or leave out --queue"
        )
    changes = [part for assignment in assignments for part in ("-S", assignment)]
    outputs = []
    for arguments in (["exp", "run", "--queue", *changes, "report"], ["queue", "start"]):
        done = _run(root, sys.executable, "-m", "dvc", *arguments)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Unavailable(f"`dvc {' '.join(arguments[:2])}` failed: {last}")
        outputs.append(done.stdout.strip())
    return "\n".join([*outputs, "`dvc exp show` lists the results, `dvc exp apply NAME` applies one"])


def _run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@runs.command("list")
@json_option("run")
@click.option("--all", "every", is_flag=True, help="List all runs, not only the newest twenty.")
def list_runs(as_json: bool, every: bool) -> None:
    """List runs, newest first: state, progress, time left, best so far; then DVC's queue."""
    from itertools import islice

    from pipeline.runs.listing import dvc_queue, trainings

    root = required_root()
    found = list(trainings(root) if every else islice(trainings(root), 20))
    if found and not as_json:
        click.echo(f"{'RUN':22} {'STATE':9} {'PROGRESS':28} {'BEST':32} SETTINGS")
    for training in found:
        click.echo(json.dumps(_as_json(training)) if as_json else _row(training))
    if as_json:
        return
    if not found:
        click.echo("no training yet; `tracewright runs start` begins one in the background, `make repro` one here")
    if lines := dvc_queue(root):
        click.echo("\nDVC's queue (their trainings are also listed above once they have begun):")
        click.echo("\n".join(f"  {line}" for line in lines))


def _as_json(training: RunSummary) -> dict[str, object]:
    names = (
        "run_id", "state", "phase", "timesteps", "total_timesteps", "seconds_left", "best_value", "best_bytes_ratio",
        "best_damaged_ratio", "overrides", "trouble",
    )  # fmt: skip
    values = {name: getattr(training, name) for name in names}
    return values | {"pid": training.process.pid if training.process else None}


def _row(training: RunSummary) -> str:
    if training.state == "preparing" or not training.total_timesteps:
        progress = training.phase
    else:
        left = f", {_duration(training.seconds_left)} left" if training.seconds_left is not None else ""
        progress = f"{training.progress_ratio:4.0%} of {training.total_timesteps}{left}"
    row = f"{training.run_id:22} {training.state:9} {progress:28} {_best(training):32} {training.overrides}".rstrip()
    return f"{row}\n    {training.trouble}" if training.trouble else row


def _best(training: RunSummary) -> str:
    if training.best_bytes_ratio is None:
        return "not validated yet"
    damaged = training.best_damaged_ratio
    return f"best {training.best_bytes_ratio:.0%} of the bytes{'' if damaged is None else f', {damaged:.0%} damaged'}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds:.0f} s" if minutes else f"{seconds:.0f} s"


@runs.command("follow")
@click.argument("run")
def follow(run: str) -> None:
    """Show the progress of RUN until it ends. Ctrl-C leaves it running."""
    from tqdm import tqdm

    from pipeline.runs.background import OUT, last_lines, runs_folder
    from pipeline.runs.listing import training

    root = required_root()
    now = training(root, run)
    bar = tqdm(total=now.total_timesteps or None, unit="step", desc=run, disable=None)
    printed = ""
    try:
        while now.process is not None:
            if now.total_timesteps:
                bar.total = now.total_timesteps
                bar.update(now.timesteps - bar.n)
            text = f"{now.state} {now.phase}, {_best(now)}".replace("training training", "training")
            bar.set_postfix_str(text)
            if bar.disable and text != printed:
                click.echo(f"{run}: {text}")
                printed = text
            time.sleep(LOOK_SECONDS)
            now = training(root, run)
    except KeyboardInterrupt:
        bar.close()
        click.echo(f"run {run} continues; `tracewright runs stop {run}` stops it", err=True)
        return
    bar.close()
    folder = runs_folder(root) / now.run_id
    click.echo(_row(now))
    if now.state in ("failed", "killed"):
        lines = "".join(f"\n  {line}" for line in last_lines(folder, 5))
        raise DataError(f"run {now.run_id} {now.state}{f'; its last output:{lines}' if lines else ''}")
    if now.state == "finished" and (folder / OUT).is_dir():
        click.echo(f"its agent, for `tracewright vectorize --model`: {folder / OUT / 'models/agent'}")


@runs.command("stop")
@click.argument("run")
def stop(run: str) -> None:
    """Make RUN save its state and end; `tracewright runs resume RUN` resumes it."""
    from pipeline.runs import background
    from pipeline.runs.listing import training
    from pipeline.training.checkpoint_store import files_in

    root = required_root()
    found = training(root, run)
    if found.process is None:
        raise DataError(f"run {run} is {found.state}; there is nothing to stop")
    if not background.stop(found.process):
        raise Unavailable(f"run {run} was asked to stop and has not ended yet; check with `tracewright runs list`")
    checkpoints = files_in(background.runs_folder(root) / run / "checkpoints")
    state = f"its state is in {checkpoints[-1].name}" if checkpoints else "before it had a state to save"
    command = f"tracewright runs resume {run}" if found.overrides else "make repro"
    click.echo(f"run {run} has stopped, {state}; `{command}` resumes it")


@runs.command("resume")
@click.argument("run")
def resume(run: str) -> None:
    """Resume RUN from its latest checkpoint, in the background, to the same bits."""
    from pipeline.runs import background

    launch = background.resume(required_root(), run)
    click.echo(f"run {launch.run_id} continues; `tracewright runs follow {run}` shows its progress")
