from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.agent.candidates import Points
from pipeline.agent.features import context_of
from pipeline.agent.objectives import value_of
from pipeline.agent.outcome import informative_gate
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, Evaluation, Job, ObjectiveName, Pruned, Scored
from pipeline.tracing.space import ParameterSpace
from pipeline.training.surrogate_fit import Table
from pipeline.training.table import BANK_SIZE, collect
from tests.support.fakes import SMALLER, FakeEvaluator, settings_with, space_of, task_of

SPACE = space_of()
TASKS = [task_of(seed) for seed in range(9)]
PER_IMAGE = 40


def collected(
    evaluator: FakeEvaluator | None = None, space: ParameterSpace = SPACE, **changes: Any
) -> tuple[Table, dict[ObjectiveName, Points]]:
    options: dict[str, Any] = {"per_image": PER_IMAGE, "seed": 1} | changes
    return collect(TASKS, evaluator or FakeEvaluator(), SMALLER, space, **options)


def test_each_image_has_about_as_many_different_settings_as_were_asked_for() -> None:
    evaluator = FakeEvaluator()
    told: list[int] = []
    table, _ = collected(evaluator, on_traces=told.append)
    counts = np.bincount(table.image, minlength=len(TASKS))
    assert counts.min() >= 0.8 * PER_IMAGE
    assert counts.max() <= PER_IMAGE
    assert sum(told) == len(evaluator.jobs) == len(table.points) == len(table.outcomes)
    for index in range(len(TASKS)):
        own = [SPACE.decode(point) for point in table.points[table.image == index]]
        assert len(set(own)) == len(own)


LARGE = 7


class Bulky(FakeEvaluator):
    """Seven bits per channel give files that are far too large: only their size is measured."""

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        return [self._weighed(evaluation) for evaluation in super().evaluate(jobs)]

    def _weighed(self, evaluation: Evaluation) -> Evaluation:
        if evaluation.params.color_precision != LARGE:
            return evaluation
        return Pruned(evaluation.digest, evaluation.params, 9000, None, 0.01)


def test_the_table_says_what_each_trace_gave() -> None:
    evaluator = Bulky()
    table, _ = collected(evaluator)
    np.testing.assert_array_equal(table.contexts, [context_of(task) for task in TASKS])
    asked = {(job.logo.digest, job.params) for job in evaluator.jobs}
    rows = zip(table.image, table.points, strict=True)
    assert {(TASKS[i].logo.digest, SPACE.decode(point)) for i, point in rows} == asked
    assert all(job.gate == informative_gate(TASKS[0].scores) for job in evaluator.jobs)
    large = np.array([SPACE.decode(point).color_precision == LARGE for point in table.points])
    assert 0 < large.sum() < len(large)
    assert np.isnan(table.outcomes[large]).tolist() == [[False, True, True]] * int(large.sum())
    assert not np.isnan(table.outcomes[~large]).any()


def test_later_settings_are_better_than_the_first_random_ones() -> None:
    evaluator = FakeEvaluator()
    collected(evaluator)
    values = [
        value_of(SMALLER, evaluation, TASKS[0].scores) or 0.0 for evaluation in evaluator.evaluate(evaluator.jobs[:])
    ]
    third = len(values) // 3
    assert np.mean(values[-third:]) > np.mean(values[:third]) + 0.1


def test_a_seed_gives_the_same_table_and_another_another() -> None:
    def points(seed: int) -> list[list[float]]:
        found: list[list[float]] = collected(seed=seed)[0].points.tolist()
        return found

    assert points(1) == points(1) != points(2)


def test_a_bank_holds_settings_that_were_allowed_and_better_than_the_default() -> None:
    _, banks = collected()
    assert set(banks) == set(OBJECTIVES)
    for name, points in banks.items():
        assert 0 < len(points) <= min(BANK_SIZE, len(TASKS))
        jobs = [Job(TASKS[0].logo, SPACE.decode(point)) for point in points]
        sought = replace(SMALLER, name=name)
        values = [value_of(sought, evaluation, TASKS[0].scores) for evaluation in FakeEvaluator().evaluate(jobs)]
        assert all(value is not None and value > 0 for value in values)


class Tempting(FakeEvaluator):
    """Small palettes halve the bytes and damage a little more than is allowed: graded well, and still no gain."""

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        return [self._tempting(evaluation) for evaluation in super().evaluate(jobs)]

    def _tempting(self, evaluation: Evaluation) -> Evaluation:
        if not isinstance(evaluation, Scored) or evaluation.params.palette not in range(2, 9):
            return evaluation
        scores = replace(evaluation.scores, svg_bytes=evaluation.scores.svg_bytes // 2, damage=2.1)
        return replace(evaluation, scores=scores)


def test_what_is_not_allowed_is_in_no_bank_however_well_it_is_graded() -> None:
    _, banks = collected(Tempting())
    assert all(SPACE.decode(point).palette not in range(2, 9) for point in banks["smaller"])


def test_every_setting_lies_in_the_space() -> None:
    freedoms = {"tracing__palette": {"choices": [0, 4]}, "tracing__color_precision": {"low": 2, "high": 4}}
    space = space_of(settings_with(**freedoms))
    evaluator = FakeEvaluator()
    table, banks = collected(evaluator, space)
    assert all(space.contains(job.params) for job in evaluator.jobs)
    assert all(points.shape[1] == space.size for points in (table.points, *banks.values()))


def test_a_small_space_gives_as_many_as_it_has() -> None:
    fixed = {f"tracing__{axis.name}": {"fixed": getattr(DEFAULT_PARAMS, axis.name)} for axis in SPACE.axes}
    space = space_of(settings_with(**fixed | {"tracing__path_precision": {"choices": [0, 1, 2]}}))
    table, _ = collected(space=space)
    assert np.bincount(table.image).tolist() == [3] * len(TASKS)


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["half", "all"])
def test_what_fails_is_known_to_be_bad_and_in_no_bank(share: float) -> None:
    evaluator = FakeEvaluator(fails=lambda job: job.params.palette <= 32 * share)
    table, banks = collected(evaluator)
    failed = np.array([SPACE.decode(point).palette <= 32 * share for point in table.points])
    assert failed.mean() > 0.3
    assert np.isnan(table.outcomes[failed]).tolist() == [[True, False, False]] * int(failed.sum())
    assert all(SPACE.decode(point).palette > 32 * share for points in banks.values() for point in points)
    assert share < 1 or not any(len(points) for points in banks.values())


def test_it_can_be_left_while_the_next_settings_are_made() -> None:
    class Left(Exception):
        pass

    evaluator = FakeEvaluator()
    asked = iter(range(len(TASKS) + 3))

    def leave() -> None:
        if next(asked, None) is None:
            raise Left

    with pytest.raises(Left):
        collected(evaluator, check_stop=leave)
    assert 0 < len(evaluator.jobs) < PER_IMAGE * len(TASKS)  # the first round was traced, the second was not
