"""The report of a study: tables, pictures, and the best settings as a patch that `dvc exp run` takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from pipeline.core.files import write_bytes, write_text
from pipeline.reports.colours import LIGHT
from pipeline.reports.plots import png
from pipeline.settings.overrides import as_assignments
from pipeline.settings.params import TuneObjective
from pipeline.tuning.score import SMALLER_IS_BETTER
from pipeline.tuning.study import ERROR, RETRIED, RUN, Study

LEAST_TRIALS = 8
"""With fewer complete trials an importance would be a guess."""

WORDS: dict[TuneObjective, str] = {
    "value": "value (ln, 0 = VTracer's default)",
    "bytes_ratio": "bytes relative to the default's",
    "damaged_ratio": "damaged",
    "delta": "colour error",
    "seconds": "seconds of learning",
}


@dataclass(frozen=True, slots=True)
class StudyReport:
    """files: written into the study's folder. best: settings of the best trial, None while no trial is complete."""

    folder: Path
    files: list[Path]
    tags: dict[str, str]
    best: dict[str, Any] | None
    command: str | None


def write_report(study: Study) -> StudyReport:
    """Writes `report/` in the study's folder, and the best settings into best.yaml there. Raises StorageError."""
    folder, trials = study.folder / "report", study.trials()
    objectives = study.settings.tune.objectives
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    sign = -1 if objectives[0] in SMALLER_IS_BETTER else 1
    best = max(complete, key=lambda t: (sign * t.values[0], -t.number), default=None)  # the earlier of equals
    overrides = study.space.overrides(best.params) if best else None
    command = _command(overrides) if overrides else None
    importance = importance_of(study)
    pictures = {"history.png": history(trials, objectives[0])} if complete else {}
    pictures |= {"importance.png": importance_bars(importance)} if importance else {}
    for name, content in pictures.items():
        write_bytes(folder / name, content)
    files = [folder / name for name in pictures]
    if best is not None and overrides is not None and command is not None:
        write_text(study.folder / "best.yaml", _patch(study.optuna.study_name, best, objectives, overrides, command))
        files.append(study.folder / "best.yaml")
    write_text(folder / "report.md", _markdown(study, trials, best, importance, command))
    tags = {"tune.trials": str(len(trials)), "tune.complete": str(len(complete))}
    if best is not None:
        tags |= {"tune.best_trial": str(best.number), "tune.best_run": str(best.user_attrs.get(RUN, ""))}
        tags |= {f"tune.best/{o}": f"{v:.6g}" for o, v in zip(objectives, best.values, strict=True)}
    return StudyReport(folder, [*files, folder / "report.md"], tags, overrides, command)


def _command(overrides: Mapping[str, Any]) -> str:
    assignments = as_assignments(overrides)
    quoted = (f"'{text}'" if set(text) & set(" [],{}'\"") else text for text in assignments)
    return "dvc exp run " + " ".join(f"-S {text}" for text in quoted)


def _patch(
    name: str, best: FrozenTrial, objectives: Sequence[TuneObjective], overrides: Mapping[str, Any], command: str
) -> str:
    values = ", ".join(f"{o} {v:.4f}" for o, v in zip(objectives, best.values, strict=True))
    lines = [f"# Trial {best.number} of study {name}: {values} on validation images. To train and test with it:"]
    lines += [f"# {command}"]
    return "\n".join([*lines, *(f"{key}: {json.dumps(value)}" for key, value in overrides.items())]) + "\n"


def importance_of(study: Study) -> dict[str, float]:
    """Setting -> its importance for being among the best trials (PED-ANOVA), largest first; empty for few trials."""
    complete = sum(t.state == TrialState.COMPLETE for t in study.trials())
    if complete < LEAST_TRIALS or len(study.space.freedoms) < 2:
        return {}
    found: dict[str, float] = optuna.importance.get_param_importances(study.optuna, params=list(study.space.freedoms))
    return found


def history(trials: Sequence[FrozenTrial], objective: TuneObjective) -> bytes:
    """PNG: the result of each trial in order, and the best so far."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        complete = [(t.number, t.values[0]) for t in trials if t.state == TrialState.COMPLETE]
        pruned = [
            (t.number, t.intermediate_values[t.last_step])
            for t in trials
            if t.state == TrialState.PRUNED and t.last_step is not None
        ]
        pick = min if objective in SMALLER_IS_BETTER else max
        best = [pick(v for _, v in complete[: n + 1]) for n in range(len(complete))]
        axes.step([n for n, _ in complete], best, where="post", color=LIGHT.strong, linewidth=2.2, label="best so far")
        x, y = zip(*complete, strict=True)
        axes.scatter(x, y, color=LIGHT.strong, s=34, zorder=3, label="complete")
        if pruned:
            x, y = zip(*pruned, strict=True)
            axes.scatter(x, y, color=LIGHT.muted, marker="x", s=34, zorder=3, label="pruned, where it ended")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(axis="y")
        axes.set_xlabel("Trial")
        axes.set_ylabel(WORDS[objective])
        axes.set_title("Results of the trials on validation images")
        figure.legend(loc="outside lower center", ncols=3)

    return png(draw, 3.8)


def importance_bars(importance: Mapping[str, float]) -> bytes:
    """PNG: a bar for each setting, the most important at the top."""

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        names = list(importance)[::-1]
        bars = axes.barh(names, [importance[name] for name in names], color=LIGHT.strong, height=0.62)
        axes.bar_label(bars, fmt="%.2f", padding=4)
        axes.set_xlim(0, 1.1 * max(importance.values(), default=1.0) or 1.0)
        axes.set_xlabel("Importance (PED-ANOVA; sums to 1)")
        axes.set_title("Which settings matter")

    return png(draw, 1.5 + 0.36 * len(importance))


def _markdown(
    study: Study,
    trials: Sequence[FrozenTrial],
    best: FrozenTrial | None,
    importance: Mapping[str, float],
    command: str | None,
) -> str:
    objectives = study.settings.tune.objectives
    counts = {state: sum(t.state == state for t in trials) for state in TrialState}
    states = [f"{count} {state.name.lower()}" for state, count in counts.items() if count]
    lines = [f"# Study {study.optuna.study_name}", "", f"{len(trials)} trials: {', '.join(states) or 'none yet'}.", ""]
    if best is not None and command is not None:
        values = ", ".join(f"{WORDS[o]} {v:.4f}" for o, v in zip(objectives, best.values, strict=True))
        lines += [f"**The best is trial {best.number}:** {values}, on the validation images that chose it."]
        lines += ["To train with its settings, and to measure them on test images:", "", "```", command, "```", ""]
        lines += ["![Results of the trials](history.png)", ""]
    if importance:
        lines += ["## Which settings matter", "", "![Importance of each setting](importance.png)", ""]
    else:
        lines += [f"The importance of settings is shown from {LEAST_TRIALS} complete trials on.", ""]
    lines += ["## Trials", "", *_table(study, trials), ""]
    if retried := sum(RETRIED in t.user_attrs for t in study.optuna.get_trials(deepcopy=False)):
        lines += [f"{retried} more were on machines that fell silent; their settings were tried again.", ""]
    return "\n".join(lines)


def _table(study: Study, trials: Sequence[FrozenTrial]) -> list[str]:
    objectives, keys = study.settings.tune.objectives, list(study.space.freedoms)
    front = {t.number for t in study.optuna.best_trials} if len(objectives) > 1 else set()
    head = ["trial", "state", *objectives, *(key.rpartition(".")[2] for key in keys), "run"]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for trial in trials:
        values = [f"{v:.4f}" for v in trial.values] if trial.values else [""] * len(objectives)
        shown = study.space.overrides(trial.params)
        settings = [
            f"{shown[key]:.3g}" if isinstance(shown.get(key), float) else str(shown.get(key, "")) for key in keys
        ]
        state = trial.state.name.lower() + (" (no other is better in all)" if trial.number in front else "")
        if ERROR in trial.user_attrs:
            state += ": " + str(trial.user_attrs[ERROR]).replace("|", "/").replace("\n", " ")[:200]
        cells = [str(trial.number), state, *values[: len(objectives)], *settings, str(trial.user_attrs.get(RUN, ""))]
        rows.append("| " + " | ".join(cells) + " |")
    return rows
