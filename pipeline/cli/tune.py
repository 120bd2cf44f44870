"""`tracewright tune`: searching for settings that train better agents."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from pipeline.core.errors import SettingsError
from pipeline.core.files import required_root

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@click.command("tune")
@click.option("--study", default="study", show_default=True, metavar="NAME", help="Resumes the study if it exists.")
@click.option("--trials", type=click.IntRange(1), help="Trials in all; tune.trials of params.yaml by default.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Trials at once.")
@click.option(
    "--backend",
    type=click.Choice(["local", "ray"]),
    help="Run workers on this machine or on a Ray cluster; compute.backend of params.yaml by default.",
)
@click.option(
    "--storage",
    envvar="TRACEWRIGHT_TUNE_STORAGE",
    metavar="URL",
    help="A database that several machines reach; a journal in .tracewright/tune/NAME by default.",
)
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override a setting of params.yaml; repeatable."
)
@click.option("--report", "only_report", is_flag=True, help="Write the report of the study as it is now, and end.")
def tune(
    study: str,
    trials: int | None,
    workers: int,
    backend: str | None,
    storage: str | None,
    assignments: tuple[str, ...],
    only_report: bool,
) -> None:
    """Search for settings that train better agents, with Optuna, as section tune of params.yaml says.

    \b
    tracewright tune --trials 40 --workers 2
    tracewright tune --report

    Ctrl-C interrupts the running trials; the same command resumes them. Commands that run at the same time, also on
    several machines with the same --storage, share the study.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", study):
        raise SettingsError(f"--study {study!r}: write 1 to 64 letters, digits, - and _")
    from tqdm import tqdm

    from pipeline.settings.overrides import overridden
    from pipeline.settings.params import load_settings
    from pipeline.tuning import session

    root = required_root()
    more = [f"tune.trials={trials}"] if trials is not None else []
    more += [f"compute.backend={backend}"] if backend is not None else []
    settings, _ = overridden(load_settings(root / "params.yaml"), [*assignments, *more])
    if only_report:
        report = session.report_of(root, settings, study, storage)
    else:
        with tqdm(total=settings.tune.trials, unit="trial", desc=study, disable=None) as bar:

            def show(trial: FrozenTrial, is_new: bool) -> None:
                bar.update()
                if is_new:
                    tqdm.write(_line(trial))

            report = session.tune(root, settings, study, workers=workers, storage=storage, on_trial=show)
    click.echo(f"{report.folder / 'report.md'}")
    if report.command is not None:
        click.echo(f"to train and test with the best settings:\n{report.command}")


def _line(trial: FrozenTrial) -> str:
    values = ", ".join(f"{value:.4f}" for value in trial.values or [])
    settings = ", ".join(
        f"{key.rpartition('.')[2]}={value:.3g}" if isinstance(value, float) else f"{key.rpartition('.')[2]}={value}"
        for key, value in trial.params.items()
    )
    error = f": {trial.user_attrs['error']}" if "error" in trial.user_attrs else ""
    return f"trial {trial.number} {trial.state.name.lower()} {values} ({settings}){error}"
