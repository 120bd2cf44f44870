"""Size against damage: which pictures leave a choice, and which is taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import DEFAULT_PARAMS, Scored
from pipeline.search.tradeoff import knee_of, least_damaged, pareto_front
from tests.support.fakes import scores


def picture(svg_bytes: int, damage: float) -> Scored:
    return Scored("d", DEFAULT_PARAMS, scores(svg_bytes=svg_bytes, damage=damage), 0.1)


PICTURES = st.lists(
    st.builds(picture, st.integers(50, 5000), st.sampled_from([0.0, 0.5, 1.0, 7.25, 90.0, 612.0])), min_size=1
)


def values(pictures: list[Scored]) -> list[tuple[int, float]]:
    return [(p.scores.svg_bytes, p.scores.damage) for p in pictures]


@given(PICTURES)
def test_the_front_holds_all_that_nothing_beats_and_nothing_else(pictures: list[Scored]) -> None:
    front = values(pareto_front(pictures))
    assert front == sorted(front, key=lambda point: (point[0], -point[1]))
    every = values(pictures)
    for size, damage in every:
        assert any(s <= size and d <= damage for s, d in front)
    for size, damage in front:
        assert not any((s < size and d <= damage) or (s <= size and d < damage) for s, d in every)


@given(PICTURES, st.integers(1, 6000))
def test_the_budget_is_kept_where_it_can_be(pictures: list[Scored], budget: int) -> None:
    chosen = least_damaged(pictures, budget)
    fitting = [damage for size, damage in values(pictures) if size <= budget]
    if fitting:
        assert chosen.scores.svg_bytes <= budget
        assert chosen.scores.damage == min(fitting)
    else:
        assert chosen.scores.svg_bytes == min(size for size, _ in values(pictures))


def test_the_knee_is_where_more_bytes_begin_to_buy_little() -> None:
    front = [picture(100, 600), picture(200, 5), picture(400, 4), picture(800, 3)]
    assert knee_of(front) is front[1]


@given(PICTURES)
def test_a_knee_lies_between_the_ends(pictures: list[Scored]) -> None:
    front = pareto_front(pictures)
    knee = knee_of(front)
    if len(front) < 3:
        assert knee is None
    if knee is not None:
        assert any(knee is between for between in front[1:-1])


def test_a_front_that_bulges_the_other_way_has_no_knee() -> None:
    assert knee_of([picture(100, 600), picture(1000, 500), picture(1100, 0)]) is None
