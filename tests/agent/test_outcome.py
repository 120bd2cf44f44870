import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agent.objectives import Baseline
from pipeline.agent.outcome import BENT_FROM, BENT_OVER, ERROR, LOWEST, SIZE, Outcome, bent, outcome_of, telling_gate
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, Evaluation, Failed, Lost, ObjectiveName, Scored
from tests.support.fakes import SMALLER, scores

DEFAULT = scores(skill=1 - 4 * (1 - 0.95))  # of an image whose blank canvas has an SSIM of 0.75
BASELINE = Baseline.of(DEFAULT, None)
RAISED = Baseline.of(DEFAULT, scores(ssim=0.99 + 0.08, zoom_ssim=1.02))

raw = st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(np.array)
looks = st.floats(0.3, 1.0)


def picture(svg_bytes: int, ssim: float, zoom_ssim: float, prescale: float = 1.0) -> Scored:
    params = replace(DEFAULT_PARAMS, prescale=prescale)
    return Scored(
        "d", params, scores(svg_bytes=svg_bytes, ssim=ssim, skill=1 - 4 * (1 - ssim), zoom_ssim=zoom_ssim), 0.1
    )


def outcome(evaluation: Evaluation) -> Outcome:
    return outcome_of(evaluation, BASELINE)


def test_the_default_itself_is_nothing() -> None:
    np.testing.assert_array_equal(outcome(Scored("d", DEFAULT_PARAMS, DEFAULT, 0.1)), np.zeros(3, np.float32))


def test_half_the_bytes_and_half_the_errors_are_minus_the_logarithm_of_two() -> None:
    halves = outcome(picture(500, 1.001 - 0.051 / 2, 1.001 - 0.101 / 2))
    np.testing.assert_allclose(halves, np.full(3, -math.log(2)), rtol=1e-5)


@given(raw, raw)
def test_bending_keeps_the_order_and_leaves_what_is_low_as_it_is(one: np.ndarray, other: np.ndarray) -> None:
    higher = np.maximum(one, other)
    assert (bent(higher) >= bent(one)).all()
    assert (bent(one) <= BENT_FROM + BENT_OVER).all()
    straight = (one <= BENT_FROM) & (one >= LOWEST)
    np.testing.assert_array_equal(bent(one)[straight], one[straight])
    assert bent(one).min() >= LOWEST


@given(st.floats(0, 0.8), st.floats(0.01, 0.2))
def test_not_far_above_the_default_worse_is_still_seen_to_be_worse(over: float, more: float) -> None:
    assert (bent(BENT_FROM + over + more) > bent(BENT_FROM + over)).all()


def test_what_was_not_measured_is_not_a_number() -> None:
    too_large, too_ugly = Lost("d", DEFAULT_PARAMS, 2000, None, 0.1), Lost("d", DEFAULT_PARAMS, 2000, 0.5, 0.1)
    assert np.isnan(outcome(too_large)).tolist() == [False, True, True]
    assert np.isnan(outcome(too_ugly)).tolist() == [False, False, True]
    assert outcome(too_ugly)[SIZE] == outcome(too_large)[SIZE] == outcome(picture(2000, 0.5, 0.5))[SIZE]
    assert outcome(too_ugly)[ERROR] == outcome(picture(2000, 0.5, 0.5))[ERROR]


def test_a_failure_has_no_size_and_looks_as_bad_as_can_be() -> None:
    failed = outcome(Failed("d", DEFAULT_PARAMS, "panic", "", 0.1))
    np.testing.assert_allclose(failed, [np.nan, *(BENT_FROM + BENT_OVER)[1:]], rtol=1e-6)


@given(st.integers(200, 5000), st.floats(0.3, 1.0))
def test_what_lies_beyond_the_telling_gate_could_hardly_be_told_apart(size: int, ssim: float) -> None:
    gate = telling_gate(BASELINE)
    evaluated = outcome(picture(size, ssim, ssim))
    if size > gate.max_bytes:
        assert evaluated[SIZE] > (BENT_FROM + 0.5 * BENT_OVER)[SIZE]
    if ssim < gate.min_ssim:
        assert evaluated[ERROR] > (BENT_FROM + 0.9 * BENT_OVER)[ERROR]
    at_the_gate = outcome(picture(math.floor(gate.max_bytes), gate.min_ssim, 0.9))
    if size <= gate.max_bytes and ssim >= gate.min_ssim:
        assert (evaluated[: ERROR + 1] <= at_the_gate[: ERROR + 1] + 1e-3).all()


@given(st.integers(300, 1200), st.floats(0.9, 0.999), st.floats(0.85, 0.999), st.sampled_from([1.0, 1.5, 2.0]))
@pytest.mark.parametrize("baseline", [BASELINE, RAISED], ids=["ordinary", "raised"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_goal_says_of_outcomes_what_the_objective_says_of_scores(
    name: ObjectiveName, baseline: Baseline, size: int, ssim: float, zoom: float, prescale: float
) -> None:
    objective = replace(SMALLER, name=name, target=0.85, tolerance=0.01, work_weight=0.1)
    goal, evaluation = objective.goal(baseline), picture(size, ssim, zoom, prescale)
    outcomes = outcome_of(evaluation, baseline).astype(np.float64)
    margins = bent(goal.limits) - outcomes
    if np.abs(margins).min() < 1e-5:
        return  # on the edge, where rounding decides
    value = objective.value(evaluation.params, evaluation.scores, baseline)
    allowed = value is not None and (name != "target" or evaluation.scores.skill >= objective.target)
    assert (margins > 0).all() == allowed
    if allowed and (outcomes < BENT_FROM).all():
        linear = goal.offset - goal.size_weight * outcomes[SIZE] - goal.error_weight * outcomes[ERROR]
        assert linear - goal.work_weight * 2 * math.log(prescale) == pytest.approx(value, abs=1e-4)
