"""`tracewright vectorize`: image files to SVG files with a trained agent."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.files import required_root
from pipeline.core.records import OBJECTIVES

if TYPE_CHECKING:
    from pipeline.settings.params import Backend
    from pipeline.vectorizing.table import Tally

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Asked:
    """What both ways of vectorising are asked for. agent: its folder."""

    output: Path
    agent: Path
    traces: int
    objective: str | None
    target: float | None
    workers: int
    seed: int
    backend: Backend


@click.command()
@click.argument("inputs", nargs=-1, type=_PATH, metavar="IN...")
@click.option("-o", "--output", required=True, type=_PATH, metavar="DIR", help="Where SVGs go.")
@click.option("--traces", default=8, show_default=True, type=click.IntRange(1, 1000), help="Settings tried per image.")
@click.option("--objective", type=click.Choice(OBJECTIVES), help="What to seek; the model's own by default.")
@click.option("--target", type=click.FloatRange(0, 1), help="Quality (skill) asked for by --objective target.")
@click.option("--model", metavar="NAME_OR_PATH", help="A registered model or an agent's folder; else the champion.")
@click.option("--workers", default=0, type=click.IntRange(0, 1024), help="Tracing processes; 0 is one per core.")
@click.option("--seed", default=0, type=click.IntRange(0), help="The same seed gives the same SVGs.")
@click.option("--sharded", is_flag=True, help="For many files: results as Parquet, gone on with after a stop.")
@click.option(
    "--files-from", type=_PATH, metavar="LIST", help="With --sharded: paths, one a line or NUL between; - is stdin."
)
@click.option("--shard-files", type=click.IntRange(1, 1_000_000), help="With --sharded: files done in one go; 500.")
@click.option(
    "--backend", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Ray: see docs/ray.md."
)
def vectorize(
    inputs: tuple[Path, ...],
    output: Path,
    traces: int,
    objective: str | None,
    target: float | None,
    model: str | None,
    workers: int,
    seed: int,
    sharded: bool,
    files_from: Path | None,
    shard_files: int | None,
    backend: Backend,
) -> None:
    """Vectorise image files, or all images in folders, into DIR.

    DIR/results.jsonl gets a line per image. No SVG comes out worse than VTracer's default: where nothing better is
    found, the default's is given.

    With --sharded SVGs go into DIR/svg and results into DIR/results, a Parquet file per shard; the same command, or one
    without IN, goes on where a stopped one was.
    """
    if target is not None and objective != "target":
        raise SettingsError("--target is for --objective target; give both")
    given = {"files_from": files_from, "shard_files": shard_files}
    _check_inputs(inputs, sharded, given)
    if not sharded:
        from pipeline.vectorizing.batch import find_sources

        find = find_sources(inputs)
        asked = Asked(output, _agent_folder(model), traces, objective, target, workers, seed, backend)
        _vectorize(asked, *find)
        return
    asked = Asked(output, _agent_folder(model), traces, objective, target, workers, seed, backend)
    _vectorize_sharded(asked, inputs, files_from, shard_files)


def _check_inputs(inputs: tuple[Path, ...], sharded: bool, given: dict[str, Any]) -> None:
    flags = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if flags and not sharded:
        raise SettingsError(f"{', '.join(flags)}: only with --sharded; give both")
    if inputs and given["files_from"] is not None:
        raise SettingsError("IN and --files-from: give one of them")
    if not inputs and not sharded:
        raise click.UsageError("Missing argument 'IN...'.", click.get_current_context())


def _vectorize(asked: Asked, sources: list[Any], rejected: list[Any]) -> None:
    from tqdm import tqdm

    from pipeline.agent.agent import load_agent
    from pipeline.tracing.backends import open_pool
    from pipeline.vectorizing import batch as work

    agent = work.with_objective(load_agent(asked.agent), asked.objective, asked.target)
    results_path = work.open_results(asked.output)
    counts = {"improved": 0, "default": 0, "failed": 0}
    sizes = [0, 0]

    def note(result: work.Result) -> None:
        work.append_result(results_path, result)
        counts[result.status] += 1
        if result.bytes is not None and result.default_bytes is not None:
            sizes[0] += result.bytes
            sizes[1] += result.default_bytes
        tqdm.write(_result_line(result), file=sys.stdout)

    with open_pool(
        asked.backend,
        workers=asked.workers,
        timeout_seconds=agent.timeout_seconds,
        worker_memory_bytes=agent.worker_memory_bytes,
        background=agent.background,
    ) as pool:
        for result in rejected:
            note(result)
        steps = work.vectorize_files(sources, asked.output, agent, pool, traces=asked.traces, seed=asked.seed)
        for result in tqdm(steps, total=len(sources), unit="image", disable=None):
            note(result)
    click.echo(f"{_summary(counts, sizes)}\n{results_path}")
    _refuse_nothing(counts, results_path)


def _vectorize_sharded(
    asked: Asked,
    inputs: tuple[Path, ...],
    files_from: Path | None,
    shard_files: int | None,
) -> None:
    from tqdm import tqdm

    from pipeline.vectorizing import session as work
    from pipeline.vectorizing.crew import Done
    from pipeline.vectorizing.inputs import Folders, Inputs, Listed
    from pipeline.vectorizing.plan import Plan

    found: Inputs | None = Listed(files_from) if files_from else Folders(inputs) if inputs else None
    request = work.Request(
        output=asked.output,
        agent=asked.agent,
        objective=asked.objective,
        target=asked.target,
        traces=asked.traces,
        seed=asked.seed,
        shard_files=shard_files or work.SHARD_FILES,
    )
    with tqdm(unit="image", disable=None) as bar:

        class Told(work.Progress):
            def on_plan(self, plan: Plan, done: int) -> None:
                kept = sum(plan.count(shard) for shard in range(plan.shards) if plan.part(shard).is_file())
                bar.reset(plan.files)
                bar.update(kept)
                tqdm.write(f"{plan.files} files in {plan.shards} shards{_gone_on_with(done)}", file=sys.stdout)

            def on_done(self, done: Done) -> None:
                bar.update(done.files)
                if done.tally is not None:
                    tqdm.write(f"part-{done.shard:05d}: {_tally_line(done.tally)}", file=sys.stdout)

        tally = work.vectorize_sharded(request, found, Told(), backend=asked.backend, workers=asked.workers)
    folder = asked.output / "results"
    click.echo(f"{_tally_line(tally)}\n{folder}")
    _refuse_nothing({"improved": tally.improved, "default": tally.default, "failed": tally.failed}, folder)


def _gone_on_with(done: int) -> str:
    return f"; {done} were done before, going on with the others" if done else ""


def _tally_line(tally: Tally) -> str:
    counts = {"improved": tally.improved, "default": tally.default, "failed": tally.failed}
    return _summary(counts, [tally.bytes, tally.default_bytes])


def _result_line(result: Any) -> str:
    # repr keeps a newline or an escape sequence in a file's name from reaching the terminal.
    name = result.path if result.path.isprintable() else repr(result.path)
    if result.status == "failed":
        return f"{name}: failed: {result.error}"
    share = f"{result.bytes} bytes, {result.bytes / result.default_bytes:.0%} of the default's"
    note = "" if result.status == "improved" else " (nothing better found: the default's SVG)"
    return f"{name}: {share}, SSIM {result.ssim:.4f}{note}"


def _summary(counts: dict[str, int], sizes: list[int]) -> str:
    parts = [f"{counts['improved']} improved", f"{counts['default']} as the default", f"{counts['failed']} failed"]
    share = f"; {sizes[0]} bytes in all, {sizes[0] / sizes[1]:.0%} of the default's" if sizes[1] else ""
    return f"{', '.join(parts)}{share}"


def _refuse_nothing(counts: dict[str, int], where: Path) -> None:
    if counts["failed"] and not counts["improved"] and not counts["default"]:
        raise DataError(f"none of {counts['failed']} image(s) could be vectorised; see {where}")


def _agent_folder(model: str | None) -> Path:
    """The folder of the agent that --model names: a path, or a registered model; the champion by default."""
    if model is not None and Path(model).is_dir():
        return Path(model)
    from pipeline.tracking.models import download

    return download(_model_uri(model), required_root())


def _model_uri(model: str | None) -> str:
    if model is None:
        from pipeline.settings.params import load_settings

        model = load_settings(required_root() / "params.yaml").experiment
    if model.startswith("models:/"):
        return model
    return f"models:/{model}" if "@" in model or "/" in model else f"models:/{model}@champion"
