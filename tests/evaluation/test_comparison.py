from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, ObjectiveName, Pruned, Scored, Scores
from pipeline.core.tradeoff import TracePoint
from pipeline.evaluation.comparison import (
    DAMAGE_LIMITS,
    curve,
    duel,
    image_rows,
    is_damaged,
    knee_of,
    size_gain,
    tradeoff,
)
from pipeline.search.loop import Outcome
from tests.support.fakes import FakeEvaluator, formula, scores, task_of

BOOTSTRAP = Bootstrap(500, 0.95, 1)


def outcomes(gains: Sequence[float], damage: float = 0.0) -> list[Outcome]:
    """After the first trace the default still stands, the second saves exp(-gain) of the bytes; gain 0 finds none."""
    return [
        outcome(seed, gain, scores(svg_bytes=round(1000 * np.exp(-gain)), damage=damage))
        for seed, gain in enumerate(gains)
    ]


def outcome(seed: int, value: float, found: Scores) -> Outcome:
    task = task_of(seed)
    best = Scored(task.logo.digest, replace(DEFAULT_PARAMS, palette=4), found, 0.1) if value else None
    return Outcome(task, [None, best], [0.0, value])


def test_the_ratio_is_the_geometric_mean_of_bytes_and_the_interval_holds_it() -> None:
    [first, second] = curve(outcomes([np.log(2), np.log(8)]), [1, 2], BOOTSTRAP)
    assert first.ratio == Interval(1.0, 1.0, 1.0)
    assert second.ratio.mean == pytest.approx(0.25)
    assert second.ratio.low <= 0.25 <= second.ratio.high


def test_the_ratio_is_of_bytes_whatever_the_value() -> None:
    """Repairing a damaged default is worth much, and it costs bytes."""
    [repaired] = curve([outcome(0, 9.0, scores(svg_bytes=2000, damage=0.5))], [2], BOOTSTRAP)
    assert repaired.ratio.mean == pytest.approx(2.0)
    assert repaired.value.mean == pytest.approx(9.0)


def test_the_damaged_share_counts_pictures_that_show_it() -> None:
    two = [outcome(0, 0.5, scores(damage=1.01)), outcome(1, 0.5, scores(damage=1.0))]
    [before, after] = curve(two, [1, 2], BOOTSTRAP)
    assert before.damaged.mean == 0.0, "the defaults stand, and they are sound"
    assert after.damaged.mean == 0.5
    assert [is_damaged(o, 2) for o in two] == [True, False]


def test_size_against_damage_takes_the_smallest_of_each_image_within_the_limit() -> None:
    """The default, 1000 bytes and half a pixel of damage, is one of the traces: within none it is the least damaged."""
    made = ((TracePoint(500, 2.0), TracePoint(250, 40.0)), (TracePoint(500, 0.5),))
    found = [
        replace(o, evaluations=[Pruned(o.task.logo.digest, DEFAULT_PARAMS, t.bytes, t.damage, 0.1) for t in traces])
        for o, traces in zip(outcomes([0.0, 0.0]), made, strict=True)
    ]
    points = tradeoff(found, BOOTSTRAP)
    ratios = {point.max_damage: (point.ratio.mean, point.damaged.mean) for point in points}
    assert [p.max_damage for p in points] == list(DAMAGE_LIMITS)
    assert ratios[0] == pytest.approx((0.5**0.5, 0.0))
    assert ratios[1] == pytest.approx((0.5**0.5, 0.0))
    assert ratios[3] == pytest.approx((0.5, 0.5))
    assert ratios[30] == pytest.approx((0.5, 0.5))
    assert ratios[100] == pytest.approx((0.125**0.5, 0.5))
    assert knee_of(points) == 3
    assert knee_of(tradeoff(outcomes([0.0, 0.0]), BOOTSTRAP)) is None


def test_a_duel_is_paired_and_needs_certainty() -> None:
    ours, theirs = outcomes([0.5 + 0.01 * n for n in range(20)]), outcomes([0.4 + 0.01 * n for n in range(20)])
    won = duel("tpe", ours, theirs, 2, "faithful", BOOTSTRAP)
    assert (won.better, won.wins, won.losses, won.ties) == (True, 20, 0, 0)
    assert duel("tpe", theirs, ours, 2, "faithful", BOOTSTRAP).better is False
    same = duel("tpe", ours, ours, 2, "faithful", BOOTSTRAP)
    assert (same.better, same.ties) == (None, 20)
    assert duel("tpe", ours, theirs, 1, "faithful", BOOTSTRAP).better is None


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_duel_tells_of_bytes_where_bytes_are_sought_and_else_of_the_value(objective: ObjectiveName) -> None:
    ours = [outcome(n, 3.0, scores(svg_bytes=500, damage=0.0)) for n in range(4)]
    theirs = [outcome(n, 1.0, scores(svg_bytes=400, damage=5.0)) for n in range(4)]
    found = duel("tpe", ours, theirs, 2, objective, BOOTSTRAP)
    assert found.gain.mean == pytest.approx(2.0)
    told = 2.0 if objective in ("sharper", "balanced") else -np.log(500 / 400)
    assert found.difference.mean == pytest.approx(told)
    assert (found.damaged, found.rival_damaged) == (0, 4)


def test_a_duel_refuses_outcomes_of_different_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        duel("tpe", outcomes([0.5, 0.5]), outcomes([0.5]), 2, "faithful", BOOTSTRAP)


@given(st.lists(st.floats(0.0, 1.5), min_size=1, max_size=12))
def test_a_size_gain_is_the_log_of_the_bytes_saved(gains: list[float]) -> None:
    for found, gain in zip(outcomes(gains), gains, strict=True):
        assert size_gain(found, 1) == 0.0
        assert size_gain(found, 2) == pytest.approx(gain, abs=0.003)


def test_rows_tell_what_was_chosen_and_whether_it_is_the_default() -> None:
    evaluator = FakeEvaluator()
    rows = list(image_rows("agent", outcomes([0.7, 0.0]), [1, 2], evaluator))
    assert [(r["traces"], r["improved"]) for r in rows] == [(1, False), (2, True), (1, False), (2, False)]
    assert {r["method"] for r in rows} == {"agent"}
    assert rows[3]["bytes"] == rows[3]["default_bytes"] == 1000
    assert (rows[3]["ratio"], rows[3]["damage"]) == (1.0, rows[3]["default_damage"])


def test_rows_measure_again_what_a_search_left_unmeasured() -> None:
    """A search goes without metrics; only its one choice is traced anew for the table."""
    evaluator = FakeEvaluator()
    rows = list(image_rows("agent", outcomes([0.7, 0.0]), [1, 2], evaluator))
    [job] = evaluator.jobs
    assert job.metrics
    assert job.params.palette == 4
    assert rows[1]["bytes"] == formula(job.params).svg_bytes
    assert rows[1]["ssim"] == pytest.approx(1 - formula(job.params).delta / 20)


def test_a_picture_that_cannot_be_made_again_counts_as_the_default() -> None:
    found = outcomes([0.7, 0.7])
    refuses = FakeEvaluator(fails=lambda job: job.logo.digest == found[0].task.logo.digest)
    rows = list(image_rows("agent", found, [1, 2], refuses))
    assert [(r["improved"], r["failures"]) for r in rows] == [(False, 1), (False, 1), (False, 0), (True, 0)]
    assert (rows[1]["value"], rows[1]["ratio"]) == (0.0, 1.0)
    assert [o.is_withdrawn for o in found] == [True, False]
