from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.tradeoff import TracePoint, front, knee, least_damaged_within, smallest_within

traces = st.lists(st.builds(TracePoint, st.integers(1, 50), st.integers(0, 20).map(float)), min_size=1, max_size=12)


@given(traces)
def test_a_trace_is_in_front_unless_another_beats_it(made: list[TracePoint]) -> None:
    def beaten(trace: TracePoint) -> bool:
        return any(t != trace and t.bytes <= trace.bytes and t.damage <= trace.damage for t in made)

    assert front(made) == sorted({trace for trace in made if not beaten(trace)})


@given(traces, st.floats(0, 25))
def test_the_smallest_within_a_limit_is_taken_else_the_least_damaged(made: list[TracePoint], limit: float) -> None:
    chosen = smallest_within(made, limit)
    within = [trace.bytes for trace in made if trace.damage <= limit]
    if within:
        assert (chosen.bytes, chosen.damage <= limit) == (min(within), True)
    else:
        assert chosen.damage == min(trace.damage for trace in made)


@given(traces, st.integers(0, 60))
def test_the_least_damaged_within_a_budget_is_taken_else_the_smallest(made: list[TracePoint], budget: int) -> None:
    chosen = least_damaged_within(made, budget)
    within = [trace.damage for trace in made if trace.bytes <= budget]
    if within:
        assert (chosen.bytes <= budget, chosen.damage) == (True, min(within))
    else:
        assert chosen == min(made)


@pytest.mark.parametrize(
    ("heights", "index"),
    [
        ([1.0, 0.4, 0.3, 0.25, 0.2], 1),
        ([1.0, 0.95, 0.9, 0.2, 0.1], 3),
        ([1.0, 0.75, 0.5, 0.25, 0.0], None),
        ([1.0, 1.0, 1.0, 1.0], None),
        ([1.0, 0.2], None),
        ([1.0, 0.99, 0.98, 0.5], None),
    ],
)
def test_the_knee_is_where_the_curve_bends_most(heights: list[float], index: int | None) -> None:
    assert knee([(float(x), y) for x, y in enumerate(heights)]) == index


@given(st.lists(st.integers(1, 99).map(float), min_size=3, max_size=8, unique=True))
def test_the_knee_does_not_depend_on_the_units(heights: list[float]) -> None:
    falling = sorted(heights, reverse=True)
    points = [(float(x), y) for x, y in enumerate(falling)]
    scaled = [(2 * x, 8 * y) for x, y in points]
    one, other = knee(points), knee(scaled)
    assert one == other
