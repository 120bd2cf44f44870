"""A choice stands only where another renderer would have let it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.core.facts.comparison import Difference
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Scored
from pipeline.evaluation.second_renderer import Opinion, opinions_report, second_opinions, second_renderer
from tests.support.fakes import FAITHFUL, FakeEvaluator, scores, task_of

TASK = task_of(1)


class Second(FakeEvaluator):
    """Another renderer, by the damage that it sees; None: it draws nothing."""

    def __init__(self, damage: float | None) -> None:
        super().__init__()
        self._damage = damage

    def _one(self, job: Job) -> Evaluation:
        if self._damage is None:
            return Failed(job.logo.digest, job.params, "unrenderable", "why", 0.1)
        return Scored(job.logo.digest, job.params, scores(damage=self._damage), 0.1)


def choice(damage: float) -> Scored:
    return Scored(TASK.logo.digest, replace(DEFAULT_PARAMS, palette=4), scores(svg_bytes=500, damage=damage), 0.1)


@pytest.mark.parametrize(
    ("first", "second", "upheld"),
    [
        (0.5, 0.5, True),
        (0.5, 2.0, True),  # twice the limit of 1 pixel
        (0.5, 2.1, False),
        (3.0, 6.0, True),  # the first saw that damage too
        (3.0, 6.1, False),
        (0.5, None, False),
    ],
)
def test_a_choice_stands_unless_the_second_sees_much_more_damage(
    first: float, second: float | None, upheld: bool
) -> None:
    [opinion] = second_opinions([(TASK, choice(first))], FAITHFUL, Second(second))
    assert opinion.upheld == upheld
    assert opinion.path == TASK.logo.name
    assert opinion.damage == (None if second is None else pytest.approx(second - first))


def test_the_limit_is_the_objectives() -> None:
    """`target` allows 20 pixels here, so 40 for the second renderer."""
    target = replace(FAITHFUL, name="target")
    assert [second_opinions([(TASK, choice(0.5))], target, Second(d))[0].upheld for d in (40.0, 41.0)] == [True, False]


def test_the_report_names_who_is_in_doubt() -> None:
    opinions = [*second_opinions([(TASK, choice(0.5))] * 2, FAITHFUL, Second(4.5)), Opinion("b.png", None, False)]
    report = opinions_report("resvg-py 1", opinions)
    assert (report.images, report.upheld, report.not_upheld) == (3, 0, (TASK.logo.name,) * 2 + ("b.png",))
    assert report.damage_difference == Difference(mean=4.0, max=4.0)
    assert opinions_report("resvg-py 1", []).damage_difference is None


def test_differences_are_absolute() -> None:
    """Where the second renderer sees less damage it differs as well."""
    report = opinions_report("resvg-py 1", [Opinion("a.png", -3.0, True), Opinion("b.png", 1.0, True)])
    assert report.damage_difference == Difference(mean=2.0, max=3.0)


def test_resvg_is_asked_where_skia_draws_and_nobody_where_resvg_does() -> None:
    assert second_renderer("skia-python 138.0") == "resvg-py"
    assert second_renderer("resvg-py 0.3") is None
