from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.agent.episode import Episode
from pipeline.core.errors import DataError
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Job, Scored
from pipeline.search.loop import PIECE, Outcome, Proposer, evaluate_all, run_searches, svg_texts
from pipeline.search.rivals import Listed, RandomSearch
from pipeline.tracing.tracer_pool import Pending
from tests.support.fakes import SMALLER, Done, FakeEvaluator, space_of, task_of

SPACE = space_of()
GOOD = SPACE.decode(np.full(SPACE.size, 0.5))
WORSE = SPACE.decode(np.full(SPACE.size, 0.95))


def searched(proposer: Proposer, traces: int, evaluator: FakeEvaluator | None = None, seed: int = 1) -> Outcome:
    episode = Episode(task_of(seed), SMALLER, SPACE, traces)
    return run_searches([(episode, proposer)], evaluator or FakeEvaluator(), keep_svg=True)[0]


def test_nothing_better_leaves_the_default() -> None:
    outcome = searched(Listed([WORSE]), 4)
    assert outcome.value_at(4) == 0
    assert outcome.best_at(4) is None
    assert outcome.chosen_at(4) is outcome.task.default


def test_the_best_so_far_stands_at_every_number_of_traces() -> None:
    outcome = searched(Listed([WORSE, GOOD, WORSE]), 8)
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
    outcome = searched(Listed([GOOD, WORSE]), 2, evaluator)
    assert [f.kind for f in outcome.failures] == ["panic"]
    assert len(outcome.values) == 2
    assert outcome.value_at(2) == 0


def test_an_image_gets_the_same_result_alone_and_among_others() -> None:
    alone = searched(RandomSearch(5), 6, seed=2)
    pairs = [(Episode(task_of(s), SMALLER, SPACE, 6), RandomSearch(5)) for s in (1, 2, 3)]
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
        pairs = [(Episode(task_of(s), SMALLER, SPACE, 3 + s), RandomSearch(s)) for s in (1, 2, 3)]
        traces: list[int] = []
        found = run_searches(pairs, evaluator, on_traces=traces.append)
        assert sum(traces) == 4 + 5 + 6
        return found

    late = LastFirst()
    assert [o.values for o in outcomes(late)] == [o.values for o in outcomes(FakeEvaluator())]
    assert late.most == 3


def test_svgs_that_were_not_kept_are_traced_once_more() -> None:
    task = task_of(1)
    evaluator = FakeEvaluator()
    [text] = svg_texts([(task.logo, Scored(task.logo.digest, GOOD, task.scores, 0.1))], evaluator)
    assert str(GOOD.layer_difference) in text
    assert evaluator.jobs[0].keep_svg
    with pytest.raises(DataError, match=task.logo.name):
        svg_texts([(task.logo, task.default)], FakeEvaluator(fails=lambda job: True))


def test_the_default_evaluated_again_is_no_gain() -> None:
    outcome = searched(Listed([DEFAULT_PARAMS]), 1)
    assert outcome.chosen_at(1).scores.svg_bytes <= outcome.task.scores.svg_bytes


def test_many_evaluations_come_in_order_and_are_told_of_as_they_are_done() -> None:
    rng = np.random.default_rng(1)
    told: list[int] = []
    jobs = [Job(task_of(1).logo, SPACE.decode(rng.random(SPACE.size).astype(np.float32))) for _ in range(2 * PIECE + 3)]
    evaluator = FakeEvaluator()
    assert [e.params for e in evaluate_all(jobs, evaluator, told.append)] == [job.params for job in jobs]
    assert told == [PIECE, PIECE, 3]
    assert evaluator.jobs == jobs
    assert evaluate_all([], evaluator, told.append) == []
