"""`tracewright vectorize`: image files to SVG files with a trained agent."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.objectives import OBJECTIVES, VISIBLE_DAMAGE

if TYPE_CHECKING:
    from pipeline.agent.stopping import Traces
    from pipeline.settings.params import Backend
    from pipeline.vectorizing.batch import ImageFile, VectorizeResult
    from pipeline.vectorizing.destination import Destination
    from pipeline.vectorizing.inputs import Inputs
    from pipeline.vectorizing.plan import Plan
    from pipeline.vectorizing.request import Policy, Request
    from pipeline.vectorizing.shard_pool import ShardProgress

_PATH = click.Path(path_type=Path)
MAX_TRACES = 1000


@click.command()
@click.argument("inputs", nargs=-1, type=_PATH, metavar="IN...")
@click.option("-o", "--output", type=_PATH, metavar="OUT", help="FILE.svg, a folder, or - for standard output.")
@click.option("--force", is_flag=True, help="Replace SVGs that are there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image, as in results.jsonl.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures only, and no progress.")
@click.option(
    "--traces",
    default="8",
    show_default=True,
    metavar="N|auto",
    callback=lambda context, parameter, value: _traces(value),
    help="Settings to try per image, 1 to 1000; auto: until one more is not worth its time, at most 32.",
)
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
@click.option(
    "--policy",
    default="trained",
    show_default=True,
    type=click.Choice(["greedy", "trained"]),
    help="greedy: without what PPO learnt, to see what that adds.",
)
@click.option("--workers", default=0, type=click.IntRange(0, 1024), help="Tracing processes; 0 is one per core.")
@click.option("--seed", default=0, type=click.IntRange(0), help="The same seed gives the same SVGs.")
@click.option("--sharded", is_flag=True, help="For many files: resume after a stop.")
@click.option(
    "--files-from", type=_PATH, metavar="LIST", help="With --sharded: paths, separated by lines or NUL; - is stdin."
)
@click.option("--shard-files", type=click.IntRange(1, 1_000_000), help="With --sharded: files per shard; 500.")
@click.option(
    "--backend", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Ray: see docs/ray.md."
)
def vectorize(
    inputs: tuple[Path, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    traces: Traces,
    objective: str | None,
    max_damage: float | None,
    budget_bytes: int | None,
    curve: bool,
    background: str | None,
    model: str | None,
    policy: Policy,
    workers: int,
    seed: int,
    sharded: bool,
    files_from: Path | None,
    shard_files: int | None,
    backend: Backend,
) -> None:
    """Vectorise image files, and all images in folders, to SVGs beside them or in OUT.

    \b
    tracewright vectorize logo.png                  writes logo.svg
    tracewright vectorize logos/ -o svg             writes svg/... and svg/results.jsonl
    tracewright vectorize - < logo.png > logo.svg   reads and writes streams
    tracewright vectorize archive/ -o svg --sharded

    If the search finds nothing better than VTracer's default, the default's SVG is written, minified. An SVG that is
    there already is not replaced without --force, unless results.jsonl in its folder OUT lists it.

    IN may be - for standard input; its SVG then goes to standard output unless -o names a place. Whatever else would
    be printed goes to standard error then. `curve` in a result lists the traces that are smaller or less damaged than
    all others; to take another of them, say its size (--budget-bytes), or have all of them written (--curve).

    With --sharded, OUT has the same SVGs and results.jsonl. To resume after a stop, repeat the command, with or without
    IN.
    """
    if max_damage is not None and objective not in (None, "target"):
        raise SettingsError(f"--max-damage is for --objective target, not {objective}; give one of them")
    if max_damage is not None and budget_bytes is not None:
        raise SettingsError("--max-damage and --budget-bytes: give one of them")
    values = {"--files-from": files_from, "--shard-files": shard_files}
    if not sharded and (flags := [flag for flag, value in values.items() if value is not None]):
        raise SettingsError(f"{', '.join(flags)}: only with --sharded; give both")
    if sharded and force:
        raise SettingsError("--force: not with --sharded, which resumes its own folder; choose another -o")
    if inputs and files_from is not None:
        raise SettingsError("IN and --files-from: give one of them")
    if not inputs and not sharded:
        raise click.UsageError("Missing argument 'IN...'.", click.get_current_context())
    from pipeline.data.images import PassedOver
    from pipeline.vectorizing.destination import destination_of
    from pipeline.vectorizing.request import Request

    with ExitStack() as stack:
        place = destination_of(inputs, output, sharded=sharded)
        if curve and place.stream:
            raise SettingsError("--curve writes several SVGs; give a file or folder as -o")
        passed_over = PassedOver()
        sources, rejected = ([], []) if sharded else place.sources(inputs, force, stack, passed_over)
        request = Request(
            output=place.folder,
            agent=_agent_folder(model, quiet),
            objective="target" if max_damage is not None else objective,
            max_damage=max_damage,
            traces=traces,
            policy=policy,
            seed=seed,
            shard_files=shard_files,
            budget_bytes=budget_bytes,
            background=background,
            curve=curve,
        )
        report = _Report(as_json=as_json, quiet=quiet, aside=place.stream)
        if passed_over.count:
            report.remark(str(passed_over))
        if sharded:
            _vectorize_sharded(request, inputs, files_from, workers, backend, report)
        else:
            _vectorize_files(request, place, sources, rejected, workers, backend, report)


@dataclass(frozen=True, slots=True)
class _Report:
    """What the command prints. aside: on standard error, since the SVG goes to standard output."""

    as_json: bool
    quiet: bool
    aside: bool

    def results(self, results: Iterable[VectorizeResult]) -> None:
        for result in results:
            if self.as_json:
                self._print(result.to_line().rstrip("\n"))
            elif result.status == "failed":
                self._print(_result_line(result), error=self.quiet)
            elif not self.quiet:
                self._print(_result_line(result))

    @property
    def hides_progress(self) -> bool | None:
        """None: where standard error is no terminal."""
        return True if self.quiet else None

    def remark(self, line: str) -> None:
        """About more than one image. With --json, standard output has nothing but results."""
        if not self.quiet:
            self._print(line, error=self.as_json)

    def _print(self, line: str, *, error: bool = False) -> None:
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr if error or self.aside else sys.stdout)


def _vectorize_files(
    request: Request,
    place: Destination,
    sources: Sequence[ImageFile],
    rejected: Sequence[VectorizeResult],
    workers: int,
    backend: Backend,
    report: _Report,
) -> None:
    from tqdm import tqdm

    from pipeline.tracing.backends import open_pool
    from pipeline.tracing.tracer_pool import worker_count
    from pipeline.vectorizing import batch

    agent = request.load_agent()
    results_path = batch.open_results(request.output) if place.results else None
    totals: Counter[str] = Counter()

    def note(result: VectorizeResult) -> None:
        if results_path is not None:
            batch.append_result(results_path, result)
        totals.update({result.status: 1, "unparsed": int(result.parsed is False)})
        totals.update(bytes=result.bytes or 0, default_bytes=result.default_bytes or 0)
        report.results([result])

    for result in rejected:
        note(result)
    if sources:
        with open_pool(
            backend,
            # A search waits for each of its traces, so further processes would start for nothing.
            workers=min(worker_count(workers), len(sources)) if backend == "local" else workers,
            timeout_seconds=agent.timeout_seconds,
            worker_memory_bytes=agent.worker_memory_bytes,
            background=agent.background,
        ) as pool:
            results = batch.vectorize_files(
                sources,
                request.output,
                agent,
                pool,
                traces=request.traces,
                seed=request.seed,
                options=request.options,
                write=place.write,
            )
            for result in tqdm(results, total=len(sources), unit="image", disable=report.hides_progress):
                note(result)
    _finish(totals, results_path, report)


def _vectorize_sharded(
    request: Request,
    inputs: tuple[Path, ...],
    files_from: Path | None,
    workers: int,
    backend: Backend,
    report: _Report,
) -> None:
    from tqdm import tqdm

    from pipeline.data.images import PassedOver
    from pipeline.vectorizing import session
    from pipeline.vectorizing.batch import RESULTS
    from pipeline.vectorizing.inputs import Folders, PathList
    from pipeline.vectorizing.table import read_results

    passed_over = PassedOver()
    given: Inputs | None = PathList(files_from) if files_from else Folders(inputs, passed_over) if inputs else None
    with tqdm(unit="image", disable=report.hides_progress) as bar:

        class ShardProgressBar(session.ShardCallback):
            def on_plan(self, plan: Plan, done: int) -> None:
                self.plan = plan
                before = [shard for shard in range(plan.shards) if plan.part(shard).is_file()]
                bar.reset(plan.files)
                bar.update(sum(map(plan.count, before)))
                rest = f"; {done} were done before, doing the others" if done else ""
                report.remark(f"{plan.files} files in {plan.shards} shards{rest}")
                if passed_over.count:
                    report.remark(str(passed_over))
                if report.as_json:
                    for shard in before:
                        report.results(read_results(plan.part(shard)))

            def on_progress(self, progress: ShardProgress) -> None:
                bar.update(progress.files)
                if progress.tally is None:
                    return
                report.remark(f"part-{progress.shard:05d}: {_summary(asdict(progress.tally))}")
                if report.as_json or progress.tally.failed:
                    results = read_results(self.plan.part(progress.shard))
                    report.results(results if report.as_json else (r for r in results if r.status == "failed"))

        tally = session.vectorize_sharded(request, given, ShardProgressBar(), backend=backend, workers=workers)
    _finish(asdict(tally), request.output / RESULTS, report)


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


def _finish(totals: Mapping[str, float], results: Path | None, report: _Report) -> None:
    """Prints the summary. Raises DataError when every image failed."""
    images = totals["improved"] + totals["default"] + totals["failed"]
    if images > 1 or results is not None:
        report.remark(_summary(totals))
    if results is not None:
        report.remark(str(results))
    if totals["failed"] == images:
        see = f"; see {results}" if results is not None else ""
        raise DataError(f"none of {images} image(s) could be vectorised{see}")


def _colour(value: str | None) -> str | None:
    """As #rrggbb. Raises BadParameter."""
    if value is None:
        return None
    from pipeline.core.pixels import colour_code

    try:
        return colour_code(value)
    except ValueError:
        raise click.BadParameter(f"{value} is no opaque colour, such as white or #0b57a4") from None


def _traces(value: str) -> Traces:
    if value == "auto":
        return "auto"
    try:
        number = int(value)
    except ValueError:
        number = 0
    if not 1 <= number <= MAX_TRACES:
        raise click.BadParameter(f"{value!r} is neither auto nor a whole number from 1 to {MAX_TRACES}")
    return number


def _agent_folder(model: str | None, quiet: bool) -> Path:
    """The folder of the agent to vectorise with; standard error says which it is, unless `quiet` is set."""
    from pipeline.vectorizing.agents import find_agent

    found = find_agent(model)
    if not quiet:
        click.echo(f"tracewright: {found.name}", err=True)
    return found.folder
