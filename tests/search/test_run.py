import numpy as np

from pipeline.records import DEFAULT_PARAMS
from pipeline.rl.episode import Episode
from pipeline.search.rivals import Listed, RandomSearch
from pipeline.search.run import Outcome, Proposer, run_searches
from tests.fakes import SMALLER, FakeEvaluator, space_of, task_of

SPACE = space_of()
GOOD = SPACE.decode(np.full(SPACE.size, 0.5))
WORSE = SPACE.decode(np.full(SPACE.size, 0.95))


def searched(proposer: Proposer, traces: int, evaluator: FakeEvaluator | None = None, seed: int = 1) -> Outcome:
    episode = Episode(task_of(seed), SMALLER, SPACE, (), traces)
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
    pairs = [(Episode(task_of(s), SMALLER, SPACE, (), 6), RandomSearch(5)) for s in (1, 2, 3)]
    among = run_searches(pairs, FakeEvaluator())[1]
    assert among.values == alone.values


def test_the_default_evaluated_again_is_no_gain() -> None:
    outcome = searched(Listed([DEFAULT_PARAMS]), 1)
    assert outcome.chosen_at(1).scores.svg_bytes <= outcome.task.scores.svg_bytes
