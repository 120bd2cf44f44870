from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.intervals import Bootstrap, Interval, trend

VALUES = st.lists(st.floats(-5, 5), min_size=1, max_size=30)


@given(values=VALUES, confidence=st.floats(0.6, 0.99))
def test_the_mean_lies_between_its_limits_and_they_between_the_values(values: list[float], confidence: float) -> None:
    interval = Bootstrap(200, confidence).mean(values)
    assert interval.mean == pytest.approx(np.mean(values))
    slack = 1e-9
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack


@given(values=VALUES)
def test_more_confidence_is_a_wider_interval(values: list[float]) -> None:
    sure, unsure = Bootstrap(200, 0.99).mean(values), Bootstrap(200, 0.6).mean(values)
    assert sure.low <= unsure.low
    assert unsure.high <= sure.high


def test_the_same_seed_gives_the_same_limits() -> None:
    values = list(np.random.default_rng(1).normal(size=20))
    assert Bootstrap(300, 0.95, seed=4).mean(values) == Bootstrap(300, 0.95, seed=4).mean(values)
    assert Bootstrap(300, 0.95, seed=4).mean(values) != Bootstrap(300, 0.95, seed=5).mean(values)


def test_the_limits_are_those_of_the_normal_distribution_where_it_holds() -> None:
    values = np.random.default_rng(2).normal(0.3, 1.0, 400)
    interval = Bootstrap(4000, 0.95).mean(values)
    error = values.std(ddof=1) / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    intervals = [Bootstrap(300, 0.9).mean(rng.normal(size=40)) for _ in range(300)]
    held = [i.low <= 0 <= i.high for i in intervals]
    assert 0.84 <= np.mean(held) <= 0.95


def test_one_value_has_no_spread_and_no_value_has_no_mean() -> None:
    assert Bootstrap(100, 0.95).mean([0.5]) == Interval(0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="no values"):
        Bootstrap(100, 0.95).mean([])


@given(mean=st.floats(-3, 3), below=st.floats(0, 2), above=st.floats(0, 2))
def test_a_ratio_keeps_its_limits_in_order(mean: float, below: float, above: float) -> None:
    ratio = Interval(mean, mean - below, mean + above).as_ratio()
    assert ratio.low <= ratio.mean <= ratio.high
    assert ratio.low == pytest.approx(math.exp(-mean - above))


def test_a_gain_of_ln_2_is_half_the_bytes() -> None:
    assert Interval(math.log(2), 0.0, math.log(4)).as_ratio().to_json() == pytest.approx(
        {"mean": 0.5, "low": 0.25, "high": 1.0}
    )


STEPS = [0, 1000, 2000, 3000, 4000, 5000]


@pytest.mark.parametrize(
    ("values", "direction"),
    [
        ([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], "improving"),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.0], "declining"),
        ([0.2, 0.3, 0.1, 0.3, 0.1, 0.2], "steady"),
        ([0.2, 0.2, 0.2, 0.2, 0.2, 0.2], "steady"),
    ],
)
def test_a_trend_has_a_direction_only_beyond_chance(values: list[float], direction: str) -> None:
    found = trend(STEPS, values, 0.95)
    assert found.direction == direction
    assert found.low is not None
    assert found.high is not None
    assert found.slope is not None
    assert found.low <= found.slope <= found.high


def test_the_slope_is_per_1000_timesteps_and_shrugs_off_an_outlier() -> None:
    assert trend(STEPS, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 0.95).slope == pytest.approx(0.1)
    assert trend(STEPS, [0.0, 0.1, 9.0, 0.3, 0.4, 0.5], 0.95).slope == pytest.approx(0.1, abs=0.02)


def test_fewer_than_four_points_say_nothing() -> None:
    found = trend(STEPS[:3], [0.0, 0.1, 0.2], 0.95)
    assert (found.direction, found.slope, found.low, found.high) == ("unknown", None, None, None)
