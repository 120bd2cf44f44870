import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agent.episode import Episode
from pipeline.agent.features import CONTEXT_SIZE, observation_size
from pipeline.agent.outcome import informative_gate, outcome_of
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, Failed
from tests.support.fakes import SMALLER, FakeEvaluator, task_of, tiny_screen

SCREEN = tiny_screen()
SPACE = SCREEN.space
SMALL = SPACE.decode(np.full(SPACE.size, 0.3))
FAILED = Failed("", DEFAULT_PARAMS, "panic", "", 0.1)


def episode(max_steps: int = 6, trained_steps: int | None = None) -> Episode:
    return Episode(task_of(1), SMALLER, SPACE, max_steps, SCREEN, trained_steps=trained_steps)


@given(st.lists(st.integers(0, SCREEN.size - 1), min_size=6, max_size=6), st.sets(st.integers(0, 5)))
def test_the_rewards_add_up_to_what_was_achieved(chosen: list[int], failing: set[int]) -> None:
    running = episode()
    evaluator = FakeEvaluator(fails=lambda job: len(evaluator.jobs) - 1 in failing)
    rewards = []
    for action in chosen:
        [evaluation] = evaluator.evaluate([running.job(running.params_for(action))])
        rewards.append(running.record(evaluation))
    assert running.done
    assert min(rewards) >= 0
    assert sum(rewards) == pytest.approx(running.best_value)
    if running.best is not None:
        achieved = SMALLER.value(running.best.params, running.best.scores, running.task.scores)
        assert achieved == pytest.approx(running.best_value)
    else:
        assert running.best_value == 0


def test_an_action_stands_for_a_setting_until_the_next_result() -> None:
    running = episode()
    first = [running.params_for(action) for action in range(SCREEN.size)]
    assert [running.params_for(action) for action in range(SCREEN.size)] == first
    running.record(FakeEvaluator().evaluate([running.job(first[0])])[0])
    assert first[0] not in [running.params_for(action) for action in range(SCREEN.size)]


def test_it_remembers_what_every_trace_gave() -> None:
    running = episode()
    [good] = FakeEvaluator().evaluate([running.job(SMALL)])
    for evaluation in (good, FAILED):
        running.record(evaluation)
    default = running.task.scores
    assert running.last is FAILED
    assert running.tried == [SMALL, DEFAULT_PARAMS]
    np.testing.assert_array_equal(running.points, [SPACE.encode(SMALL), SPACE.encode(DEFAULT_PARAMS)])
    np.testing.assert_array_equal(running.outcomes, [outcome_of(good, default), outcome_of(FAILED, default)])
    assert running.graded == pytest.approx([SMALLER.graded_evaluation(good, default), -np.inf])


def test_before_the_first_trace_its_history_is_empty_and_has_its_shape() -> None:
    running = episode()
    assert (running.points.shape, running.outcomes.shape, running.graded.shape) == ((0, SPACE.size), (0, 3), (0,))


def test_the_observation_has_its_declared_size_and_a_failure_costs_no_value() -> None:
    running = episode()
    before = running.observation()
    assert before.shape == (observation_size(SCREEN.size),)
    assert np.isfinite(before).all()
    assert running.record(FAILED) == 0
    assert running.best_value == 0
    assert np.isfinite(running.observation()).all()


def test_without_a_screen_there_is_nothing_to_choose_from() -> None:
    bare = Episode(task_of(1), SMALLER, SPACE, 6)
    for ask in (lambda: bare.params_for(0), bare.observation):
        with pytest.raises(ValueError, match="without a screen"):
            ask()


def test_a_policy_is_never_shown_more_traces_than_it_was_trained_on() -> None:
    """With 64 traces as with 8: what it has not learnt to read would send it astray."""
    start = CONTEXT_SIZE + len(OBJECTIVES) + 1
    trained, longer = episode(max_steps=6), episode(max_steps=20, trained_steps=6)
    seen = [trained.observation()[start : start + 2].tolist()]
    for _ in range(5):
        trained.record(FAILED)
        seen.append(trained.observation()[start : start + 2].tolist())
    assert len({tuple(budget) for budget in seen}) == 6
    for step in range(20):
        assert longer.observation()[start : start + 2].tolist() == seen[max(0, step - 14)]
        longer.record(FAILED)
    assert longer.done


def test_a_better_setting_closes_the_gate_for_bigger_ones_unless_a_screen_learns_from_them() -> None:
    bare, screened = Episode(task_of(1), SMALLER, SPACE, 6), episode()
    first = bare.job(DEFAULT_PARAMS).gate
    for running in (bare, screened):
        running.record(FakeEvaluator().evaluate([running.job(SMALL)])[0])
        assert running.best is not None
    assert bare.job(DEFAULT_PARAMS).gate.max_bytes < first.max_bytes
    assert screened.job(DEFAULT_PARAMS).gate == informative_gate(screened.task.scores)
    assert bare.job(DEFAULT_PARAMS, every_score=True).gate.max_bytes == np.inf
