"""The `tracewright` command. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.cli_checkpoints import checkpoints
from pipeline.cli_runs import runs
from pipeline.cli_tune import tune
from pipeline.errors import SettingsError, Stopped, TracewrightError
from pipeline.files import required_root
from pipeline.records import OBJECTIVES
from pipeline.stop import stop_on_sigterm


class Group(click.Group):
    """Turns a TracewrightError into one message and its exit code, and click's usage errors into 64."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        stop_on_sigterm()
        try:
            return super().main(*args, **kwargs)
        except TracewrightError as error:
            code, message = error.exit_code, str(error)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(SettingsError.exit_code)
        except click.UsageError as error:
            code, message = SettingsError.exit_code, error.format_message()
            if error.ctx is not None:
                message += f"\nSee `{error.ctx.command_path} --help`."
        except (KeyboardInterrupt, click.Abort):
            code, message = Stopped.exit_code, "stopped on request; what was done is kept"
        except BrokenPipeError:
            code, message = 74, "the output was closed"
        click.echo(f"tracewright: {message}", err=True)
        sys.exit(code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tracewright")
def main() -> None:
    """Turn logos into the smallest SVGs that still look like them."""


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where SVGs go.")
@click.option("--traces", default=8, show_default=True, type=click.IntRange(1, 1000), help="Settings tried per image.")
@click.option("--objective", type=click.Choice(OBJECTIVES), help="What to seek; the model's own by default.")
@click.option("--target", type=click.FloatRange(0, 1), help="Quality (skill) asked for by --objective target.")
@click.option("--model", metavar="NAME_OR_PATH", help="A registered model or an agent's folder; else the champion.")
@click.option("--workers", default=0, type=click.IntRange(0, 1024), help="Tracing processes; 0 is one per core.")
@click.option("--seed", default=0, type=click.IntRange(0), help="The same seed gives the same SVGs.")
def vectorize(
    inputs: tuple[Path, ...],
    output: Path,
    traces: int,
    objective: str | None,
    target: float | None,
    model: str | None,
    workers: int,
    seed: int,
) -> None:
    """Vectorise image files, or all images in folders, into DIR.

    DIR/results.jsonl gets a line per image. No SVG comes out worse than VTracer's default: where nothing better is
    found, the default's is given.
    """
    if target is not None and objective != "target":
        raise SettingsError("--target is for --objective target; give both")
    from tqdm import tqdm

    from pipeline import vectorize as work
    from pipeline.rl.agent import load_agent
    from pipeline.tracing.workers import TracerPool, worker_count

    sources, rejected = work.find_sources(inputs)
    agent = work.with_objective(load_agent(_agent_folder(model)), objective, target)
    results_path = work.open_results(output)
    counts = {"improved": 0, "default": 0, "failed": 0}
    sizes = [0, 0]

    def note(result: work.Result) -> None:
        work.append_result(results_path, result)
        counts[result.status] += 1
        if result.bytes is not None and result.default_bytes is not None:
            sizes[0] += result.bytes
            sizes[1] += result.default_bytes
        tqdm.write(_result_line(result), file=sys.stdout)

    with TracerPool(
        workers=worker_count(workers),
        timeout_seconds=agent.timeout_seconds,
        worker_memory_bytes=agent.worker_memory_bytes,
        background=agent.background,
    ) as pool:
        for result in rejected:
            note(result)
        steps = work.vectorize_files(sources, output, agent, pool, traces=traces, seed=seed)
        for result in tqdm(steps, total=len(sources), unit="image", disable=None):
            note(result)
    click.echo(_summary(counts, sizes, results_path))
    if counts["failed"] and not counts["improved"] and not counts["default"]:
        from pipeline.errors import DataError

        raise DataError(f"none of {counts['failed']} image(s) could be vectorised; see {results_path}")


def _result_line(result: Any) -> str:
    # repr keeps a newline or an escape sequence in a file's name from reaching the terminal.
    name = result.path if result.path.isprintable() else repr(result.path)
    if result.status == "failed":
        return f"{name}: failed: {result.error}"
    share = f"{result.bytes} bytes, {result.bytes / result.default_bytes:.0%} of the default's"
    note = "" if result.status == "improved" else " (nothing better found: the default's SVG)"
    return f"{name}: {share}, SSIM {result.ssim:.4f}{note}"


def _summary(counts: dict[str, int], sizes: list[int], results_path: Path) -> str:
    parts = [f"{counts['improved']} improved", f"{counts['default']} as the default", f"{counts['failed']} failed"]
    share = f"; {sizes[0]} bytes in all, {sizes[0] / sizes[1]:.0%} of the default's" if sizes[1] else ""
    return f"{', '.join(parts)}{share}\n{results_path}"


def _agent_folder(model: str | None) -> Path:
    """The folder of the agent that --model names: a path, or a registered model; the champion by default."""
    if model is not None and Path(model).is_dir():
        return Path(model)
    from pipeline.tracking.models import download

    return download(_model_uri(model), required_root())


def _model_uri(model: str | None) -> str:
    if model is None:
        from pipeline.settings import load_settings

        model = load_settings(required_root() / "params.yaml").experiment
    if model.startswith("models:/"):
        return model
    return f"models:/{model}" if "@" in model or "/" in model else f"models:/{model}@champion"


@main.command("use-data")
@click.argument("folder", type=click.Path(path_type=Path))
def use_data(folder: Path) -> None:
    """Set data.root in params.yaml to FOLDER, so that `make repro` trains on it."""
    from pipeline.data.folder import set_data_root

    click.echo(set_data_root(required_root(), folder))


@main.command()
def check() -> None:
    """Check params.yaml and the data folder before anything is run; `make repro` starts with it."""
    from pipeline.data.folder import check_data_root
    from pipeline.settings import load_settings

    root = required_root()
    check_data_root(root, load_settings(root / "params.yaml").data)
    click.echo("params.yaml and the data folder are in order")


main.add_command(checkpoints)
main.add_command(runs)
main.add_command(tune)


@main.command()
def doctor() -> None:
    """Check data, results, stores, checkpoints, journals, versions, disk and ports.

    Exits with 65 when something is damaged.
    """
    from pipeline.doctor import examine
    from pipeline.errors import DataError

    marks = {"fine": "ok     ", "note": "note   ", "damaged": "DAMAGED"}
    damaged = 0
    for finding in examine(required_root()):
        click.echo(f"{marks[finding.level]} {finding.subject}: {finding.text}")
        damaged += finding.level == "damaged"
    if damaged:
        raise DataError(f"{damaged} finding(s) need attention; see above")


@main.command()
def sync() -> None:
    """Send MLflow what it has not got of any run: after it was away, or a process died.

    Twice does no more than once.
    """
    from pipeline.errors import Unavailable
    from pipeline.tracking.sync import sync as send

    failed = 0
    for run_id, outcome in send(required_root()):
        failed += isinstance(outcome, TracewrightError)
        click.echo(f"run {run_id}: {outcome}")
    if failed:
        raise Unavailable(f"{failed} run(s) could not be sent; see above, then run `tracewright sync` again")


@main.group()
def models() -> None:
    """List registered models, and bring the one before back."""


def _with_registry(act: Callable[[Path, str], str]) -> None:
    from pipeline.settings import load_settings

    root = required_root()
    click.echo(act(root, load_settings(root / "params.yaml").experiment))


@models.command("list")
def list_models() -> None:
    """Versions, newest first, with their aliases and what the gate said."""
    from pipeline.tracking import registry

    _with_registry(registry.describe)


@models.command("rollback")
def rollback() -> None:
    """Make the champion before this one champion again."""
    from pipeline.tracking import registry

    _with_registry(registry.rollback)


if __name__ == "__main__":
    main()
