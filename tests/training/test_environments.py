import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pipeline.agent.episode import Episode
from pipeline.core.records import Failed, Job
from pipeline.training.environments import LogoEnv, PoolVecEnv
from pipeline.training.sampling import EpisodeSampler, Start
from tests.support.fakes import SMALLER, Done, FakeEvaluator, task_of, tiny_screen

SCREEN = tiny_screen()
SPACE = SCREEN.space
TASKS = [task_of(seed) for seed in range(4)]


def env(evaluator: FakeEvaluator | None = None, max_steps: int = 5) -> LogoEnv:
    return LogoEnv(TASKS, evaluator or FakeEvaluator(), SMALLER, SPACE, SCREEN, max_steps)


def pool_env(
    n_envs: int, evaluator: FakeEvaluator | None = None, max_steps: int = 5, starts: EpisodeSampler | None = None
) -> PoolVecEnv:
    starts = starts or EpisodeSampler(max_steps, False, 0)
    starts.draw_from(range(len(TASKS)), [t.logo.category for t in TASKS], 0)

    def begin(start: Start) -> Episode:
        return Episode(TASKS[start.image], SMALLER, SPACE, start.traces, SCREEN)

    return PoolVecEnv(n_envs, evaluator or FakeEvaluator(), SCREEN.size, starts, begin)


@pytest.mark.filterwarnings("ignore:.*not having a reset.*")
def test_it_passes_gymnasiums_own_check() -> None:
    check_env(env(), skip_render_check=True)


@pytest.mark.parametrize("max_steps", [1, 5, 50])
def test_an_episode_ends_after_max_steps_and_returns_what_was_achieved(max_steps: int) -> None:
    logos = env(max_steps=max_steps)
    logos.reset(seed=1)
    logos.action_space.seed(1)
    total, steps, terminated = 0.0, 0, False
    while not terminated:
        _, reward, terminated, truncated, info = logos.step(logos.action_space.sample())
        total, steps = total + reward, steps + 1
        assert not truncated
    assert steps == max_steps
    assert total == pytest.approx(info["best_value"])
    assert total > 0 or max_steps == 1


def test_an_image_can_be_named() -> None:
    logos = env()
    for index, task in enumerate(TASKS):
        assert logos.reset(options={"image": index})[1]["image"] == task.logo.name


def test_a_failed_trace_costs_a_step_and_no_reward() -> None:
    logos = env(FakeEvaluator(fails=lambda job: True))
    logos.reset(seed=1)
    _, reward, _, _, info = logos.step(0)
    assert reward == 0
    assert isinstance(info["evaluation"], Failed)


def test_the_vectorised_environment_does_what_single_ones_do() -> None:
    pool = pool_env(3)
    rng = np.random.default_rng(0)
    actions = rng.integers(SCREEN.size, size=(5, 3))
    seen: list[Any] = [pool.reset()]
    rewards: list[Any] = []
    drawn = [episode.task for _, episode in pool._running]
    for step in actions:
        pool.step_async(step)
        observations, reward, dones, infos = pool.step_wait()
        seen.append(np.stack([i.get("terminal_observation", o) for i, o in zip(infos, observations, strict=True)]))
        rewards.append(reward)
    assert dones.all()
    for index, task in enumerate(drawn):
        single = env()
        observation, _ = single.reset(options={"image": TASKS.index(task)})
        np.testing.assert_array_equal(observation, seen[0][index])
        for number in range(5):
            observation, gain, *_ = single.step(actions[number, index])
            np.testing.assert_array_equal(observation, seen[number + 1][index])
            assert gain == pytest.approx(rewards[number][index])
        assert infos[index]["episode"]["r"] == pytest.approx(sum(r[index] for r in rewards))


def test_the_next_images_are_made_ready_while_the_pool_traces() -> None:
    events: list[str] = []

    class Noted(FakeEvaluator):
        def submit(self, jobs: Sequence[Job]) -> Done:
            events.append("submit")
            return super().submit(jobs)

    class NotedStarts(EpisodeSampler):
        def draw(self) -> Start:
            events.append("draw")
            return super().draw()

    pool = pool_env(2, Noted(), 2, NotedStarts(2, False, 0))
    pool.reset()
    for _ in range(3):
        pool.step_async(np.zeros(2, np.int64))
        events.append("wait")
        pool.step_wait()
    assert events == ["draw", "draw", "submit", "wait", "submit", "draw", "draw", "wait", "submit", "wait"]


def test_finished_episodes_make_place_for_the_next_image() -> None:
    pool = pool_env(1)
    pool.reset()
    names = []
    for _ in range(4 * 5):
        pool.step_async(np.zeros(1, np.int64))
        names.append(pool.step_wait()[3][0]["image"])
    assert {name: names.count(name) for name in names} == {task.logo.name: 5 for task in TASKS}


def play(pool: PoolVecEnv, steps: int) -> list[Any]:
    """What a training sees of it."""
    seen: list[Any] = []
    rng = np.random.default_rng(3)
    for _ in range(steps):
        pool.step_async(rng.integers(SCREEN.size, size=pool.num_envs))
        observations, rewards, dones, _ = pool.step_wait()
        seen.append((observations.tobytes(), rewards.tobytes(), dones.tobytes()))  # type: ignore[union-attr]
    return seen


@pytest.mark.parametrize("steps", [0, 1, 4, 7])
def test_a_restored_environment_goes_on_to_the_same_bits(steps: int) -> None:
    pool = pool_env(3, starts=EpisodeSampler(5, True, 0))
    pool.reset()
    play(pool, steps)
    kept = json.loads(json.dumps(pool.state()))
    expected = play(pool, 12)
    other = pool_env(3, starts=EpisodeSampler(5, True, 0))
    other.restore(kept)
    assert play(other, 12) == expected


def test_a_step_that_was_broken_off_leaves_the_state_before_it() -> None:
    class Stops(FakeEvaluator):
        stops = False

        def submit(self, jobs: Sequence[Job]) -> Done:
            if self.stops:
                raise KeyboardInterrupt
            return super().submit(jobs)

    evaluator = Stops()
    pool = pool_env(2, evaluator)
    pool.reset()
    play(pool, 2)
    before = pool.state()
    evaluator.stops = True
    with pytest.raises(KeyboardInterrupt):
        pool.step_async(np.zeros(2, np.int64))
    assert pool.tracing
    assert pool.state() == before
