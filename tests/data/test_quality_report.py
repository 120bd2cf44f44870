from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.core.errors import ImageRejected
from pipeline.core.facts.data import QualityReport
from pipeline.core.json_records import from_json, to_json
from pipeline.core.records import CATEGORIES, Category
from pipeline.data.catalogue import Catalogue, CatalogueEntry, build_catalogue
from pipeline.data.probe import MEASURE_NAMES, measure
from pipeline.data.quality_report import quality_markdown, quality_report
from tests.support.drawing import draw
from tests.support.fakes import settings_with

SETTINGS = settings_with(data__root="logos").data


def entry(n: int, category: Category, confidence: float | None = None, blurred: bool = False) -> CatalogueEntry:
    image = Image.new("RGB", (64, 64), "white")
    image.paste(draw(n % 5), mask=draw(n % 5))
    if blurred:
        image = image.filter(ImageFilter.GaussianBlur(5))
    return CatalogueEntry(
        path=f"{category}/{n}.png",
        digest=str(n),
        sha256=str(n),
        file_bytes=100,
        width=64,
        height=64,
        mode="RGB",
        category=category,
        category_source="folder" if confidence is None else "pixels",
        confidence=confidence,
        brand=str(n),
        hash="0" * 64,
        measures=measure(np.array(image.convert("RGBA"))),
    )


def balanced(count: int = 24) -> list[CatalogueEntry]:
    return [entry(100 * k + n, category) for k, category in enumerate(CATEGORIES) for n in range(count)]


def advice(entries: list[CatalogueEntry], rejected: list[ImageRejected] | None = None) -> list[str]:
    found: list[str] = list(quality_report(Catalogue(entries, rejected or []), SETTINGS).recommendations)
    return found


def test_nothing_is_recommended_for_a_dataset_in_order() -> None:
    assert advice(balanced()) == []
    assert "in order" in quality_markdown(quality_report(Catalogue(balanced(), []), SETTINGS))


def test_imbalance_is_over_three_times() -> None:
    even = [e for e in balanced(60) if e.category != "text"]
    assert advice([*even, *(entry(900 + n, "text") for n in range(20))]) == []
    [sentence] = advice([*even, *(entry(900 + n, "text") for n in range(20)), entry(999, "complex")])
    assert sentence.startswith("Imbalance: 61 images are complex, 20 are text")


def test_few_images_are_told_by_category() -> None:
    [sentence] = advice([*balanced(20)[:-1]])
    assert "complex 19" in sentence
    assert "simple" not in sentence


def test_missing_and_single_categories_are_told() -> None:
    [missing] = advice([e for e in balanced() if e.category != "text"])
    assert missing.startswith("No image is text")
    [single] = advice([e for e in balanced() if e.category == "gradient"])
    assert single.startswith("All images are gradient")


def test_poor_unsure_double_and_rejected_images_are_told() -> None:
    poor = entry(901, "text", blurred=True)
    unsure = entry(902, "text", confidence=0.4)
    double = balanced()[0]
    sentences = advice([*balanced(), poor, unsure, double], [ImageRejected("x.png", "blank", "one colour")])
    assert [s.split(";")[0][:28] for s in sentences] == [
        "1 of 99 images are of low qu",
        "1 images were categorised fr",
        "1 images are copies of other",
        "1 file was rejected",
    ]
    assert "text/901.png" in sentences[0]
    assert "text/902.png" in sentences[1]


def test_the_report_counts(logos: Callable[..., Path]) -> None:
    root = logos("simple_geometric/a.png", "abstract/b.png", "c.png")
    (root / "bad.png").write_bytes(b"no")
    report = quality_report(build_catalogue(SETTINGS, root.parent, 1), SETTINGS)
    assert from_json(QualityReport, json.loads(json.dumps(to_json(report), allow_nan=False))) == report
    assert (report.images, report.distinct_images, report.reject_ratio) == (3, 3, 0.25)
    assert report.rejected[0].path == "bad.png"
    assert report.rejected[0].reason == "undecodable"
    assert sum(row.images for row in report.categories.values()) == 3
    assert sum(row.from_pixels for row in report.categories.values()) == 1
    [chosen] = report.from_pixels
    assert chosen.path == "c.png"
    assert report.categories[chosen.category].confidence_mean == pytest.approx(chosen.confidence, abs=1e-3)
    assert set(report.measures) == set(MEASURE_NAMES)
    assert all(list(row) == sorted(row) and len(row) == 5 for row in report.measures.values())


def test_what_is_not_there_has_no_mean() -> None:
    report = quality_report(Catalogue([entry(1, "text")], []), SETTINGS)
    assert report.categories["text"].confidence_mean is None
    assert report.categories["simple"].quality_mean is None


def test_odd_names_cannot_break_the_page() -> None:
    odd = ImageRejected("a|b\n# c `d`.png", "blank", "it | is\n<b>")
    page = quality_markdown(quality_report(Catalogue(balanced(), [odd]), SETTINGS))
    [line] = [line for line in page.splitlines() if "blank" in line]
    assert line == "| a\\|b\\x0a# c 'd'.png | blank | it \\| is\\x0a<b> |"


def test_long_lists_are_cut_in_the_page_only() -> None:
    rejected = [ImageRejected(f"{n}.png", "blank", "one colour") for n in range(50)]
    report = quality_report(Catalogue(balanced(), rejected), SETTINGS)
    assert len(report.rejected) == 50
    page = quality_markdown(report)
    assert "and 30 more in quality.json" in page
    assert "| 19.png |" in page
    assert "| 20.png |" not in page
