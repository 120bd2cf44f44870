"""`tracewright vectorize`: image files to SVG files with a trained agent."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.records import OBJECTIVES, VISIBLE_DAMAGE

if TYPE_CHECKING:
    from pipeline.settings.params import Backend
    from pipeline.vectorizing.batch import ImageFile, VectorizeResult
    from pipeline.vectorizing.request import Request

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("inputs", nargs=-1, type=_PATH, metavar="IN...")
@click.option("-o", "--output", required=True, type=_PATH, metavar="DIR", help="Folder for the SVGs.")
@click.option("--traces", default=8, show_default=True, type=click.IntRange(1, 1000), help="Settings to try per image.")
@click.option("--objective", type=click.Choice(OBJECTIVES), help="What to optimise for; the model's own by default.")
@click.option(
    "--max-damage",
    type=click.FloatRange(0, 100, min_open=True),
    help="Fewest bytes with so many pixels of damage; the same as --objective target.",
)
@click.option(
    "--budget-bytes",
    type=click.IntRange(1),
    help="Of the traces made, the least damaged one of at most so many bytes; where none fits, the smallest.",
)
@click.option("--curve", is_flag=True, help="Also write the SVGs of the whole curve of size against damage.")
@click.option(
    "--background",
    metavar="COLOR",
    callback=lambda context, parameter, value: _colour(value),
    help="Put transparent images on this colour first: white, #0b57a4.",
)
@click.option(
    "--model",
    metavar="NAME_OR_PATH",
    help="Registered model or agent's folder; else the project's champion, else the shipped agent.",
)
@click.option("--workers", default=0, type=click.IntRange(0, 1024), help="Tracing processes; 0 is one per core.")
@click.option("--seed", default=0, type=click.IntRange(0), help="The same seed gives the same SVGs.")
@click.option("--sharded", is_flag=True, help="For many files: write results as Parquet, and resume after a stop.")
@click.option(
    "--files-from", type=_PATH, metavar="LIST", help="With --sharded: paths, separated by lines or NUL; - is stdin."
)
@click.option("--shard-files", type=click.IntRange(1, 1_000_000), help="With --sharded: files per shard; 500.")
@click.option(
    "--backend", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Ray: see docs/ray.md."
)
def vectorize(
    inputs: tuple[Path, ...],
    output: Path,
    traces: int,
    objective: str | None,
    max_damage: float | None,
    budget_bytes: int | None,
    curve: bool,
    background: str | None,
    model: str | None,
    workers: int,
    seed: int,
    sharded: bool,
    files_from: Path | None,
    shard_files: int | None,
    backend: Backend,
) -> None:
    """Vectorise image files, or all images in folders, into DIR.

    \b
    tracewright vectorize logo.png -o svg
    tracewright vectorize logos/ -o svg --traces 32 --objective sharper
    tracewright vectorize archive/ -o svg --sharded

    DIR/results.jsonl gets one line per image. If the search finds nothing better than VTracer's default, the default's
    SVG is written, minified. `curve` in that line lists the traces that are smaller or less damaged than all others;
    to take another of them, say its size (--budget-bytes), or have all of them written (--curve).

    With --sharded, SVGs go to DIR/svg and results to DIR/results, one Parquet file per shard. To resume after a stop,
    repeat the command, with or without IN.
    """
    if max_damage is not None and objective not in (None, "target"):
        raise SettingsError(f"--max-damage is for --objective target, not {objective}; give one of them")
    if max_damage is not None and budget_bytes is not None:
        raise SettingsError("--max-damage and --budget-bytes: give one of them")
    values = {"--files-from": files_from, "--shard-files": shard_files}
    if not sharded and (flags := [flag for flag, value in values.items() if value is not None]):
        raise SettingsError(f"{', '.join(flags)}: only with --sharded; give both")
    if inputs and files_from is not None:
        raise SettingsError("IN and --files-from: give one of them")
    if not inputs and not sharded:
        raise click.UsageError("Missing argument 'IN...'.", click.get_current_context())
    from pipeline.vectorizing.batch import find_sources
    from pipeline.vectorizing.request import SHARD_FILES, Request

    sources, rejected = find_sources(inputs) if not sharded else ([], [])
    request = Request(
        output=output,
        agent=_agent_folder(model),
        objective="target" if max_damage is not None else objective,
        max_damage=max_damage,
        traces=traces,
        seed=seed,
        shard_files=shard_files or SHARD_FILES,
        budget_bytes=budget_bytes,
        background=background,
        curve=curve,
    )
    if sharded:
        _vectorize_sharded(request, inputs, files_from, workers, backend)
    else:
        _vectorize_files(request, sources, rejected, workers, backend)


def _vectorize_files(
    request: Request, sources: Sequence[ImageFile], rejected: Sequence[VectorizeResult], workers: int, backend: Backend
) -> None:
    from tqdm import tqdm

    from pipeline.tracing.backends import open_pool
    from pipeline.tracing.tracer_pool import worker_count
    from pipeline.vectorizing import batch

    agent = request.load_agent()
    results_path = batch.open_results(request.output)
    totals: Counter[str] = Counter()

    def note(result: VectorizeResult) -> None:
        batch.append_result(results_path, result)
        totals.update({result.status: 1, "unparsed": int(result.parsed is False)})
        totals.update(bytes=result.bytes or 0, default_bytes=result.default_bytes or 0)
        tqdm.write(_result_line(result), file=sys.stdout)

    with open_pool(
        backend,
        # A search waits for each of its traces, so further processes would start for nothing.
        workers=min(worker_count(workers), max(1, len(sources))) if backend == "local" else workers,
        timeout_seconds=agent.timeout_seconds,
        worker_memory_bytes=agent.worker_memory_bytes,
        background=agent.background,
    ) as pool:
        for result in rejected:
            note(result)
        results = batch.vectorize_files(
            sources, request.output, agent, pool, traces=request.traces, seed=request.seed, options=request.options
        )
        for result in tqdm(results, total=len(sources), unit="image", disable=None):
            note(result)
    _finish(totals, results_path)


def _vectorize_sharded(
    request: Request, inputs: tuple[Path, ...], files_from: Path | None, workers: int, backend: Backend
) -> None:
    from tqdm import tqdm

    from pipeline.vectorizing import session
    from pipeline.vectorizing.inputs import Folders, Inputs, PathList
    from pipeline.vectorizing.plan import Plan
    from pipeline.vectorizing.shard_pool import ShardProgress

    given: Inputs | None = PathList(files_from) if files_from else Folders(inputs) if inputs else None
    with tqdm(unit="image", disable=None) as bar:

        class ShardProgressBar(session.ShardCallback):
            def on_plan(self, plan: Plan, done: int) -> None:
                bar.reset(plan.files)
                bar.update(sum(plan.count(shard) for shard in range(plan.shards) if plan.part(shard).is_file()))
                rest = f"; {done} were done before, doing the others" if done else ""
                tqdm.write(f"{plan.files} files in {plan.shards} shards{rest}", file=sys.stdout)

            def on_progress(self, progress: ShardProgress) -> None:
                bar.update(progress.files)
                if progress.tally is not None:
                    line = _summary(asdict(progress.tally))
                    tqdm.write(f"part-{progress.shard:05d}: {line}", file=sys.stdout)

        tally = session.vectorize_sharded(request, given, ShardProgressBar(), backend=backend, workers=workers)
    _finish(asdict(tally), request.output / "results")


def _result_line(result: VectorizeResult) -> str:
    # repr keeps a newline or an escape sequence in a file's name from reaching the terminal.
    name = result.path if result.path.isprintable() else repr(result.path)
    if result.bytes is None or result.default_bytes is None:
        return f"{name}: failed: {result.error}"
    share = f"{result.bytes} bytes, {result.bytes / result.default_bytes:.0%} of the default's"
    note = "" if result.status == "improved" else " (nothing better found: the default's SVG)"
    hurt = result.damage is not None and result.damage > VISIBLE_DAMAGE
    damage = f"{result.damage:.0f} pixels damaged" if hurt else "no visible damage"
    unparsed = ", as VTracer printed it: it could not be parsed" if result.parsed is False else ""
    return f"{name}: {share}, {damage}{note}{unparsed}{f'; {result.note}' if result.note else ''}"


def _summary(totals: Mapping[str, float]) -> str:
    """totals: as the fields of Tally."""
    parts = [f"{totals['improved']} improved", f"{totals['default']} as the default", f"{totals['failed']} failed"]
    if totals["unparsed"]:
        parts.append(f"{totals['unparsed']} could not be parsed and are as VTracer printed them")
    size, default = totals["bytes"], totals["default_bytes"]
    share = f"; {size} bytes in all, {size / default:.0%} of the default's" if default else ""
    return f"{', '.join(parts)}{share}"


def _finish(totals: Mapping[str, float], results: Path) -> None:
    """Prints the summary. Raises DataError when every image failed."""
    click.echo(f"{_summary(totals)}\n{results}")
    if totals["failed"] and not totals["improved"] and not totals["default"]:
        raise DataError(f"none of {totals['failed']} image(s) could be vectorised; see {results}")


def _colour(value: str | None) -> str | None:
    """As #rrggbb. Raises BadParameter."""
    if value is None:
        return None
    from pipeline.core.pixels import colour_code

    try:
        return colour_code(value)
    except ValueError:
        raise click.BadParameter(f"{value} is no opaque colour, such as white or #0b57a4") from None


def _agent_folder(model: str | None) -> Path:
    """The folder of the agent to vectorise with; standard error says which it is."""
    from pipeline.vectorizing.agents import find_agent

    found = find_agent(model)
    click.echo(f"tracewright: {found.name}", err=True)
    return found.folder
