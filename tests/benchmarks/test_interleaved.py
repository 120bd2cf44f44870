from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.interleaved import Block, Timings, block_orders, interleave, speed_ratio

SECONDS = st.lists(st.floats(0.01, 10), min_size=1, max_size=30)


def test_the_ratio_is_that_of_the_totals_and_not_the_mean_of_ratios() -> None:
    ratio = speed_ratio([1.0, 3.0], [4.0, 3.0])
    assert ratio.mean == pytest.approx(7 / 4)


@given(mine=SECONDS, factor=st.floats(0.1, 10))
def test_a_rival_that_is_slower_by_the_same_factor_in_each_block_leaves_no_doubt(
    mine: list[float], factor: float
) -> None:
    """Blocks are drawn in pairs: how much they differ from each other is no doubt about the ratio."""
    ratio = speed_ratio(mine, [factor * s for s in mine])
    assert [ratio.mean, ratio.low, ratio.high] == pytest.approx([factor] * 3)


@given(mine=SECONDS)
def test_limits_enclose_the_ratio_and_lie_within_those_of_single_blocks(mine: list[float]) -> None:
    rival = list(np.random.default_rng(len(mine)).uniform(0.5, 2, len(mine)))
    ratio = speed_ratio(mine, rival)
    single = [r / m for m, r in zip(mine, rival, strict=True)]
    assert min(single) * 0.999 <= ratio.low <= ratio.high <= max(single) * 1.001


def test_the_limits_are_those_of_the_delta_method_where_it_holds() -> None:
    generator = np.random.default_rng(3)
    mine, rival = generator.normal(1, 0.1, 400), generator.normal(2, 0.3, 400)
    ratio = speed_ratio(list(mine), list(rival))
    error = (rival - ratio.mean * mine).std(ddof=1) / mine.mean() / np.sqrt(400)
    assert ratio.low == pytest.approx(ratio.mean - 1.96 * error, abs=0.15 * error)
    assert ratio.high == pytest.approx(ratio.mean + 1.96 * error, abs=0.15 * error)


def test_swapping_both_turns_the_interval_round() -> None:
    mine, rival = [1.0, 2.0, 1.5, 0.7], [2.0, 2.5, 2.4, 2.2]
    there, back = speed_ratio(mine, rival), speed_ratio(rival, mine)
    assert [1 / back.mean, 1 / back.high, 1 / back.low] == pytest.approx([there.mean, there.low, there.high], rel=1e-3)


@pytest.mark.parametrize(("mine", "rival"), [([], []), ([1.0], [1.0, 2.0])])
def test_blocks_that_do_not_pair_are_refused(mine: list[float], rival: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no blocks|inhomogeneous"):
        speed_ratio(mine, rival)


def test_each_block_has_every_row_once_and_none_is_always_first() -> None:
    orders = block_orders(["a", "b", "c"], 40, seed=1)
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert orders == block_orders(["a", "b", "c"], 40, seed=1)
    assert orders != block_orders(["a", "b", "c"], 40, seed=2)


def test_rows_are_run_block_by_block_and_the_first_block_is_not_counted() -> None:
    log: list[tuple[int, str]] = []

    def row(number: int, name: str) -> Callable[[], int]:
        return lambda: log.append((number, name)) or number  # type: ignore[func-returns-value]

    blocks = (Block(10 + n, {name: row(n, name) for name in "abc"}) for n in range(5))
    timings = interleave(blocks, seed=4)
    assert [number for number, _ in log] == [n for n in range(5) for _ in "abc"]
    assert {log[3 * n][1] for n in range(5)} != {"a"}
    assert timings.evaluations == [11, 12, 13, 14]
    assert timings.results == {name: [1, 2, 3, 4] for name in "abc"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def test_only_the_rows_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("benchmarks.interleaved.time", clock)

    def blocks() -> Iterator[Block[None]]:
        for number in range(4):
            clock.passes(100)  # making a block is nobody's time
            rows = {"slow": partial(clock.passes, 2 + number), "fast": partial(clock.passes, 0.5)}
            yield Block(1, rows)

    timings = interleave(blocks())
    assert timings.seconds == {"slow": [3, 4, 5], "fast": [0.5, 0.5, 0.5]}
    assert timings.per_second("slow") == 3 / 12


def test_a_report_gives_speeds_and_the_ratios_of_the_rows_that_were_run() -> None:
    timings: Timings[None] = Timings([10, 30], {"ours": [1.0, 3.0], "theirs": [2.0, 6.0]})
    assert timings.rows_json() == {
        "ours": {"per_second": 10.0, "milliseconds_each": 100.0},
        "theirs": {"per_second": 5.0, "milliseconds_each": 200.0},
    }
    asked = [("ours", "theirs", 1.5), ("ours", "missing", None)]
    assert timings.ratios_json(asked) == {"ours / theirs": {"mean": 2.0, "low": 2.0, "high": 2.0, "target": 1.5}}
