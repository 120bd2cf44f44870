"""`tracewright checkpoints`: the saved states of trainings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import json_option
from pipeline.core.errors import DataError
from pipeline.core.files import required_root

if TYPE_CHECKING:
    from pipeline.settings.params import Settings
    from pipeline.training.checkpoint_store import CheckpointStore


@click.group()
def checkpoints() -> None:
    """List, check, export and resume the saved states of trainings.

    \b
    tracewright checkpoints list
    tracewright checkpoints export RUN my-agent

    A CHECKPOINT is RUN (its latest), RUN/NAME or a path.
    """


def _settings() -> Settings:
    from pipeline.settings.params import load_settings

    return load_settings(required_root() / "params.yaml")


def _runs() -> Path:
    from pipeline.tracking.mlflow_store import RUNS_FOLDER, home

    return home(required_root()) / RUNS_FOLDER


def _stores(run: str | None) -> Iterator[tuple[str, CheckpointStore]]:
    """The checkpoint store of one run, or those of all runs, newest first."""
    from pipeline.runs.resume import TRAINING, run_folder
    from pipeline.training.checkpoint_store import CheckpointStore

    settings = _settings().checkpoints
    every = sorted((path.parent for path in _runs().glob(f"*/{TRAINING}")), reverse=True)
    for folder in [run_folder(_runs(), run)] if run else every:
        yield folder.name, CheckpointStore(folder, settings)


@checkpoints.command("list")
@click.argument("run", required=False)
@json_option("checkpoint")
def list_checkpoints(run: str | None, as_json: bool) -> None:
    """List the checkpoints of RUN, or of all runs, newest run first."""
    from pipeline.runs.resume import read_lineage
    from pipeline.training.checkpoint_store import best_of, files_in

    run_count = 0
    metric = _settings().checkpoints.best_metric
    for name, store in _stores(run):
        run_count += 1
        try:
            state = "finished" if read_lineage(store.folder.parent).delivered else "can be resumed"
        except DataError as error:
            state = str(error)
        entries = store.entries(check=True)
        best = best_of(entries, _settings().checkpoints)
        if as_json:
            for entry in entries:
                marks_of = {"best": entry == best, "latest": entry == entries[-1]}
                click.echo(json.dumps({"run": name, "state": state, **asdict(entry), **marks_of}))
            continue
        click.echo(f"run {name} ({state})")
        for damaged in sorted({path.name for path in files_in(store.folder)} - {entry.name for entry in entries}):
            click.echo(f"  {damaged:24} damaged; `tracewright checkpoints prune` removes it")
        for entry in entries:
            marks = [m for m, is_so in (("best", entry == best), ("latest", entry == entries[-1])) if is_so]
            value = f"{metric} {entry.metrics[metric]:.4f}" if metric in entry.metrics else ""
            saved = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.saved_seconds))
            what = f"step {entry.timesteps}" if entry.phase == "training" else entry.phase
            cells = f"{entry.name:24} {what:14} {entry.reason:11} {saved}  {_size(entry.bytes):>8}  {value:14}"
            click.echo(f"  {cells} {', '.join(marks)}".rstrip())
        if not entries:
            click.echo("  no checkpoint")
    if not run_count and not as_json:
        click.echo("there is no saved training yet; run `make repro` to train")


@checkpoints.command("show")
@click.argument("checkpoint")
@click.option("--json", "as_json", is_flag=True, help="Print everything, settings and arrays too, as JSON.")
def show(checkpoint: str, as_json: bool) -> None:
    """Summarise a CHECKPOINT: step, seed, metrics, stages, size."""
    from pipeline.runs.resume import checkpoint_path
    from pipeline.training.checkpoint import read_checkpoint
    from pipeline.training.checkpoint_store import entry_of

    path = checkpoint_path(_runs(), checkpoint)
    state = read_checkpoint(path)
    arrays = {name: list(array.shape) for name, array in sorted(state.arrays.items())}
    stages = state.facts.get("stages")
    records = [stage for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    entry = entry_of(path, state)
    content: dict[str, Any] = {"path": str(path), **asdict(entry)}
    content["stages"] = [{name: stage.get(name) for name in ("name", "attempts", "passed")} for stage in records]
    if as_json:
        click.echo(json.dumps(content | {"settings": state.facts.get("settings"), "arrays": arrays}, indent=2))
        return
    rows = {
        "path": path,
        "saved": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.saved_seconds)),
        "why": entry.reason,
        "at": f"step {entry.timesteps}" if entry.phase == "training" else entry.phase,
        "seed": entry.seed,
        "metrics": ", ".join(f"{name} {value:.4f}" for name, value in entry.metrics.items()) or "not validated here",
        "stages": ", ".join(f"{s['name']} {'passed' if s['passed'] else 'not passed'}" for s in content["stages"]),
        "size": f"{_size(entry.bytes)} in {len(arrays)} arrays",
    }
    for name, value in rows.items():
        click.echo(f"{name:8} {value}".rstrip())


@checkpoints.command("verify")
@click.argument("run", required=False)
def verify(run: str | None) -> None:
    """Check every checkpoint of RUN, or of all runs, against its SHA-256."""
    from pipeline.training.checkpoint import read_checkpoint
    from pipeline.training.checkpoint_store import files_in

    sound, damaged = 0, []
    for _, store in _stores(run):
        for path in files_in(store.folder):
            try:
                read_checkpoint(path)
                sound += 1
            except DataError as error:
                damaged.append(str(error))
    if damaged:
        count = f"{len(damaged)} damaged, {sound} sound; `tracewright checkpoints prune` removes the damaged ones"
        raise DataError("\n".join([*damaged, count]))
    click.echo(f"{sound} checkpoint(s), all sound")


@checkpoints.command("prune")
@click.argument("run", required=False)
def prune(run: str | None) -> None:
    """Delete damaged checkpoints of RUN, or of all runs, and those that section checkpoints of params.yaml drops."""
    from pipeline.core.locks import free
    from pipeline.training.checkpoint_store import bound_store

    busy = []
    for name, store in _stores(run):
        with free(store.folder.parent) as is_ours:
            if not is_ours:
                busy.append(store.folder.parent)
                click.echo(f"{name}: is being trained, skipped")
                continue
            for file in store.prune():
                click.echo(f"{name}/{file}: deleted")
    if run is None:
        for path in bound_store(_runs(), _settings().checkpoints.max_bytes, busy):
            click.echo(f"{path.parent.parent.name}/{path.name}: deleted, for checkpoints.max_bytes")


@checkpoints.command("export")
@click.argument("checkpoint")
@click.argument("folder", type=click.Path(path_type=Path))
def export(checkpoint: str, folder: Path) -> None:
    """Write the best agent of a CHECKPOINT into FOLDER, for `tracewright vectorize --model FOLDER`."""
    from pipeline.runs.resume import checkpoint_path
    from pipeline.training.checkpoint import read_checkpoint
    from pipeline.training.loop import agent_in

    if folder.exists():
        raise DataError(f"{folder}: exists already; name a new folder")
    digest = agent_in(read_checkpoint(checkpoint_path(_runs(), checkpoint))).save(folder)
    click.echo(f"{folder}: agent written, SHA-256 of its weights {digest}")


@checkpoints.command("resume")
@click.argument("checkpoint")
@click.option("--fork", is_flag=True, help="Start a new run from this state, whatever has changed since.")
def resume(checkpoint: str, fork: bool) -> None:
    """Resume a training from a CHECKPOINT to its end, outside of DVC.

    Without --fork the same run continues, to the same bits, and only if data, settings, code and versions are those it
    began with; `make repro` does that by itself.
    """
    from pipeline.runs.resume import checkpoint_path
    from pipeline.runs.session import train_from

    path = checkpoint_path(_runs(), checkpoint)
    report = train_from(required_root(), _settings(), path, fork=fork)
    click.echo(
        f"trained to step {report.total_timesteps}, run {report.run_id}; models/agent and results/train now hold "
        "its result: continue with `dvc commit --force train` and `make repro`"
    )


@checkpoints.command("stats")
@json_option("run")
def stats(as_json: bool) -> None:
    """Show the number and size of all checkpoints, and the size that is allowed."""
    rows = [(name, store.entries()) for name, store in _stores(None)]
    if as_json:
        for name, entries in rows:
            count, size = len(entries), sum(entry.bytes for entry in entries)
            click.echo(json.dumps({"run": name, "checkpoints": count, "bytes": size}))
        return
    total = sum(entry.bytes for _, entries in rows for entry in entries)
    for name, entries in rows:
        share = sum(entry.bytes for entry in entries)
        click.echo(f"run {name}: {len(entries)} checkpoint(s), {_size(share)}")
    count = sum(len(entries) for _, entries in rows)
    allowed = _size(_settings().checkpoints.max_bytes)
    click.echo(f"{_size(total)} in {count} checkpoint(s) of {len(rows)} run(s); {allowed} allowed")


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count} B"
