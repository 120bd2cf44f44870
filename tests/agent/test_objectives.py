import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agent.objectives import Baseline, Objective, error_gain
from pipeline.core.records import DEFAULT_PARAMS, Lost, Scores
from tests.support.fakes import SMALLER, scores

DEFAULT = scores()
BASELINE = Baseline.of(DEFAULT, None)
OBJECTIVES = [replace(SMALLER, name=name) for name in ("smaller", "sharper", "target", "balanced")]


def value(objective: Objective, candidate: Scores, prescale: float = 1.0) -> float | None:
    return objective.value(replace(DEFAULT_PARAMS, prescale=prescale), candidate, BASELINE)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_the_default_itself_is_worth_nothing(objective: Objective) -> None:
    assert value(objective, DEFAULT) == pytest.approx(0.0)


def test_smaller_is_the_log_of_the_bytes_saved() -> None:
    assert value(SMALLER, scores(svg_bytes=500)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("worse", [{"ssim": 0.9489}, {"zoom_ssim": 0.8989}])
def test_smaller_does_not_allow_what_looks_worse(worse: dict[str, float]) -> None:
    assert value(SMALLER, scores(svg_bytes=500, **worse)) is None
    assert value(SMALLER, scores(svg_bytes=500, ssim=0.9491, zoom_ssim=0.8991)) is not None


def test_sharper_does_not_allow_more_bytes() -> None:
    sharper = OBJECTIVES[1]
    assert value(sharper, scores(ssim=0.97, svg_bytes=1001)) is None
    assert value(sharper, scores(ssim=0.97)) == pytest.approx(math.log(0.051 / 0.031))
    assert value(sharper, scores(ssim=0.97, zoom_ssim=0.8)) is None


def test_target_ranks_reaching_it_above_any_saving() -> None:
    target = replace(OBJECTIVES[2], target=0.85)
    missed = value(target, scores(skill=0.849, svg_bytes=10))
    reached = value(target, scores(skill=0.85, svg_bytes=15_000))
    assert missed is not None
    assert reached is not None
    assert reached > missed


def test_balanced_counts_quality_size_and_work_by_their_weights() -> None:
    balanced = replace(OBJECTIVES[3], quality_weight=0.2, size_weight=0.3, work_weight=0.1)
    expected = 0.2 * math.log(0.051 / 0.031) + 0.3 * math.log(2) - 0.1 * math.log(4)
    assert value(balanced, scores(ssim=0.97, svg_bytes=500), prescale=2.0) == pytest.approx(expected)


@given(size=st.integers(100, 3000), ssim=st.floats(0.5, 1.0), zoom=st.floats(0.5, 1.0), best=st.floats(0.0, 2.0))
@pytest.mark.parametrize("objective", OBJECTIVES[:2], ids=lambda o: o.name)
def test_the_gate_lets_every_candidate_through_that_could_win(
    objective: Objective, size: int, ssim: float, zoom: float, best: float
) -> None:
    candidate = scores(svg_bytes=size, ssim=ssim, zoom_ssim=zoom)
    worth = value(objective, candidate)
    gate = objective.gate(best, BASELINE)
    passes = size <= gate.max_bytes and ssim >= gate.min_ssim
    if worth is not None and worth > best + 1e-9:
        assert passes


@given(size=st.integers(100, 3000), ssim=st.floats(0.5, 1.0), zoom=st.floats(0.5, 1.0))
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_graded_equals_the_value_where_there_is_one(objective: Objective, size: int, ssim: float, zoom: float) -> None:
    candidate = scores(svg_bytes=size, ssim=ssim, zoom_ssim=zoom)
    worth = value(objective, candidate)
    graded = objective.graded(DEFAULT_PARAMS, candidate, BASELINE)
    assert graded == worth if worth is not None else math.isfinite(graded)


@given(
    size=st.integers(100, 3000),
    ssim=st.floats(0.5, 1.0),
    zoom=st.floats(0.5, 1.0),
    best=st.floats(0, 1),
    seen=st.booleans(),
)
@pytest.mark.parametrize("objective", OBJECTIVES[:2], ids=lambda o: o.name)
def test_a_loser_is_graded_by_what_is_known_of_it(
    objective: Objective, size: int, ssim: float, zoom: float, best: float, seen: bool
) -> None:
    gate = objective.gate(best, BASELINE)
    if seen and size <= gate.max_bytes and ssim < gate.min_ssim:
        lost = Lost("digest", DEFAULT_PARAMS, size, ssim, 0.1)
    elif size > gate.max_bytes:
        lost = Lost("digest", DEFAULT_PARAMS, size, None, 0.1)
    else:
        return
    worth = objective.graded(DEFAULT_PARAMS, scores(svg_bytes=size, ssim=ssim, zoom_ssim=zoom), BASELINE)
    graded = objective.graded_lost(lost, BASELINE)
    if lost.ssim is None:
        assert graded <= best + 1e-9
    assert objective.name == "sharper" or graded >= worth - 1e-9  # What is not known is taken to be well.


def test_graded_falls_with_the_shortfall() -> None:
    near = SMALLER.graded(DEFAULT_PARAMS, scores(ssim=0.94), BASELINE)
    far = SMALLER.graded(DEFAULT_PARAMS, scores(ssim=0.90), BASELINE)
    assert far < near < 0


def test_a_perfect_copy_has_a_finite_gain() -> None:
    assert error_gain(scores(ssim=1.0), DEFAULT) == pytest.approx(math.log(0.051 / 0.001))


def test_where_the_default_is_broken_a_lost_logo_is_not_allowed() -> None:
    broken = scores(ssim=0.63, zoom_ssim=0.67, svg_bytes=45_000)
    baseline = Baseline.of(broken, sound=scores(ssim=0.95, zoom_ssim=0.94))
    emptied = scores(ssim=0.77, zoom_ssim=0.87, svg_bytes=2700)
    assert SMALLER.value(DEFAULT_PARAMS, emptied, Baseline.of(broken, None)) is not None
    assert SMALLER.value(DEFAULT_PARAMS, emptied, baseline) is None
    assert SMALLER.value(DEFAULT_PARAMS, scores(ssim=0.91, zoom_ssim=0.91, svg_bytes=2700), baseline) is not None


def test_an_ordinary_default_sets_the_bar_itself() -> None:
    assert Baseline.of(DEFAULT, sound=scores(ssim=0.99, zoom_ssim=0.99)).bar == DEFAULT
