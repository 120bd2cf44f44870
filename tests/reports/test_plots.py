from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from pipeline.reports import plots, training_plot
from pipeline.reports.results import Results
from pipeline.reports.training_stages import stage_spans
from tests.support.facts import rollout_progress, stage_result


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image


def has_colour(png: bytes, colour: str) -> bool:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.asarray(opened(png).convert("RGB")) == rgb).all(axis=2).any())


def texts(figure: Figure) -> list[str]:
    found = [t.get_text() for axes in figure.axes for t in axes.texts]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
    return found + [t.get_text() for legend in figure.legends for t in legend.get_texts()]


def test_the_headline_shows_ours_and_names_every_method(results: Results) -> None:
    png = plots.headline(results.comparison)
    assert opened(png).width == 1600
    assert has_colour(png, plots.STRONG)
    figure = Figure()
    plots._headline(figure, results.comparison)
    labels = " ".join(texts(figure))
    for name in ("54 %  tracewright", "random search", "Optuna TPE", "untrained policy", "100 %  VTracer's default",
                 "best fixed per category", "portfolio per category"):  # fmt: skip
        assert name in labels
    assert "preset" not in labels


def test_a_preset_that_is_better_is_named(results: Results) -> None:
    comparison = results.comparison
    methods = [
        replace(m, curve=(replace(m.curve[0], traces=1, ratio=replace(m.curve[0].ratio, mean=0.6)),))
        if m.name == "preset_photo"
        else m
        for m in comparison.methods
    ]
    figure = Figure()
    plots._headline(figure, replace(comparison, methods=tuple(methods)))
    assert "60 %  preset photo" in texts(figure)


def test_the_knee_of_size_against_damage_is_marked(results: Results) -> None:
    figure = Figure()
    plots._tradeoff(figure, results.comparison)
    assert {"knee", "50 %", "80 %"} <= set(texts(figure))
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks[2] == "3 px\n20 %"
    figure = Figure()
    plots._tradeoff(figure, replace(results.comparison, knee=None))
    assert "knee" not in texts(figure)


def test_the_same_results_give_the_same_bytes(results: Results) -> None:
    assert plots.categories(results.comparison) == plots.categories(results.comparison)


def test_categories_show_ours_the_fixed_setting_and_tpe(results: Results) -> None:
    figure = Figure()
    plots._categories(figure, results.comparison)
    assert len(figure.axes[0].patches) == 12
    assert {"tracewright", "best fixed per category", "Optuna TPE", "47 %"} <= set(texts(figure))


def test_a_method_without_a_category_has_no_bar(results: Results) -> None:
    comparison = results.comparison
    bare = [replace(m, by_category={}) if m.name == "tpe" else m for m in comparison.methods]
    figure = Figure()
    plots._categories(figure, replace(comparison, methods=tuple(bare)))
    assert len(figure.axes[0].patches) == 8


def test_training_marks_the_model_kept_and_the_stages_that_failed(results: Results) -> None:
    figure = Figure()
    training_plot._training(figure, results.training, results.progress, 0.95)
    found = texts(figure)
    assert {"best, kept", "gradient ✗", "text", "Training, stage by stage (✗ not passed)"} <= set(found)


def test_training_is_drawn_whatever_is_there(results: Results) -> None:
    bare = replace(results.training, stages=(), validations=())
    assert opened(training_plot.training(bare, results.progress, 0.95)).width == 1600
    assert opened(training_plot.training(results.training, (), 0.95)).width == 1600


def test_stages_span_what_the_progress_says_and_retries_are_one(results: Results) -> None:
    progress = [rollout_progress(timesteps=t, stage=s) for t, s in ((10, "a"), (20, "a"), (30, "b"), (50, "b"))]
    assert stage_spans(results.training, progress) == [("a", 0.0, 20.0), ("b", 20.0, 50.0)]


def test_without_progress_the_stages_lengths_are_used(results: Results) -> None:
    stages = tuple(stage_result(name=name, timesteps=t) for name, t in (("a", 100), ("b", 0), ("c", 50)))
    training = replace(results.training, stages=stages)
    assert stage_spans(training, ()) == [("a", 0.0, 100.0), ("b", 100.0, 100.0), ("c", 100.0, 150.0)]


def test_gains_say_how_many_kept_the_default(results: Results) -> None:
    figure = Figure()
    plots._gains(figure, results.images, 16)
    kept = sum(i.value == 0 for i in results.images)
    assert f"{kept} kept the default" in texts(figure)
    assert len(figure.axes[0].patches) == len(results.images)
    assert figure.axes[0].get_ylabel() == "Change in bytes"


def test_one_image_alone_can_be_drawn(results: Results) -> None:
    assert opened(plots.gains(results.images[:1], 16)).width == 1600


def test_names_that_the_font_lacks_or_that_look_like_formulas_are_drawn(results: Results) -> None:
    stages = (stage_result(name="漢字 $^{$\n\u202e", timesteps=100, passed=False),)
    training = replace(results.training, stages=stages)
    assert opened(training_plot.training(training, (), 0.95)).width == 1600


@given(st.lists(st.floats(0, 1), max_size=12).map(sorted), st.floats(0.01, 0.2))
def test_labels_are_spread_in_their_order(wanted: list[float], step: float) -> None:
    places = plots.spread(wanted, step)
    assert len(places) == len(wanted)
    assert all(b - a >= step - 1e-9 for a, b in pairwise(places))
    if all(b - a >= step for a, b in pairwise(wanted)):
        assert places == pytest.approx(wanted)
