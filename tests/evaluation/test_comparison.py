import numpy as np
import pytest

from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.records import Scored
from pipeline.evaluation.comparison import curve, duel, image_rows
from pipeline.search.loop import Outcome
from tests.support.fakes import task_of

BOOTSTRAP = Bootstrap(500, 0.95, 1)


def outcomes(values: list[float], offset: int = 0) -> list[Outcome]:
    made = []
    for seed, value in enumerate(values, offset):
        task = task_of(seed)
        best = Scored(task.logo.digest, task.default.params, task.scores, 0.1, "<svg/>") if value else None
        made.append(Outcome(task, [None, best], [0.0, value]))
    return made


def test_the_ratio_is_the_geometric_mean_and_the_interval_holds_it() -> None:
    [first, second] = curve(outcomes([np.log(2), np.log(8)]), [1, 2], BOOTSTRAP)
    assert first.ratio == Interval(1.0, 1.0, 1.0)
    assert second.ratio.mean == pytest.approx(0.25)
    assert second.ratio.low <= 0.25 <= second.ratio.high


def test_a_duel_is_paired_and_needs_certainty() -> None:
    ours, theirs = outcomes([0.5 + 0.01 * n for n in range(20)]), outcomes([0.4 + 0.01 * n for n in range(20)])
    won = duel("tpe", ours, theirs, 2, BOOTSTRAP)
    assert (won.better, won.wins, won.losses, won.ties) == (True, 20, 0, 0)
    assert duel("tpe", theirs, ours, 2, BOOTSTRAP).better is False
    assert duel("tpe", ours, ours, 2, BOOTSTRAP).better is None
    assert duel("tpe", ours, ours, 2, BOOTSTRAP).ties == 20
    assert duel("tpe", ours, theirs, 1, BOOTSTRAP).better is None


def test_rows_tell_what_was_chosen_and_whether_it_is_the_default() -> None:
    rows = list(image_rows("agent", outcomes([0.7, 0.0]), [1, 2]))
    assert [(r["traces"], r["improved"]) for r in rows] == [(1, False), (2, True), (1, False), (2, False)]
    assert rows[1]["ratio"] == pytest.approx(np.exp(-0.7))
    assert rows[3]["bytes"] == rows[3]["default_bytes"]
