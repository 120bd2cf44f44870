import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.data.probe import MEASURE_NAMES
from pipeline.records import CATEGORIES, DEFAULT_PARAMS, OBJECTIVES, Failed
from pipeline.rl.episode import Episode, move
from pipeline.rl.features import observation_size
from tests.fakes import SMALLER, FakeEvaluator, space_of, task_of

SPACE = space_of()


def episode(max_steps: int = 6, openings: int = 2, trained_steps: int | None = None) -> Episode:
    settings = [SPACE.decode(np.full(SPACE.size, 0.3 + 0.1 * n)) for n in range(openings)]
    return Episode(task_of(1), SMALLER, SPACE, settings, max_steps, trained_steps)


actions = arrays(np.float32, SPACE.size, elements=st.floats(-1, 1, width=32))


@given(st.lists(actions, min_size=6, max_size=6), st.sets(st.integers(0, 5)))
def test_the_rewards_add_up_to_what_was_achieved(chosen: list[np.ndarray], failing: set[int]) -> None:
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
        achieved = SMALLER.value(running.best.params, running.best.scores, running.task.baseline)
        assert achieved == pytest.approx(running.best_value)
    else:
        assert running.best_value == 0


@given(
    arrays(np.float32, 5, elements=st.floats(0, 1, width=32)),
    arrays(np.float32, 5, elements=st.floats(-1, 1, width=32)),
)
def test_a_move_stays_in_the_cube_and_no_share_of_an_action_is_dead(anchor: np.ndarray, action: np.ndarray) -> None:
    moved = move(anchor, action)
    assert ((moved >= 0) & (moved <= 1)).all()
    np.testing.assert_allclose(move(anchor, np.full(5, -1, np.float32)), 0)
    np.testing.assert_allclose(move(anchor, np.ones(5, np.float32)), 1)
    np.testing.assert_allclose(move(anchor, np.zeros(5, np.float32)), anchor)


def test_a_still_action_plays_the_openings_and_then_the_best() -> None:
    running = episode(max_steps=4)
    still = np.zeros(SPACE.size, np.float32)
    for opening in running.openings:
        assert running.params_for(still) == opening
        [evaluation] = FakeEvaluator().evaluate([running.job(opening)])
        running.record(evaluation)
    assert running.best is not None
    assert running.params_for(still) == running.best.params


def test_without_openings_it_starts_at_the_default() -> None:
    running = episode(openings=0)
    assert running.params_for(np.zeros(SPACE.size, np.float32)) == SPACE.canonical(DEFAULT_PARAMS)


def test_the_observation_has_its_declared_size_and_shows_failures() -> None:
    running = episode()
    before = running.observation()
    assert before.shape == (observation_size(len(MEASURE_NAMES), SPACE.size),)
    assert np.isfinite(before).all()
    running.record(Failed("", DEFAULT_PARAMS, "panic", "", 0.1))
    after = running.observation()
    assert after[-1] == 1
    assert before[-1] == 0
    assert running.best_value == 0


def test_a_policy_is_never_shown_more_traces_than_it_was_trained_on() -> None:
    """With 64 traces as with 8: what it has not learnt to read would send it astray."""
    start = len(MEASURE_NAMES) + len(CATEGORIES) + len(OBJECTIVES) + 1 + 6
    trained, longer = episode(max_steps=6), episode(max_steps=20, trained_steps=6)
    seen = [trained.observation()[start : start + 3].tolist()]
    for _ in range(5):
        trained.record(Failed("", DEFAULT_PARAMS, "panic", "", 0.1))
        seen.append(trained.observation()[start : start + 3].tolist())
    for step in range(20):
        assert longer.observation()[start : start + 3].tolist() == seen[min(step, 2)]
        longer.record(Failed("", DEFAULT_PARAMS, "panic", "", 0.1))
    assert longer.done


def test_a_better_setting_closes_the_gate_for_bigger_ones() -> None:
    running = episode(openings=0)
    first = running.job(DEFAULT_PARAMS).gate
    small = SPACE.decode(np.full(SPACE.size, 0.3))
    running.record(FakeEvaluator().evaluate([running.job(small)])[0])
    assert running.best is not None
    assert running.job(DEFAULT_PARAMS).gate.max_bytes < first.max_bytes
