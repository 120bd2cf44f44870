from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from pipeline.agent.episode import Episode
from pipeline.core.records import DEFAULT_PARAMS, TracerParams
from pipeline.search.loop import Outcome, Proposer, run_searches
from pipeline.search.rivals import CMAESSearch, GPSearch, RandomSearch, StudySearch, TPESearch, compress_negative
from pipeline.tracing.space import ParameterSpace
from tests.support.fakes import FAITHFUL, FakeEvaluator, formula, settings_with, space_of, task_of

SPACE = space_of()
FREE = ("filter_speckle", "layer_difference", "steps_per_pixel", "color_precision")
SMALL_SPACE = space_of(
    settings_with(
        **{f"tracing__{a.name}": {"fixed": getattr(DEFAULT_PARAMS, a.name)} for a in SPACE.axes if a.name not in FREE}
    )
)
Make = Callable[[int], Proposer]
STUDIES: list[Make] = [lambda seed: TPESearch(seed, 4), GPSearch, CMAESSearch]
every_study = pytest.mark.parametrize("make", STUDIES, ids=["tpe", "gp", "cmaes"])
every_search = pytest.mark.parametrize("make", [RandomSearch, *STUDIES], ids=["random", "tpe", "gp", "cmaes"])


def searched(proposer: Proposer, traces: int, evaluator: FakeEvaluator, space: ParameterSpace = SMALL_SPACE) -> Outcome:
    return run_searches([(Episode(task_of(1), FAITHFUL, space, traces), proposer)], evaluator)[0]


def proposed(make: Make, seed: int, traces: int, space: ParameterSpace = SMALL_SPACE) -> list[TracerParams]:
    evaluator = FakeEvaluator()
    searched(make(seed), traces, evaluator, space)
    return [job.params for job in evaluator.jobs]


@every_search
def test_every_proposal_lies_in_the_space(make: Make) -> None:
    assert all(SPACE.contains(params) for params in proposed(make, 1, 8, SPACE))


@every_search
def test_a_seed_gives_the_same_search(make: Make) -> None:
    assert proposed(make, 1, 8) == proposed(make, 1, 8) != proposed(make, 2, 8)


@pytest.mark.parametrize(("study", "traces", "seeds"), [(0, 24, 6), (1, 16, 2), (2, 64, 4)], ids=["tpe", "gp", "cmaes"])
def test_a_study_learns_what_random_search_does_not(study: int, traces: int, seeds: int) -> None:
    def reached(make: Make) -> float:
        found = [searched(make(seed), traces, FakeEvaluator(), SPACE).value_at(traces) for seed in range(seeds)]
        return float(np.mean(found))

    assert reached(STUDIES[study]) > reached(RandomSearch) + 0.05


@every_study
def test_a_study_survives_failures(make: Make) -> None:
    evaluator = FakeEvaluator(fails=lambda job: len(evaluator.jobs) % 3 == 0)
    outcome = searched(make(1), 12, evaluator)
    assert len(outcome.values) == 12
    assert len(outcome.failures) == 4
    assert outcome.value_at(12) > 0


@every_study
def test_a_study_in_which_everything_fails_goes_on(make: Make) -> None:
    outcome = searched(make(1), 10, FakeEvaluator(fails=lambda job: True))
    assert len(outcome.failures) == 10


@every_study
def test_losers_are_measured_to_the_end_for_a_study(make: Make) -> None:
    evaluator = FakeEvaluator()
    searched(make(1), 6, evaluator)
    assert all(np.isinf(job.gate.max_bytes) for job in evaluator.jobs)


def test_cmaes_sets_out_from_the_default() -> None:
    default = SPACE.encode(DEFAULT_PARAMS)

    def distance(make: Make) -> float:
        return float(np.mean([np.abs(SPACE.encode(proposed(make, s, 1, SPACE)[0]) - default) for s in range(10)]))

    assert distance(CMAESSearch) < 0.75 * distance(RandomSearch)


class Listening(RandomSampler):
    """Draws at random, and keeps what the study held when it was last asked."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.known: Sequence[optuna.trial.FrozenTrial] = ()

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        self.known = study.get_trials(states=(TrialState.COMPLETE, TrialState.FAIL))


def units_of(values: Mapping[str, Any]) -> list[float]:
    return [float(values[name]) for name in SPACE.names]


@given(st.integers(0, 2**31 - 1), st.sets(st.integers(0, 9)))
def test_what_a_study_is_told_is_what_was_graded_and_a_failure_is_no_value(seed: int, failing: set[int]) -> None:
    sampler, task = Listening(seed), task_of(1)
    evaluator = FakeEvaluator(fails=lambda job: evaluator.jobs.index(job) in failing)
    searched(StudySearch(lambda default: sampler), 11, evaluator, SPACE)
    default, *told = sampler.known
    assert default.value == 0
    assert units_of(default.params) == pytest.approx(SPACE.encode(DEFAULT_PARAMS))  # the nearest in the space
    assert len(told) == 10
    for number, (trial, job) in enumerate(zip(told, evaluator.jobs, strict=False)):
        assert SPACE.decode(units_of(trial.params)) == job.params
        graded = None if number in failing else FAITHFUL.graded(job.params, formula(job.params), task.scores)
        assert trial.value == (None if graded is None else graded)
        assert trial.state == (TrialState.FAIL if number in failing else TrialState.COMPLETE)


@given(st.lists(st.floats(-1000, 10), min_size=2))
def test_gentle_keeps_the_order_and_what_is_better_than_the_default(graded: list[float]) -> None:
    told = [compress_negative(value) for value in sorted(graded)]
    assert told == sorted(told)
    assert all(t == g for t, g in zip(told, sorted(graded), strict=True) if g >= 0)
    assert all(-7 < t < 0 for t, g in zip(told, sorted(graded), strict=True) if g < 0)


def test_a_study_bends_what_it_tells_as_it_was_asked_to() -> None:
    plain, bent = Listening(3), Listening(3)
    searched(StudySearch(lambda default: plain), 9, FakeEvaluator(), SPACE)
    searched(StudySearch(lambda default: bent, compress_negative), 9, FakeEvaluator(), SPACE)
    values = [trial.value for trial in plain.known if trial.value is not None]
    assert len(values) == 9
    assert [trial.value for trial in bent.known] == [compress_negative(value) for value in values]
    assert min(values) < 0


def test_the_sampler_is_made_from_the_place_of_the_default() -> None:
    given_places: list[Mapping[str, float]] = []

    def make_sampler(default: Mapping[str, float]) -> RandomSampler:
        given_places.append(default)
        return RandomSampler(1)

    searched(StudySearch(make_sampler), 3, FakeEvaluator(), SPACE)
    [place] = given_places
    assert units_of(place) == pytest.approx(SPACE.encode(DEFAULT_PARAMS))
