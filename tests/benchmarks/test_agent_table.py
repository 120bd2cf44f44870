from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.agent_table import Row, Table, markdown
from pipeline.core.intervals import Bootstrap

TRACES = (1, 8, 16, 64)
BOOTSTRAP = Bootstrap(200, 0.95, 1)
values_of_runs = arrays(np.float64, st.tuples(st.integers(1, 4), st.just(6), st.just(4)), elements=st.floats(0, 3))


def row(name: str, values: Any, kind: str = "rival") -> Row:
    return Row(name, name.upper(), kind, np.asarray(values, dtype=np.float64), 1.5, 2, 0)


def constant(name: str, value: float, kind: str = "rival", *, images: int = 4, seeds: int = 1) -> Row:
    return row(name, np.full((seeds, images, 4), value), kind)


def table(*rows: Row, categories: str = "aabb") -> Table:
    return Table(rows, TRACES, list(categories), BOOTSTRAP)


def test_the_ratio_is_a_geometric_mean_over_images_of_the_mean_over_seeds() -> None:
    values = np.zeros((2, 2, 4))
    values[:, 0, 3] = np.log([2, 8])  # the first image: 4 times smaller in the geometric mean of its two seeds
    values[:, 1, 3] = np.log([16, 16])
    [shown] = table(row("tpe", values), categories="ab").to_json()["rows"]
    assert [point["ratio"] for point in shown["curve"]] == pytest.approx([1, 1, 1, 1 / 8])
    assert (shown["curve"][3]["low"], shown["curve"][3]["high"]) == pytest.approx((1 / 16, 1 / 4))
    assert (shown["logos"], shown["seeds"]) == (2, 2)


def test_the_spread_between_seeds_is_of_the_mean_and_unknown_for_one() -> None:
    values = np.zeros((2, 2, 4))
    values[1, :, 0] = [0.1, 0.3]
    assert row("tpe", values).seed_spread() == pytest.approx([0.2 / np.sqrt(2), 0, 0, 0])
    assert row("tpe", values[:1]).seed_spread() == [None] * 4


@given(values_of_runs)
def test_every_ratio_lies_in_its_interval_and_the_order_of_the_seeds_does_not_matter(values: np.ndarray) -> None:
    shown = table(row("tpe", values), categories="aabbcc").to_json()
    for point in shown["rows"][0]["curve"]:
        assert point["low"] - 1e-12 <= point["ratio"] <= point["high"] + 1e-12
    turned = table(row("tpe", values[::-1]), categories="aabbcc").to_json()
    assert turned["rows"][0]["curve"][0]["ratio"] == pytest.approx(shown["rows"][0]["curve"][0]["ratio"])


def test_the_agent_with_8_traces_fights_rivals_with_64_and_the_untrained_at_each_number() -> None:
    agent = row("agent", [[[0, 0.5, 0.6, 0.7]] * 4], "ours")
    rival = row("tpe", [[[0, 0.1, 0.2, 0.4]] * 4])
    plain = row("untrained", [[[0, 0.2, 0.3, 0.9]] * 4], "reference")
    duels = table(agent, rival, plain, constant("preset", 9, "reference")).to_json()["duels"]
    assert [(d["traces"], d["against"], d["its_traces"]) for d in duels] == [
        (8, "tpe", 64),
        *((n, "untrained", n) for n in TRACES),
    ]
    assert [d["gain"]["mean"] for d in duels] == pytest.approx([0.1, 0, 0.3, 0.3, -0.2])
    assert [(d["wins"], d["ties"], d["losses"]) for d in duels] == [
        (4, 0, 0),
        (0, 4, 0),
        (4, 0, 0),
        (4, 0, 0),
        (0, 0, 4),
    ]


def test_a_duel_is_paired_over_the_images_that_both_have() -> None:
    agent = row("agent", np.arange(4.0)[None, :, None] * np.ones(4), "ours")
    slow = row("gp", (np.arange(2.0) - 0.25)[None, :, None] * np.ones(4))
    [duel] = table(agent, slow).to_json()["duels"]
    assert (duel["logos"], duel["wins"]) == (2, 2)
    assert duel["gain"] == pytest.approx({"mean": 0.25, "low": 0.25, "high": 0.25})


def test_categories_are_told_for_the_agent_and_the_best_rival() -> None:
    by_category = np.repeat([0.0, np.log(2)], 2)[None, :, None] * np.ones(4)
    best = row("gp", by_category)
    shown = table(constant("agent", 1, "ours"), constant("random", 0), best, constant("polygon", 5, "reference"))
    told = shown.to_json()["by_category"]
    assert list(told) == ["agent", "gp"]
    assert told["gp"]["a"]["logos"] == 2
    assert [told["gp"][category]["curve"][0]["ratio"] for category in "ab"] == pytest.approx([1, 0.5])


def test_without_the_agent_there_is_no_duel() -> None:
    assert table(constant("tpe", 1)).to_json()["duels"] == []


def report(shown: Table) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "command": "python -m benchmarks.bench_agent",
        "cores": 2,
        "versions": {"python": "3.11"},
        "logos": 4,
        "categories": {"a": 2, "b": 2},
        "confidence": 0.95,
        "inference_milliseconds": 1.25,
        "objectives": {"smaller": shown.to_json()},
    }


def test_markdown_tables_are_rectangular_and_hold_every_method_and_duel() -> None:
    rows = constant("agent", 1, "ours", seeds=2), constant("tpe", 0.5), constant("gp", 0.2, images=2)
    text = markdown(report(table(*rows, replace(rows[1], name="untrained", kind="reference"))))
    grids = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(grids) == 4  # methods, categories of two, duels
    assert all(len({line.count("|") for line in grid}) == 1 for grid in grids)
    assert "| AGENT | 0.368 (0.368 to 0.368) |" in text
    assert "| 4 x 2 |" in text
    assert "| 2 x 1 |" in text
    assert "| 8 | tpe | 64 | +0.500 (+0.500 to +0.500) | 4 / 0 / 0 | 4 |" in text
