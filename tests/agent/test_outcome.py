import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agent.objectives import BROKEN, ERROR_FLOOR
from pipeline.agent.outcome import (
    BENT_FROM,
    BENT_OVER,
    DAMAGE,
    ERROR,
    LOWEST,
    SIZE,
    Outcome,
    default_outcome,
    informative_gate,
    outcome_of,
    soft_clip,
)
from pipeline.core.records import (
    DEFAULT_PARAMS,
    OBJECTIVES,
    VISIBLE_DAMAGE,
    Evaluation,
    Failed,
    ObjectiveName,
    Pruned,
    Scored,
    Scores,
)
from tests.support.fakes import FAITHFUL, scores

DEFAULT = scores()
DEFAULTS = [DEFAULT, scores(damage=4 * VISIBLE_DAMAGE), scores(damage=200 * VISIBLE_DAMAGE)]
every_default = pytest.mark.parametrize("default", DEFAULTS, ids=["sound", "damaged", "ruined"])

raw = st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(np.array)


def picture(svg_bytes: int, damage: float, delta: float = 1.0, prescale: float = 1.0) -> Scored:
    params = replace(DEFAULT_PARAMS, prescale=prescale)
    return Scored("d", params, scores(svg_bytes=svg_bytes, damage=damage, delta=delta), 0.1)


def outcome(evaluation: Evaluation, default: Scores = DEFAULT) -> Outcome:
    return outcome_of(evaluation, default)


@every_default
def test_the_default_itself_has_its_own_size_and_error_and_is_known_before_it_is_traced(default: Scores) -> None:
    traced = outcome(Scored("d", DEFAULT_PARAMS, default, 0.1), default)
    np.testing.assert_array_equal(traced, default_outcome(default))
    assert traced[[SIZE, ERROR]].tolist() == [0.0, 0.0]


def test_half_the_bytes_and_half_the_error_are_minus_the_logarithm_of_two() -> None:
    halves = outcome(picture(500, VISIBLE_DAMAGE / 2, (1.0 + ERROR_FLOOR) / 2 - ERROR_FLOOR))
    np.testing.assert_allclose(halves, np.full(3, -math.log(2)), rtol=1e-5)


def test_damage_is_seen_from_zero_on_and_none_at_all_is_the_lowest() -> None:
    assert outcome(picture(1000, VISIBLE_DAMAGE))[DAMAGE] == 0
    assert outcome(picture(1000, 0.0))[DAMAGE] == LOWEST
    assert outcome(picture(1000, 0.0), scores(damage=700.0))[DAMAGE] == LOWEST


@given(raw, raw)
def test_bending_keeps_the_order_and_leaves_what_is_low_as_it_is(one: np.ndarray, other: np.ndarray) -> None:
    higher = np.maximum(one, other)
    assert (soft_clip(higher) >= soft_clip(one)).all()
    assert (soft_clip(one) <= BENT_FROM + BENT_OVER).all()
    straight = (one <= BENT_FROM) & (one >= LOWEST)
    np.testing.assert_array_equal(soft_clip(one)[straight], one[straight])
    assert soft_clip(one).min() >= LOWEST


@given(st.floats(0, 0.8), st.floats(0.01, 0.2))
def test_not_far_above_the_bend_worse_is_still_seen_to_be_worse(over: float, more: float) -> None:
    assert (soft_clip(BENT_FROM + over + more) > soft_clip(BENT_FROM + over)).all()


def test_what_was_not_measured_is_not_a_number() -> None:
    too_large, too_bad = Pruned("d", DEFAULT_PARAMS, 2000, None, 0.1), Pruned("d", DEFAULT_PARAMS, 2000, 50.0, 0.1)
    assert np.isnan(outcome(too_large)).tolist() == [False, True, True]
    assert np.isnan(outcome(too_bad)).tolist() == [False, True, False]
    assert outcome(too_bad)[SIZE] == outcome(too_large)[SIZE] == outcome(picture(2000, 50.0))[SIZE]
    assert outcome(too_bad)[DAMAGE] == outcome(picture(2000, 50.0))[DAMAGE]


def test_a_failure_has_no_size_and_looks_as_bad_as_can_be() -> None:
    failed = outcome(Failed("d", DEFAULT_PARAMS, "panic", "", 0.1))
    np.testing.assert_allclose(failed, [np.nan, *(BENT_FROM + BENT_OVER)[1:]], rtol=1e-6)


@given(st.integers(200, 5000), st.integers(0, 2_000_000).map(lambda n: n / 1024))
def test_what_lies_beyond_the_telling_gate_could_hardly_be_told_apart(size: int, damage: float) -> None:
    gate = informative_gate(DEFAULT)
    evaluated = outcome(picture(size, damage))
    if size > gate.max_bytes:
        assert evaluated[SIZE] > (BENT_FROM + 0.9 * BENT_OVER)[SIZE]
    if damage > gate.max_damage:
        assert evaluated[DAMAGE] > (BENT_FROM + 0.9 * BENT_OVER)[DAMAGE]
    at_the_gate = outcome(picture(math.floor(gate.max_bytes), gate.max_damage))
    if size <= gate.max_bytes and damage <= gate.max_damage:
        assert (evaluated <= at_the_gate + 1e-3).all()


def test_the_damage_that_a_broken_default_licenses_is_told_apart_from_more() -> None:
    """A limit above the bend could not be foreseen."""
    assert math.log(BROKEN / VISIBLE_DAMAGE) < BENT_FROM[DAMAGE]


@given(
    st.integers(100, 1400),
    st.floats(0.2, 300) | st.just(0.0),
    st.floats(0, 1.4),
    st.sampled_from([1.0, 1.5, 2.0]),
)
@every_default
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_goal_says_of_outcomes_what_the_objective_says_of_scores(
    name: ObjectiveName, default: Scores, size: int, damage: float, delta: float, prescale: float
) -> None:
    objective = replace(FAITHFUL, name=name, work_weight=0.1)
    goal, evaluation = objective.goal(default), picture(size, damage, delta, prescale)
    outcomes = outcome_of(evaluation, default).astype(np.float64)
    margins = soft_clip(goal.limits) - outcomes
    if np.abs(margins).min() < 1e-5:
        return  # on the edge, where rounding decides
    value = objective.value(evaluation.params, evaluation.scores, default)
    allowed = value is not None and damage <= objective.limit(default)
    assert (margins > 0).all() == allowed
    if allowed and (outcomes < BENT_FROM).all() and (outcomes[:DAMAGE] > LOWEST).all():
        linear = goal.offset - goal.size_weight * outcomes[SIZE] - goal.error_weight * outcomes[ERROR]
        assert linear - goal.work_weight * 2 * math.log(prescale) == pytest.approx(value, abs=1e-4)
