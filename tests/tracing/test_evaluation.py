"""One evaluation: what is measured, what is skipped, what is kept."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import (
    DEFAULT_PARAMS,
    EVERYTHING,
    Evaluation,
    Failed,
    Gate,
    Job,
    Logo,
    Pruned,
    Scored,
    TracerParams,
)
from pipeline.tracing import fidelity
from pipeline.tracing.evaluation import Cache, TraceEvaluator
from pipeline.tracing.raster import DRAWINGS
from pipeline.tracing.store_pool import through_gate
from pipeline.tracing.tracer import encode, trace
from tests.support.drawing import drawn

DRAWING = next(iter(DRAWINGS.values()))
WHITE = (255, 255, 255)
DRAWN = drawn(48, (240, 245, 230, 255))
BENCH = TraceEvaluator(WHITE, DRAWING)
"""It lives as long as the tests do, and keeps what a worker keeps."""

IMPROVED = TracerParams(prescale=2.0, simplify=0.15, refit=1, steps_per_pixel=10)
COARSE = TracerParams(color_precision=3, filter_speckle=8, layer_difference=100, simplify=1.0, steps_per_pixel=1)
SETTINGS = st.builds(
    TracerParams,
    mode=st.sampled_from(["spline", "polygon"]),
    hierarchical=st.sampled_from(["stacked", "cutout"]),
    color_precision=st.integers(3, 8),
    layer_difference=st.integers(4, 128),
    prescale=st.sampled_from([1.0, 1.5, 2.0]),
    palette=st.sampled_from([0, 3, 8]),
    simplify=st.sampled_from([0.0, 0.15, 0.5]),
    refit=st.sampled_from([0, 1]),
    steps_per_pixel=st.sampled_from([2, 5, 10, 100]),
)


def timeless(evaluation: Evaluation | None) -> Evaluation | None:
    return evaluation and replace(evaluation, seconds=0)


def evaluated(job: Job) -> Evaluation:
    """By a process that has evaluated nothing before."""
    return replace(TraceEvaluator(WHITE, DRAWING).evaluate(job), seconds=0)


def scored(logo: Logo, params: TracerParams = DEFAULT_PARAMS, *, gate: Gate = EVERYTHING) -> Scored:
    evaluation = evaluated(Job(logo, params, gate, keep_svg=True, metrics=True))
    assert isinstance(evaluation, Scored), evaluation
    return evaluation


def test_every_score_is_measured(logo: Logo) -> None:
    evaluation = TraceEvaluator(WHITE, DRAWING).evaluate(Job(logo, IMPROVED, keep_svg=True, metrics=True))
    assert isinstance(evaluation, Scored)
    assert evaluation.svg is not None
    scores, metrics = evaluation.scores, evaluation.scores.reported
    assert scores.svg_bytes == len(evaluation.svg.encode())
    assert metrics.gzip_bytes == len(gzip.compress(evaluation.svg.encode(), 6, mtime=0))
    assert scores.nodes > scores.paths > 0
    assert 0 <= scores.damage < 20
    assert 0 < scores.delta < 5
    assert 0.7 < metrics.ssim < 1
    assert 0.7 < metrics.zoom_ssim < 1
    assert 0.3 < metrics.skill < metrics.ssim
    assert metrics.mse > 0
    assert 15 < metrics.psnr < 60
    assert evaluation.seconds > 0
    assert (evaluation.digest, evaluation.params) == (logo.digest, IMPROVED)


def test_the_damage_is_that_of_the_picture_as_it_is_written(logo: Logo) -> None:
    evaluation = scored(logo)
    assert evaluation.svg is not None
    rendering = DRAWING(evaluation.svg).rgba(logo.width, logo.height)
    found = fidelity.damage(fidelity.Reference.of(logo.rgba), rendering)
    assert (evaluation.scores.damage, evaluation.scores.delta) == (found.score, found.delta)


def test_traced_bytes_are_vtracers_own(logo: Logo) -> None:
    own = trace(encode(logo.rgba), DEFAULT_PARAMS)
    for params in (DEFAULT_PARAMS, replace(DEFAULT_PARAMS, simplify=0.3, refit=1, steps_per_pixel=5)):
        scores = scored(logo, params).scores
        assert scores.traced_bytes == len(own.encode())
        assert scores.svg_bytes < scores.traced_bytes


@pytest.mark.parametrize("keep_svg", [False, True])
@pytest.mark.parametrize("metrics", [False, True])
def test_svg_and_metrics_come_where_they_are_asked_for(logo: Logo, keep_svg: bool, metrics: bool) -> None:
    whole = scored(logo)
    evaluation = evaluated(Job(logo, DEFAULT_PARAMS, keep_svg=keep_svg, metrics=metrics))
    assert isinstance(evaluation, Scored)
    assert evaluation.svg == (whole.svg if keep_svg else None)
    assert evaluation.scores == (whole.scores if metrics else replace(whole.scores, metrics=None))


def test_what_does_not_pass_the_gate_is_measured_no_further(logo: Logo) -> None:
    scores = scored(logo, COARSE).scores
    assert scores.damage > 1
    at_the_edge = Gate(max_bytes=scores.svg_bytes, max_damage=scores.damage)
    assert scored(logo, COARSE, gate=at_the_edge).scores == scores
    for closed, known in (
        (Gate(max_bytes=scores.svg_bytes - 1), (scores.svg_bytes, None)),
        (Gate(max_bytes=scores.svg_bytes - 1, max_damage=0), (scores.svg_bytes, None)),
        (Gate(max_damage=scores.damage - 1e-9), (scores.svg_bytes, scores.damage)),
    ):
        lost = evaluated(Job(logo, COARSE, closed, keep_svg=True, metrics=True))
        assert isinstance(lost, Pruned)
        assert (lost.svg_bytes, lost.damage) == known
        assert (lost.digest, lost.params) == (logo.digest, COARSE)


@given(params=SETTINGS, metrics=st.booleans(), data=st.data())
def test_the_store_says_of_any_gate_what_a_worker_says(
    params: TracerParams, metrics: bool, data: st.DataObject
) -> None:
    """Where it can tell at all, which it can whenever the picture was measured to the end."""
    job = Job(DRAWN, params, metrics=metrics)
    whole = BENCH.evaluate(replace(job, metrics=True))
    assert isinstance(whole, Scored)
    size, damage = whole.scores.svg_bytes, whole.scores.damage
    edges = st.builds(Gate, st.sampled_from([size - 1, size, 1e9]), st.sampled_from([damage / 2, damage, 1e9]))
    asked = replace(job, gate=data.draw(edges))
    said = BENCH.evaluate(asked)
    assert timeless(through_gate(whole, asked)) == timeless(said)
    seen = BENCH.evaluate(replace(job, gate=data.draw(edges)))
    assert timeless(through_gate(seen, asked)) in (None, timeless(said))


@given(SETTINGS)
def test_the_same_evaluation_twice_is_equal_whatever_came_before(params: TracerParams) -> None:
    job = Job(DRAWN, params, keep_svg=True, metrics=True)
    assert timeless(BENCH.evaluate(job)) == evaluated(job)


def test_the_background_decides_what_transparency_looks_like_and_not_what_is_damaged(logo: Logo) -> None:
    black = TraceEvaluator((0, 0, 0), DRAWING).evaluate(Job(logo, DEFAULT_PARAMS, metrics=True))
    assert isinstance(black, Scored)
    white = scored(logo).scores
    assert replace(black.scores, metrics=None) == replace(white, metrics=None)
    assert black.scores.reported.ssim != white.reported.ssim
    assert black.scores.reported.skill > 0.3


def test_a_trace_without_a_picture_is_a_failure_with_its_reason(logo: Logo) -> None:
    for params, kind in (
        (replace(DEFAULT_PARAMS, max_iterations=0), "panic"),
        (TracerParams(filter_speckle=16, colormode="binary"), "empty"),
    ):
        dot = logo.rgba.copy()
        dot[:] = 255
        dot[3:6, 3:6, :3] = 0
        picture = Logo.of("dot", dot, "simple") if kind == "empty" else logo
        evaluation = TraceEvaluator(WHITE, DRAWING).evaluate(Job(picture, params))
        assert isinstance(evaluation, Failed)
        assert evaluation.kind == kind
        assert evaluation.detail


def test_a_cache_drops_what_was_used_longest_ago() -> None:
    cache: Cache[str, bytes] = Cache(10, len)
    made: list[str] = []

    def get(key: str, size: int) -> bytes:
        def make() -> bytes:
            made.append(key)
            return bytes(size)

        return cache.get(key, make)

    for key in ("a", "b", "a", "c"):
        assert len(get(key, 4)) == 4
    assert get("a", 4) is get("a", 4)
    assert made == ["a", "b", "c"]
    get("b", 4)
    assert made == ["a", "b", "c", "b"]
    assert cache.nbytes == 8


def test_a_value_larger_than_the_cache_is_given_but_not_kept() -> None:
    cache: Cache[str, bytes] = Cache(10, len)
    assert len(cache.get("big", lambda: bytes(11))) == 11
    assert (len(cache), cache.nbytes) == (0, 0)


@pytest.mark.parametrize("params", [TracerParams(prescale=2.0), TracerParams(palette=6)])
def test_preparation_helps_where_edges_are_soft(logo: Logo, params: TracerParams) -> None:
    """The reason that it exists: a smaller error than the default's on a logo with a soft alpha edge."""
    assert scored(logo, params).scores.delta < scored(logo).scores.delta
