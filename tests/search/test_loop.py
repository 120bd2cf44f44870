from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.agent.episode import Episode
from pipeline.core.records import DEFAULT_PARAMS, EVERYTHING, Evaluation, Job
from pipeline.search.loop import PIECE, Outcome, Proposer, evaluate_again, evaluate_all, run_searches, svg_text
from pipeline.search.rivals import FixedSequence, RandomSearch
from pipeline.tracing.evaluator import Pending
from tests.support.fakes import FAITHFUL, Done, FakeEvaluator, space_of, task_of

SPACE = space_of()
GOOD = SPACE.decode(np.full(SPACE.size, 0.5))
WORSE = SPACE.decode(np.full(SPACE.size, 0.95))


def searched(proposer: Proposer, traces: int, evaluator: FakeEvaluator | None = None, seed: int = 1) -> Outcome:
    episode = Episode(task_of(seed), FAITHFUL, SPACE, traces)
    return run_searches([(episode, proposer)], evaluator or FakeEvaluator(), keep_svg=True)[0]


def test_nothing_better_leaves_the_default() -> None:
    outcome = searched(FixedSequence([WORSE]), 4)
    assert outcome.value_at(4) == 0
    assert outcome.best_at(4) is None
    assert outcome.chosen_at(4) is outcome.task.default


def test_the_best_so_far_stands_at_every_number_of_traces() -> None:
    outcome = searched(FixedSequence([WORSE, GOOD, WORSE]), 8)
    assert [outcome.value_at(n) for n in (0, 1)] == [0, 0]
    assert outcome.value_at(2) == outcome.value_at(3) == outcome.value_at(8) > 0
    assert outcome.chosen_at(8).params == GOOD
    assert outcome.chosen_at(8).svg


def test_no_search_traces_more_than_it_may() -> None:
    evaluator = FakeEvaluator()
    searched(RandomSearch(1), 7, evaluator)
    assert len(evaluator.jobs) == 7


def test_failures_are_counted_and_cost_a_trace() -> None:
    evaluator = FakeEvaluator(fails=lambda job: job.params == GOOD)
    outcome = searched(FixedSequence([GOOD, WORSE]), 2, evaluator)
    assert [f.kind for f in outcome.failures] == ["panic"]
    assert len(outcome.values) == 2
    assert outcome.value_at(2) == 0


def test_an_image_gets_the_same_result_alone_and_among_others() -> None:
    alone = searched(RandomSearch(5), 6, seed=2)
    pairs = [(Episode(task_of(s), FAITHFUL, SPACE, 6), RandomSearch(5)) for s in (1, 2, 3)]
    among = run_searches(pairs, FakeEvaluator())[1]
    assert among.values == alone.values


class Late(Done):
    """Done once somebody waited for it."""

    def __init__(self, evaluations: list[Evaluation]) -> None:
        super().__init__(evaluations)
        self.waited_for = False

    @property
    def done(self) -> bool:
        return self.waited_for


class LastFirst(FakeEvaluator):
    """Of the traces under way only the one handed in last is ever done. most: under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0

    def submit_each(self, jobs: Sequence[Job]) -> list[Done]:
        return [Late(self.evaluate([job])) for job in jobs]

    def wait(self, pending: Sequence[Pending]) -> None:
        self.most = max(self.most, len(pending))
        last = pending[-1]
        assert isinstance(last, Late)
        last.waited_for = True


def test_outcomes_do_not_depend_on_whose_trace_is_done_first() -> None:
    def outcomes(evaluator: FakeEvaluator) -> list[Outcome]:
        pairs = [(Episode(task_of(s), FAITHFUL, SPACE, 3 + s), RandomSearch(s)) for s in (1, 2, 3)]
        traces: list[int] = []
        found = run_searches(pairs, evaluator, on_traces=traces.append)
        assert sum(traces) == 4 + 5 + 6
        return found

    late = LastFirst()
    assert [o.values for o in outcomes(late)] == [o.values for o in outcomes(FakeEvaluator())]
    assert late.most == 3


@pytest.mark.parametrize("keep_svg", [False, True])
def test_what_was_chosen_is_evaluated_again_with_all_that_is_reported(keep_svg: bool) -> None:
    evaluator, outcome = FakeEvaluator(), searched(FixedSequence([GOOD]), 1)
    found = outcome.chosen_at(1)
    assert found.scores.metrics is None
    [again] = evaluate_again([(outcome, 1)], evaluator, keep_svg=keep_svg)
    assert again.scores == replace(found.scores, metrics=again.scores.reported)
    assert (again.params, again.svg is not None) == (GOOD, keep_svg)
    assert [(job.gate, job.metrics) for job in evaluator.jobs] == [(EVERYTHING, True)]


def test_what_cannot_be_made_again_costs_its_image_alone_and_is_told() -> None:
    lost, kept = (searched(FixedSequence([DEFAULT_PARAMS, GOOD]), 2) for _ in range(2))
    refused = FakeEvaluator(lambda job: job.keep_svg and job.params == GOOD)
    instead, _ = evaluate_again([(lost, 2), (lost, 1)], refused, keep_svg=True)
    assert instead is lost.task.default
    assert (lost.value_at(2), lost.best_at(2), lost.is_withdrawn) == (0.0, None, True)
    assert [failed.kind for failed in lost.failures] == ["panic"]
    assert len(lost.made) == 1
    [again] = evaluate_again([(kept, 2)], FakeEvaluator())
    assert (again.params, kept.is_withdrawn, kept.failures) == (GOOD, False, [])


def test_a_default_that_cannot_be_made_again_has_no_svg() -> None:
    outcome = Outcome(replace(task_of(1), default=replace(task_of(1).default, svg=None)))
    [again] = evaluate_again([(outcome, 1)], FakeEvaluator(fails=lambda job: True), keep_svg=True)
    assert (again, outcome.is_withdrawn) == (outcome.task.default, True)
    assert again.svg is None


def test_what_has_its_metrics_already_is_traced_once_more_for_its_svg_only() -> None:
    evaluator, outcome = FakeEvaluator(), Outcome(task_of(1))
    assert evaluate_again([(outcome, 1)], evaluator) == [outcome.task.default]
    assert evaluator.jobs == []
    found = searched(FixedSequence([GOOD]), 1)
    first, second = evaluate_again([(outcome, 1), (found, 1)], evaluator)
    assert (first, second.params) == (outcome.task.default, GOOD)
    assert len(evaluator.jobs) == 1


def test_an_svg_that_was_not_kept_is_not_made_up() -> None:
    assert svg_text(task_of(1).default) == "<svg/>"
    with pytest.raises(ValueError, match="keep_svg"):
        svg_text(replace(task_of(1).default, svg=None))


def test_the_default_evaluated_again_is_no_gain() -> None:
    outcome = searched(FixedSequence([DEFAULT_PARAMS]), 1)
    assert outcome.chosen_at(1).scores.svg_bytes <= outcome.task.scores.svg_bytes


def test_searches_go_without_metrics_and_with_an_svg_only_where_it_is_wanted() -> None:
    for keep_svg in (False, True):
        evaluator = FakeEvaluator()
        pairs = [(Episode(task_of(1), FAITHFUL, SPACE, 3), RandomSearch(1))]
        run_searches(pairs, evaluator, keep_svg=keep_svg)
        assert [(job.keep_svg, job.metrics) for job in evaluator.jobs] == [(keep_svg, False)] * 3


def test_many_evaluations_come_in_order_and_are_told_of_as_they_are_done() -> None:
    rng = np.random.default_rng(1)
    told: list[int] = []
    jobs = [Job(task_of(1).logo, SPACE.decode(rng.random(SPACE.size).astype(np.float32))) for _ in range(2 * PIECE + 3)]
    evaluator = FakeEvaluator()
    assert [e.params for e in evaluate_all(jobs, evaluator, told.append)] == [job.params for job in jobs]
    assert told == [PIECE, PIECE, 3]
    assert evaluator.jobs == jobs
    assert evaluate_all([], evaluator, told.append) == []
