from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.core.records import CATEGORIES, Category
from pipeline.data.categories import categorise, category_of_folder, category_probabilities
from pipeline.data.probe import Measures, measure
from tests.support.drawing import draw

FOLDERS: dict[str, Category] = {"simple_geometric": "simple", "abstract": "complex"}


@pytest.mark.parametrize(
    ("path", "category"),
    [
        ("abstract/a.png", "complex"),
        ("mine/abstract/deep/a.png", "complex"),
        ("abstract/simple_geometric/a.png", "simple"),
        ("abstract.png", None),
        ("Abstract/a.png", None),
        ("a.png", None),
        ("other/abstract", None),
    ],
)
def test_the_nearest_folder_decides(path: str, category: Category | None) -> None:
    assert category_of_folder(PurePosixPath(path), FOLDERS) == category


def test_probabilities_add_up_and_the_largest_is_the_confidence() -> None:
    for seed in range(10):
        measures = measure(np.array(draw(seed)))
        probabilities = category_probabilities(measures)
        category, confidence = categorise(measures)
        assert probabilities.sum() == pytest.approx(1)
        assert confidence == probabilities.max() == probabilities[CATEGORIES.index(category)]
        assert 0.25 <= confidence <= 1


def categorised(image: Image.Image) -> Category:
    return categorise(measure(np.array(image.convert("RGBA"))))[0]


def test_plain_cases() -> None:
    disc = Image.new("RGB", (512, 512), "white")
    ImageDraw.Draw(disc).ellipse((40, 40, 470, 470), fill="#2060c0")
    assert categorised(disc.resize((128, 128))) == "simple"
    word = Image.new("RGB", (300, 80), "white")
    ImageDraw.Draw(word).text((8, 8), "wordmark", fill="black", font_size=60)
    assert categorised(word) == "text"
    ramp = np.full((128, 128, 3), 255, dtype=np.uint8)
    ramp[14:114, 14:114] = np.linspace((250, 120, 20), (120, 20, 200), 100)[:, None].astype(np.uint8)
    assert categorised(Image.fromarray(ramp)) == "gradient"


def test_padding_does_not_change_the_category() -> None:
    word = Image.new("RGB", (300, 80), "white")
    ImageDraw.Draw(word).text((8, 8), "wordmark", fill="black", font_size=60)
    square = Image.new("RGB", (320, 320), "white")
    square.paste(word, (10, 120))
    assert categorised(square) == "text"


def test_far_off_measures_do_not_break_it() -> None:
    values = np.array(measure(np.array(draw(1))).as_array(), dtype=float)
    for factor in (-1e6, 1e6):
        category, confidence = categorise(Measures(*(values * factor)))
        assert category in CATEGORIES
        assert np.isfinite(confidence)


def test_most_sorted_logos_are_recognised(real_logos: Path) -> None:
    """They are those it was fitted on; benchmarks/bench_categories.py judges it by cross-validation."""
    folders = {"simple_geometric": "simple", "text_based": "text", "gradients": "gradient", "complex": "complex"}
    hits = [
        categorised(Image.open(path)) == category
        for folder, category in folders.items()
        for path in sorted((real_logos / folder).glob("*.png"))[::3]
    ]
    assert np.mean(hits) > 0.7
