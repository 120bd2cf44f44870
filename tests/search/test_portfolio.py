from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.search.portfolio import find_portfolios, greedy_portfolio
from tests.support.fakes import FAITHFUL, FakeEvaluator, space_of, task_of

tables = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=st.floats(0, 3))


@given(tables)
def test_the_first_is_the_best_single_setting_and_each_next_adds(table: np.ndarray) -> None:
    chosen = greedy_portfolio(table, 8)
    assert len(set(chosen)) == len(chosen)
    assert table[chosen[0]].mean() == table.mean(axis=1).max()
    reached = [table[chosen[: n + 1]].max(axis=0).mean() for n in range(len(chosen))]
    assert all(b > a for a, b in pairwise(reached))


def test_settings_that_complement_each_other_are_found() -> None:
    table = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 3.0], [0.9, 1.2, 0.5]])
    assert greedy_portfolio(table, 2) == [1, 2]


def test_a_portfolio_for_each_category_from_its_own_images() -> None:
    tasks = [task_of(seed) for seed in range(6)]
    evaluator = FakeEvaluator()
    space = space_of()
    found = find_portfolios(tasks, evaluator, FAITHFUL, space, candidates=24, seed=1)
    assert set(found) == {t.logo.category for t in tasks}
    assert all(space.contains(p) for settings in found.values() for p in settings)
    assert len(evaluator.jobs) <= 24 * len(tasks)
    assert found == find_portfolios(tasks, FakeEvaluator(), FAITHFUL, space, candidates=24, seed=1)


def test_failures_while_searching_are_survived() -> None:
    found = find_portfolios(
        [task_of(1)], FakeEvaluator(fails=lambda j: True), FAITHFUL, space_of(), candidates=6, seed=1
    )
    assert len(found["text"]) == 1
