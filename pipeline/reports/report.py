"""The report of a run: reads what the stages left, writes reports/."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipeline.data.images import path_of
from pipeline.errors import DataError, ImageRejected
from pipeline.files import read_json, write_bytes, write_json, write_text
from pipeline.pixels import on_background, rgb_of
from pipeline.records import Pixels
from pipeline.reports import pictures, plots, training_plot
from pipeline.reports.document import (
    CATEGORIES,
    GAINS,
    HEADLINE,
    IMPROVED,
    PICTURES,
    TRAINING,
    WORST,
    as_json,
    as_markdown,
    improved_and_worst,
)
from pipeline.reports.findings import find
from pipeline.reports.pictures import Render, Subject
from pipeline.reports.results import (
    OURS,
    Comparison,
    Decision,
    ImageResult,
    Part,
    Progress,
    Quality,
    Results,
    Training,
    Values,
)
from pipeline.settings import Settings

TRAIN, EVALUATE, REGISTER = "results/train/train.json", "results/evaluate/evaluate.json", "results/register.json"
PROGRESS, IMAGES, QUALITY = "results/train/progress.csv", "results/evaluate/images.parquet", "data/quality.json"
OURS_SVGS, DEFAULT_SVGS = "results/evaluate/svg", "results/evaluate/default"
IMAGE_COLUMNS = tuple(f.name for f in fields(ImageResult))

Read = Callable[[Path], Pixels]
"""A path to straight RGBA, uint8 (height, width, 4). Raises ImageRejected."""


def write_report(root: Path, settings: Settings, read_image: Read, render: Render, commit: str | None = None) -> Path:
    """Read the results of the project at `root` and write its reports/; returns the path of report.md.

    commit: of git, for a run that did not write its own. Raises DataError when the training or the evaluation is
    missing, StorageError when reports/ cannot be written.
    """
    results = read_results(root, settings, commit)
    folder = root / "reports"
    made = dict(_draw(root, results, read_image, render))
    for name in PICTURES:
        if name in made:
            write_bytes(folder / name, made[name])
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier run
    findings = find(results)
    write_json(folder / "report.json", as_json(results, findings, made))
    write_text(folder / "report.md", as_markdown(results, findings, made))
    return folder / "report.md"


def _draw(root: Path, results: Results, read_image: Read, render: Render) -> Iterator[tuple[str, bytes]]:
    comparison, training, images = results.comparison, results.training, results.images
    is_bytes = comparison.objective.name == "smaller"
    yield HEADLINE, plots.headline(comparison)
    if comparison.categories:
        yield CATEGORIES, plots.categories(comparison)
    if training.validations or results.progress:
        yield TRAINING, training_plot.training(training, results.progress, comparison.confidence, is_bytes)
    if images:
        yield GAINS, plots.gains(images, max(comparison.traces), is_bytes)
    background = rgb_of(results.settings.data.background)
    for name, chosen in zip((IMPROVED, WORST), improved_and_worst(images), strict=True):
        if chosen:
            subjects = [subject_of(root, results.settings, image, read_image) for image in chosen]
            yield name, pictures.sheet(subjects, render, background, comparison.label(OURS))


def subject_of(root: Path, settings: Settings, image: ImageResult, read_image: Read) -> Subject:
    """What a sheet needs of one image; what is gone or unreadable is None."""
    try:
        rgba = read_image(root / settings.data.root / path_of(image.path))
    except ImageRejected:
        rgba = None
    return Subject(
        result=image,
        rgb=None if rgba is None else on_background(rgba, rgb_of(settings.data.background)),
        default_svg=_text(root / DEFAULT_SVGS / f"{image.digest}.svg"),
        svg=_text(root / OURS_SVGS / f"{image.digest}.svg"),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def read_results(root: Path, settings: Settings, commit: str | None = None) -> Results:
    """Everything the stages left under `root`. Raises DataError naming the command that makes what is missing."""
    training = _parsed(Training, root / TRAIN, "dvc repro train")
    comparison = _parsed(Comparison, root / EVALUATE, "dvc repro evaluate")
    images, values = _read_images(root / IMAGES, max(comparison.traces))
    return Results(
        settings=settings,
        training=training,
        comparison=comparison,
        images=images,
        values=values,
        progress=_read_progress(root / PROGRESS),
        decision=_optional(Decision, root / REGISTER, "dvc repro register"),
        quality=_optional(Quality, root / QUALITY, "dvc repro catalogue"),
        commit=commit,
    )


P = TypeVar("P", bound=Part)


def _parsed(kind: type[P], path: Path, made_by: str) -> P:
    try:
        return kind.model_validate(read_json(path, made_by))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise DataError(f"{path}: {where}: {first['msg'].lower()}; run `{made_by}` again") from None


def _optional(kind: type[P], path: Path, made_by: str) -> P | None:
    return _parsed(kind, path, made_by) if path.is_file() else None


def _read_progress(path: Path) -> tuple[Progress, ...]:
    """results/train/progress.csv, empty when there is none; an empty cell was not measured."""
    if not path.is_file():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{k: v for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(file)]
    try:
        return tuple(Progress.model_validate(row) for row in rows)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{path}: {first['loc']}: {first['msg'].lower()}; run `dvc repro train` again") from None


def _read_images(path: Path, traces: int) -> tuple[tuple[ImageResult, ...], Values]:
    """Ours at `traces` traces with all that was measured, and the values of every method at every number of traces."""
    import pyarrow.parquet as pq

    try:
        compared = pq.read_table(path, columns=["method", "traces", "path", "value"]).to_pylist()
        ours = pq.read_table(path, filters=[("method", "==", OURS), ("traces", "==", traces)]).to_pylist()
        images = tuple(ImageResult(**{n: row.get(n) for n in IMAGE_COLUMNS}) for row in ours)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro evaluate` first") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it and run `dvc repro evaluate`") from error
    values: dict[tuple[str, int], dict[str, float]] = {}
    for row in compared:
        values.setdefault((row["method"], row["traces"]), {})[row["path"]] = row["value"]
    return images, values
