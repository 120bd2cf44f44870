"""One evaluation: what is measured, what is skipped, what is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.core.records import DEFAULT_PARAMS, EVERYTHING, Failed, Gate, Job, Logo, Lost, Scored, TracerParams
from pipeline.tracing.evaluation import Bench, Cache
from pipeline.tracing.raster import DRAWINGS

DRAWING = next(iter(DRAWINGS.values()))
WHITE = (255, 255, 255)


def scored(logo: Logo, params: TracerParams = DEFAULT_PARAMS, gate: Gate = EVERYTHING) -> Scored:
    evaluation = Bench(WHITE, DRAWING).evaluate(Job(logo, params, gate, keep_svg=True))
    assert isinstance(evaluation, Scored), evaluation
    return evaluation


def test_every_score_is_measured(logo: Logo) -> None:
    evaluation = scored(logo)
    scores = evaluation.scores
    assert evaluation.svg is not None
    assert scores.svg_bytes == len(evaluation.svg)
    assert scores.gzip_bytes < scores.svg_bytes
    assert scores.paths == evaluation.svg.count("<path")
    assert scores.nodes > scores.paths
    assert 0.7 < scores.ssim < 1
    assert 0.7 < scores.zoom_ssim < 1
    assert 0.3 < scores.skill < scores.ssim
    assert scores.mse > 0
    assert 15 < scores.psnr < 60
    assert evaluation.seconds > 0
    assert (evaluation.digest, evaluation.params) == (logo.digest, DEFAULT_PARAMS)


def test_what_does_not_pass_the_gate_is_measured_no_further(logo: Logo) -> None:
    scores = scored(logo).scores
    at_the_edge = Gate(max_bytes=scores.svg_bytes, min_ssim=scores.ssim)
    assert scored(logo, gate=at_the_edge).scores == scores
    for closed, known in (
        (Gate(max_bytes=scores.svg_bytes - 1), (scores.svg_bytes, None)),
        (Gate(min_ssim=scores.ssim + 1e-9), (scores.svg_bytes, scores.ssim)),
    ):
        lost = Bench(WHITE, DRAWING).evaluate(Job(logo, DEFAULT_PARAMS, closed, keep_svg=True))
        assert isinstance(lost, Lost)
        assert (lost.svg_bytes, lost.ssim) == known
        assert (lost.digest, lost.params) == (logo.digest, DEFAULT_PARAMS)


def test_what_was_evaluated_before_does_not_matter(logo: Logo, opaque_logo: Logo) -> None:
    bench = Bench(WHITE, DRAWING)
    settings = [DEFAULT_PARAMS, TracerParams(prescale=1.5), TracerParams(palette=4), DEFAULT_PARAMS]
    for params in settings:
        for picture in (logo, opaque_logo):
            evaluation = bench.evaluate(Job(picture, params, EVERYTHING, keep_svg=True))
            assert isinstance(evaluation, Scored)
            assert replace(evaluation, seconds=0) == replace(scored(picture, params), seconds=0)


def test_the_background_decides_what_transparency_looks_like(logo: Logo) -> None:
    black = Bench((0, 0, 0), DRAWING).evaluate(Job(logo, DEFAULT_PARAMS, EVERYTHING, keep_svg=False))
    assert isinstance(black, Scored)
    assert black.svg is None
    assert black.scores.svg_bytes == scored(logo).scores.svg_bytes
    assert black.scores.ssim != scored(logo).scores.ssim
    assert black.scores.skill > 0.3


def test_a_trace_without_a_picture_is_a_failure_with_its_reason(logo: Logo) -> None:
    for params, kind in (
        (replace(DEFAULT_PARAMS, max_iterations=0), "panic"),
        (TracerParams(filter_speckle=16, colormode="binary"), "empty"),
    ):
        dot = logo.rgba.copy()
        dot[:] = 255
        dot[3:6, 3:6, :3] = 0
        picture = Logo.of("dot", dot, "simple") if kind == "empty" else logo
        evaluation = Bench(WHITE, DRAWING).evaluate(Job(picture, params))
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
    """The reason that it exists: higher SSIM than the default's on a logo with a soft alpha edge."""
    assert scored(logo, params).scores.ssim > scored(logo).scores.ssim
