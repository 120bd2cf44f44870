"""data/quality.json and data/quality.md: the quality of the images, and what would improve the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from statistics import fmean
from typing import Any

import numpy as np

from pipeline.core.facts.data import CategoryQuality, PixelCategory, QualityReport, RejectedFile
from pipeline.core.records import CATEGORIES
from pipeline.data.catalogue import Catalogue, CatalogueEntry
from pipeline.data.probe import MEASURE_NAMES
from pipeline.settings.params import DataSettings

FEW = 20  # images; with fewer of a category, a split of it says little
IMBALANCE = 3.0
LOW_QUALITY = 0.7
UNSURE = 0.5
LISTED = 20

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def quality_report(catalogue: Catalogue, settings: DataSettings) -> QualityReport:
    entries, rejected = catalogue.entries, catalogue.rejected
    values = np.array([[getattr(e.measures, name) for name in MEASURE_NAMES] for e in entries])
    quantiles = np.quantile(values, QUANTILES, axis=0).T.round(4).tolist()
    return QualityReport(
        root=settings.root,
        images=len(entries),
        distinct_images=len({e.digest for e in entries}),
        reject_ratio=round(len(rejected) / (len(entries) + len(rejected)), 4),
        quality_mean=round(fmean(e.quality for e in entries), 4),
        categories={category: _category([e for e in entries if e.category == category]) for category in CATEGORIES},
        rejected=tuple(RejectedFile(path=r.path, reason=r.reason, detail=r.detail) for r in rejected),
        from_pixels=tuple(
            PixelCategory(path=e.path, category=e.category, confidence=round(e.confidence, 3))
            for e in entries
            if e.confidence is not None
        ),
        modes=dict(Counter(e.mode for e in entries).most_common()),
        measures={name: tuple(row) for name, row in zip(MEASURE_NAMES, quantiles, strict=True)},
        recommendations=tuple(_recommendations(entries, len(rejected))),
    )


def _category(entries: Sequence[CatalogueEntry]) -> CategoryQuality:
    confidences = [e.confidence for e in entries if e.confidence is not None]
    return CategoryQuality(
        images=len(entries),
        from_folder=len(entries) - len(confidences),
        from_pixels=len(confidences),
        confidence_mean=round(fmean(confidences), 4) if confidences else None,
        quality_mean=round(fmean(e.quality for e in entries), 4) if entries else None,
    )


def _recommendations(entries: Sequence[CatalogueEntry], rejects: int) -> Iterator[str]:
    counts = {category: sum(e.category == category for e in entries) for category in CATEGORIES}
    present = {category: count for category, count in counts.items() if count}
    if len(present) == 1:
        only = next(iter(present))
        yield f"All images are {only}: add others, or expect an agent that knows only {only} logos."
    elif missing := [category for category in CATEGORIES if not counts[category]]:
        yield f"No image is {' or '.join(missing)}: curriculum stages that add nothing are skipped; add some."
    if few := [f"{category} {count}" for category, count in present.items() if count < FEW]:
        yield f"Too few images for reliable splits: {', '.join(few)}; have at least {FEW} of each category."
    most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
    if present[most] > IMBALANCE * present[least]:
        yield (
            f"Imbalance: {present[most]} images are {most}, {present[least]} are {least}, more than "
            f"{IMBALANCE:g} times as many; add {least} ones. Training draws from the categories in turn, so these "
            "few are seen often."
        )
    if poor := [e.path for e in entries if e.quality < LOW_QUALITY]:
        yield (
            f"{len(poor)} of {len(entries)} images are of low quality (below {LOW_QUALITY:g}: small, blurred, pale or "
            f"noisy); replace them with larger, sharper ones: {_some(poor)}."
        )
    if unsure := [e.path for e in entries if e.confidence is not None and e.confidence < UNSURE]:
        yield (
            f"{len(unsure)} images were categorised from their pixels with a probability below {UNSURE:g}; "
            f"sort them into folders named in data.folders: {_some(unsure)}."
        )
    if copies := len(entries) - len({e.digest for e in entries}):
        yield f"{copies} images are copies of others, pixel by pixel; they stay in one split, but add nothing."
    if rejects:
        were = "file was" if rejects == 1 else "files were"
        yield f"{rejects} {were} rejected; each is listed with its reason."


def _some(paths: Sequence[str]) -> str:
    shown = ", ".join(_shown(path) for path in paths[:5])
    return f"{shown} and {len(paths) - 5} more" if len(paths) > 5 else shown


def _shown(path: str) -> str:
    """On one line, without characters that Markdown reads as a table or code."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in path).replace("|", "\\|").replace("`", "'")


def quality_markdown(report: QualityReport) -> str:
    """The report for reading. What is long is cut after LISTED lines; quality.json has all of it."""
    lines = [
        "# Quality of the images",
        "",
        f"{report.images} images in `{report.root}`, {report.distinct_images} of them distinct; "
        f"{len(report.rejected)} files rejected. Mean quality {report.quality_mean:.2f}.",
        "",
        "## What would help",
        "",
        *([f"- {sentence}" for sentence in report.recommendations] or ["Nothing: the dataset is in order."]),
        "",
        "## Categories",
        "",
        *_table(
            ("category", "images", "by folder", "from pixels", "mean confidence", "mean quality"),
            [
                (
                    name,
                    row.images,
                    row.from_folder,
                    row.from_pixels,
                    "" if row.confidence_mean is None else row.confidence_mean,
                    "" if row.quality_mean is None else row.quality_mean,
                )
                for name, row in report.categories.items()
            ],
        ),
        *_listed("Rejected", ("file", "reason", "detail"), report.rejected),
        *_listed("Categorised from pixels", ("file", "category", "probability"), report.from_pixels),
        "## Measures",
        "",
        *_table(
            ("measure", "lowest", "quarter", "median", "three quarters", "highest"),
            [(name, *(f"{value:g}" for value in row)) for name, row in report.measures.items()],
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _listed(title: str, header: Sequence[str], rows: Sequence[RejectedFile] | Sequence[PixelCategory]) -> list[str]:
    if not rows:
        return []
    rest = len(rows) - LISTED
    more = [f"and {rest} more in quality.json", ""] if rest > 0 else []
    return [f"## {title}", "", *_table(header, [astuple(row) for row in rows[:LISTED]]), *more]


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [header, ["---"] * len(header), *([_shown(str(value)) for value in row] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells] + [""]
