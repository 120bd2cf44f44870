"""The `tracewright` command. Heavy libraries are imported by the command that needs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pipeline.core.threads  # noqa: F401 - before NumPy
from pipeline.cli.checkpoints import checkpoints
from pipeline.cli.options import json_option
from pipeline.cli.runs import runs
from pipeline.cli.tune import tune
from pipeline.cli.vectorize import vectorize
from pipeline.core.errors import SettingsError, Stopped, TracewrightError
from pipeline.core.files import required_root, sha256_of
from pipeline.core.stop_signals import stop_on_sigterm

if TYPE_CHECKING:
    from pipeline.runs.diagnosis import Diagnosis


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


def _version(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    """The package's version, and the first digits of the SHA-256 of the weights that it ships."""
    if not is_asked or context.resilient_parsing:
        return
    from importlib import metadata

    weights = Path(__file__).parents[1] / "vectorizing/shipped/policy.safetensors"
    agent = f", shipped agent {sha256_of(weights)[:12]}" if weights.is_file() else ""
    click.echo(f"tracewright {metadata.version('tracewright')}{agent}")
    context.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Turn logos into the smallest SVGs that still look like them.

    \b
    tracewright vectorize logo.png -o svg     vectorise
    tracewright use-data my-logos             train on your own logos, then: make repro
    tracewright doctor                        find out what is wrong
    """


@main.command("use-data")
@click.argument("folder", type=click.Path(path_type=Path))
def use_data(folder: Path) -> None:
    """Set data.root in params.yaml to FOLDER, so that `make repro` trains on it."""
    from pipeline.data.folder import set_data_root

    click.echo(set_data_root(required_root(), folder))


@main.command()
def check() -> None:
    """Check params.yaml, the data folder and DVC's cache, as `make repro` does first."""
    from pipeline.data.folder import check_data_root
    from pipeline.runs.diagnosis import check_cache
    from pipeline.settings.params import load_settings

    root = required_root()
    check_data_root(root, load_settings(root / "params.yaml").data)
    check_cache(root)
    click.echo("params.yaml, the data folder and DVC's cache are in order")


main.add_command(checkpoints)
main.add_command(runs)
main.add_command(tune)
main.add_command(vectorize)


@main.command()
@click.argument("outputs", nargs=-1, type=click.Path(path_type=Path), metavar="[OUT...]")
@json_option("finding")
def doctor(outputs: tuple[Path, ...], as_json: bool) -> None:
    """Check data, results, stores, checkpoints, journals, versions, disk and ports.

    With OUT, check the SVGs and results that `tracewright vectorize -o OUT` wrote instead. Exits with 65 when something
    is damaged.
    """
    from dataclasses import asdict

    from pipeline.core.errors import DataError

    marks = {"fine": "ok     ", "note": "note   ", "damaged": "DAMAGED"}
    damaged = 0
    for finding in _findings(outputs):
        line = f"{marks[finding.level]} {finding.subject}: {finding.text}"
        click.echo(json.dumps(asdict(finding)) if as_json else line)
        damaged += finding.level == "damaged"
    if damaged:
        raise DataError(f"{damaged} finding(s) need attention; see above")


def _findings(outputs: Sequence[Path]) -> Iterator[Diagnosis]:
    from pipeline.vectorizing.diagnosis import examine_output, sharded_outputs

    if not outputs:
        from pipeline.runs.diagnosis import examine

        root = required_root()
        yield from examine(root)
        outputs = sharded_outputs(root)
    for output in outputs:
        yield from examine_output(output)


@main.command()
def sync() -> None:
    """Send MLflow every record of every run that it lacks, after an outage or a killed process.

    It is safe to repeat.
    """
    from pipeline.core.errors import Unavailable
    from pipeline.tracking.sync import sync as send

    failed = 0
    for run_id, outcome in send(required_root()):
        failed += isinstance(outcome, TracewrightError)
        click.echo(f"run {run_id}: {outcome}")
    if failed:
        raise Unavailable(f"{failed} run(s) could not be sent; see above, then run `tracewright sync` again")


@main.group()
def models() -> None:
    """List registered models, restore the previous champion, or ship the champion."""


@models.command("list")
@json_option("version")
def list_models(as_json: bool) -> None:
    """List versions, newest first, with their aliases and the gate's verdict."""
    from dataclasses import asdict

    from pipeline.settings.params import load_settings
    from pipeline.tracking import registry

    root = required_root()
    versions = registry.list_versions(root, load_settings(root / "params.yaml").experiment)
    if not as_json:
        click.echo(f"{'VERSION':>7}  {'ALIAS':<12}  {'MADE':<20}  VERDICT")
    for version in versions:
        row = f"{version.version:>7}  {', '.join(version.aliases) or '-':<12}  {version.made:<20}  {version.reason}"
        click.echo(json.dumps(asdict(version)) if as_json else row.rstrip())


@models.command("ship")
def ship() -> None:
    """Copy the champion into this package, to be used without a project, with a card that says how good it is."""
    from pipeline.vectorizing import agents

    click.echo(agents.ship(required_root()))


@models.command("rollback")
def rollback() -> None:
    """Restore the previous champion."""
    from pipeline.settings.params import load_settings
    from pipeline.tracking import registry

    root = required_root()
    click.echo(registry.rollback(root, load_settings(root / "params.yaml").experiment))


if __name__ == "__main__":
    main()
