"""The report of a run: reads what the stages left, writes reports/."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import DataError, ImageRejected, TracewrightError
from pipeline.core.facts.comparison import OURS, Comparison, DamagedRegion, ImageResult
from pipeline.core.facts.data import QualityReport
from pipeline.core.facts.decision import Decision
from pipeline.core.facts.training import Progress, TrainReport
from pipeline.core.files import write_bytes, write_text
from pipeline.core.json_records import from_json, read_record, write_record
from pipeline.core.parquet import read_table
from pipeline.core.pixels import rgb_of
from pipeline.core.records import VISIBLE_DAMAGE, Pixels
from pipeline.data.images import path_of
from pipeline.reports import archive, pictures, plots, training_plot
from pipeline.reports.document import (
    CATEGORIES,
    GAINS,
    HEADLINE,
    IMPROVED,
    PICTURES,
    SAMPLE,
    TRADEOFF,
    TRAINING,
    WORST,
    as_markdown,
)
from pipeline.reports.findings import find, headline
from pipeline.reports.page import as_html
from pipeline.reports.pictures import Draw, Subject
from pipeline.reports.resource_findings import Setup
from pipeline.reports.resources import read_resources
from pipeline.reports.results import ImageMeasurement, Measures, Results
from pipeline.reports.run_folder import read_checkpoints
from pipeline.reports.run_report import run_report, shown_images
from pipeline.settings.params import Settings
from pipeline.tracing.damage_regions import damaged_regions

TRAIN, EVALUATE, REGISTER = "results/train/train.json", "results/evaluate/evaluate.json", "results/register.json"
PROGRESS, IMAGES, QUALITY = "results/train/progress.csv", "results/evaluate/images.parquet", "data/quality.json"
T = TypeVar("T")

ImageReader = Callable[[Path], Pixels]
"""A path to straight RGBA, uint8 (height, width, 4). Raises ImageRejected."""


def write_report(
    root: Path,
    settings: Settings,
    read_image: ImageReader,
    draw: Draw,
    *,
    commit: str | None = None,
    home: Path | None = None,
) -> Path:
    """Read the results of the project at `root` and write its reports/; returns the path of report.md.

    What the app needs of it is kept under the run's folder too. commit: of git, for a run that did not write its own.
    home: where .tracewright is, `root` by default. Raises DataError when the training or the evaluation is missing,
    StorageError when reports/ cannot be written.
    """
    runs = (home or root) / archive.RUNS
    results = read_results(root, settings, commit=commit, runs=runs)
    results = replace(results, damaged=dict(_damaged(root, results, read_image, draw)))
    folder = root / "reports"
    made = dict(_draw(root, results, read_image, draw))
    for name in PICTURES:
        if name in made:
            write_bytes(folder / name, made[name])
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier run
    findings = find(results)
    report = run_report(results, findings, made)
    markdown = as_markdown(results, findings, made)
    archive.write_images(folder / archive.IMAGES, results)
    write_record(folder / archive.REPORT, report)
    page = as_html(markdown, headline(results), made)
    write_text(folder / archive.PAGE, page)
    write_text(folder / "report.md", markdown)
    svgs: dict[archive.Version, Path] = {"ours": root / archive.OURS_SVGS, "default": root / archive.DEFAULT_SVGS}
    archive.keep(runs / _folder_name(report.run_id), report, page, results, svgs)
    return folder / "report.md"


def _folder_name(run_id: str) -> str:
    """Raises DataError for a run whose name could leave the folder of runs."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", run_id):
        raise DataError(f"{TRAIN}: run_id: {run_id!r} is no name of a run; run `dvc repro --force train`")
    return run_id


def _damaged(
    root: Path, results: Results, read_image: ImageReader, draw: Draw
) -> Iterator[tuple[str, tuple[DamagedRegion, ...]]]:
    """By path, what is wrong with the SVGs of ours that show visible damage."""
    for image in results.images:
        if image.damage > VISIBLE_DAMAGE:
            subject = subject_of(root, results.settings, image, read_image)
            regions: tuple[DamagedRegion, ...] = ()
            if subject.rgba is not None and subject.svg is not None:
                height, width = subject.rgba.shape[:2]
                with suppress(TracewrightError):
                    regions = tuple(damaged_regions(subject.rgba, draw(subject.svg).rgba(width, height)))
            yield image.path, regions


def _draw(root: Path, results: Results, read_image: ImageReader, draw: Draw) -> Iterator[tuple[str, bytes]]:
    comparison, training, images = results.comparison, results.training, results.images
    yield HEADLINE, plots.headline(comparison)
    if comparison.tradeoff:
        yield TRADEOFF, plots.tradeoff(comparison)
    if comparison.categories:
        yield CATEGORIES, plots.categories(comparison)
    if training.validations or results.progress:
        yield TRAINING, training_plot.training(training, results.progress, comparison.confidence)
    if images:
        yield GAINS, plots.gains(images, comparison.headline_traces)
    background = rgb_of(results.settings.data.background)
    for name, chosen in zip((SAMPLE, IMPROVED, WORST), shown_images(results), strict=True):
        if chosen:
            subjects = [subject_of(root, results.settings, image, read_image) for image in chosen]
            yield name, pictures.sheet(subjects, draw, background, comparison.label(OURS))


def subject_of(root: Path, settings: Settings, image: ImageResult, read_image: ImageReader) -> Subject:
    """What a sheet needs of one image; what is gone or unreadable is None."""
    try:
        rgba = read_image(root / settings.data.root / path_of(image.path))
    except ImageRejected:
        rgba = None
    return Subject(
        result=image,
        rgba=rgba,
        default_svg=_text(root / archive.DEFAULT_SVGS / f"{image.digest}.svg"),
        svg=_text(root / archive.OURS_SVGS / f"{image.digest}.svg"),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def read_results(root: Path, settings: Settings, *, commit: str | None = None, runs: Path | None = None) -> Results:
    """Everything the stages left under `root`, and what the run left in its folder under `runs`.

    Raises DataError naming the command that makes what is missing.
    """
    training = read_record(TrainReport, root / TRAIN, "dvc repro train")
    comparison = read_record(Comparison, root / EVALUATE, "dvc repro evaluate")
    images, measures = _read_images(root / IMAGES, comparison.headline_traces)
    run_folder = (runs or root / archive.RUNS) / _folder_name(training.run_id)
    return Results(
        settings=settings,
        training=training,
        comparison=comparison,
        images=images,
        measures=measures,
        progress=_read_progress(root / PROGRESS),
        decision=_optional(Decision, root / REGISTER, "dvc repro register"),
        quality=_optional(QualityReport, root / QUALITY, "dvc repro catalogue"),
        checkpoints=read_checkpoints(run_folder),
        resources=read_resources(
            run_folder, Setup(n_envs=settings.train.n_envs, batch_size=settings.train.ppo.batch_size)
        ),
        commit=commit,
    )


def _optional(kind: type[T], path: Path, made_by: str) -> T | None:
    return read_record(kind, path, made_by) if path.is_file() else None


def _read_progress(path: Path) -> tuple[Progress, ...]:
    """results/train/progress.csv, empty when there is none; an empty cell was not measured."""
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]
    try:
        return from_json(tuple[Progress, ...], rows)
    except ValueError as error:
        raise DataError(f"{path}: {error}; run `dvc repro train` again") from None


def _read_images(path: Path, traces: int) -> tuple[tuple[ImageResult, ...], Measures]:
    """Ours at `traces` traces with all that was measured; what matters of every method at every number."""
    try:
        columns = ["method", "traces", "path", "value", "ratio", "damage"]
        compared = read_table(path, columns).to_pylist()
        ours = read_table(path, filters=[("method", "==", OURS), ("traces", "==", traces)]).to_pylist()
        images = from_json(tuple[ImageResult, ...], ours)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro evaluate` first") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it and run `dvc repro evaluate`") from error
    measures: dict[tuple[str, int], dict[str, ImageMeasurement]] = {}
    for row in compared:
        measured = ImageMeasurement(row["value"], -math.log(row["ratio"]), row["damage"])
        measures.setdefault((row["method"], row["traces"]), {})[row["path"]] = measured
    return images, measures
