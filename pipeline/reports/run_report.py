"""The report as one value for machines: report.json, and its JSON schema in report.schema.json beside this file.

What a run was, on which data, how it went, what it is worth, checkpoint by checkpoint and validation by validation.
Lists that grow with the data are cut here; images.parquet beside report.json has every image.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from pipeline.core.facts.comparison import Comparison, DamagedRegion, ImageResult
from pipeline.core.facts.data import CategoryQuality, RejectedFile
from pipeline.core.facts.decision import Decision
from pipeline.core.facts.training import CheckpointEntry, EarlyStop, Progress, TrainReport
from pipeline.core.json_records import json_schema
from pipeline.reports import words
from pipeline.reports.findings import headline
from pipeline.reports.parts import Finding, Resources
from pipeline.reports.results import Results

SCHEMA_VERSION: Literal[4] = 4
SHOWN_IMAGES = 8  # on a sheet
MOST_REJECTS, MOST_POINTS = 200, 500
SETTINGS = {"objective", "tracing", "train", "curriculum", "evaluate"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What the images are like. rejects: files by reason. rejected: the first 200 of them, with their reasons.

    from_pixels: images that were categorised from their pixels, of them `unsure` with a probability below one half.
    measures: [lowest, quarter, median, three quarters, highest] of each.
    """

    root: str
    images: int
    distinct_images: int
    reject_ratio: float
    quality_mean: float
    categories: dict[str, CategoryQuality]
    rejects: dict[str, int]
    rejected: tuple[RejectedFile, ...]
    from_pixels: int
    unsure: int
    modes: dict[str, int]
    measures: dict[str, tuple[float, ...]]
    recommendations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsReport:
    """The states that were kept of the training, oldest first. best: the name of that of the best validation."""

    count: int
    total_bytes: int
    latest: str
    best: str | None
    entries: tuple[CheckpointEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedImage:
    """regions: the worst first; none where the original or the SVG cannot be read any more."""

    path: str
    digest: str
    damage: float
    regions: tuple[DamagedRegion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """report.json. Values are in natural log units, 0 is VTracer's default; null is what was not measured.

    damaged: ours that show visible damage, the most damaged first.
    """

    schema_version: Literal[4]
    headline: str
    headline_traces: int
    run_id: str
    git_commit: str | None
    ended_early: EarlyStop | None
    findings: tuple[Finding, ...]
    training: TrainReport
    progress: tuple[Progress, ...]
    comparison: Comparison
    images_table: Literal["images.parquet"]
    sample: tuple[ImageResult, ...]
    most_improved: tuple[ImageResult, ...]
    least_improved: tuple[ImageResult, ...]
    damaged: tuple[DamagedImage, ...]
    registry: Decision | None
    dataset: DatasetReport | None
    checkpoints: CheckpointsReport | None
    resources: Resources | None
    settings: dict[str, Any]
    pictures: tuple[str, ...]


def run_report(results: Results, findings: Sequence[Finding], made: Collection[str]) -> RunReport:
    """Everything that the Markdown says, as values. made: the pictures that were drawn."""
    training = results.training
    sample, best, worst = shown_images(results)
    address = words.without_secrets(training.tracking_uri)
    return RunReport(
        schema_version=SCHEMA_VERSION,
        headline=headline(results),
        headline_traces=results.comparison.headline_traces,
        run_id=training.run_id,
        git_commit=training.git_commit or results.commit,
        ended_early=training.stopped,
        findings=tuple(findings),
        training=replace(training, tracking_uri=address),
        progress=tuple(thinned(results.progress, MOST_POINTS)),
        comparison=results.comparison,
        images_table="images.parquet",
        sample=tuple(sample),
        most_improved=tuple(best),
        least_improved=tuple(worst),
        damaged=tuple(_damaged(results)),
        registry=results.decision,
        dataset=_dataset(results),
        checkpoints=_checkpoints(results),
        resources=results.resources,
        settings=results.settings.model_dump(mode="json", include=SETTINGS),
        pictures=tuple(made),
    )


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) that every report.json fulfils."""
    described = json_schema(RunReport)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described, "title": "tracewright run report"}


def schema_text() -> str:
    """As report.schema.json holds it."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


def shown_images(results: Results) -> tuple[list[ImageResult], list[ImageResult], list[ImageResult]]:
    """A random sample, the same for the same seed and images; the most improved; the worst."""
    chosen = random.Random(results.settings.evaluate.seed)
    images = sorted(results.images, key=lambda i: i.digest)
    sample = chosen.sample(images, min(SHOWN_IMAGES, len(images)))
    return sample, *improved_and_worst(results.images)


def _damaged(results: Results) -> Iterator[DamagedImage]:
    for image in sorted(results.images, key=lambda i: (-i.damage, i.path)):
        if (regions := results.damaged.get(image.path)) is not None:
            yield DamagedImage(path=image.path, digest=image.digest, damage=image.damage, regions=regions)


def improved_and_worst(images: Sequence[ImageResult]) -> tuple[list[ImageResult], list[ImageResult]]:
    """The most improved, best first, and the least, worst first; no image is in both.

    Among images that kept the default, those with the most bytes come first: there was most to gain.
    """
    ordered = sorted(images, key=lambda i: (-i.value, -i.default_bytes, i.path))
    best = [i for i in ordered[:SHOWN_IMAGES] if i.improved][: -(-len(ordered) // 2)]
    rest = sorted(ordered[len(best) :], key=lambda i: (i.value, -i.default_bytes, i.path))
    return best, rest[:SHOWN_IMAGES]


def thinned(values: Sequence[T], most: int) -> list[T]:
    """At most `most` of them, evenly spaced, the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round((k + 1) * len(values) / most) - 1] for k in range(most)]


def _dataset(results: Results) -> DatasetReport | None:
    quality = results.quality
    if quality is None:
        return None
    shared = ("root", "images", "distinct_images", "reject_ratio", "quality_mean", "categories", "modes", "measures")
    return DatasetReport(
        **{name: getattr(quality, name) for name in shared},
        rejects=dict(Counter(quality.rejects).most_common()),
        rejected=quality.rejected[:MOST_REJECTS],
        from_pixels=len(quality.from_pixels),
        unsure=sum(i.confidence < 0.5 for i in quality.from_pixels),
        recommendations=quality.recommendations,
    )


def _checkpoints(results: Results) -> CheckpointsReport | None:
    entries, best = results.checkpoints, results.training.best
    if not entries:
        return None
    return CheckpointsReport(
        count=len(entries),
        total_bytes=sum(entry.bytes for entry in entries),
        latest=entries[-1].name,
        best=next((entry.name for entry in entries if entry.timesteps == best.timesteps), None),
        entries=entries,
    )
