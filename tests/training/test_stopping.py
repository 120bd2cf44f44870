from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.agent.agent import Agent
from pipeline.agent.policy import SHARPNESS
from pipeline.agent.stopping import AUTO_TRACES, STOP_FEATURES, SURPLUS, stop_observation
from pipeline.core.errors import Stopped
from pipeline.search.loop import image_seed, run_agent
from pipeline.settings.params import Settings
from pipeline.training import stopping
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.loop import train
from pipeline.training.stopping import (
    FEWEST_SEARCHES,
    GO_ON,
    STOP,
    RecordedSearches,
    StoppingVecEnv,
    StopPolicy,
    build_stopping_ppo,
    learn_to_stop,
    record_searches,
    rule_of,
    traces_of,
)
from tests.support.fakes import FAITHFUL, FakeEvaluator, task_of, tiny_agent, tiny_screen
from tests.support.tiny_training import VAL, tiny

PRICE = 0.01
ROLLOUT = stopping.N_ENVS * stopping.N_STEPS
TASKS = [task_of(seed) for seed in range(4)]


@cache
def recorded() -> RecordedSearches:
    return record_searches(TASKS, FakeEvaluator(), FAITHFUL, tiny_screen(), price=PRICE, seed=3)


def searches(count: int, ends_after: int, promised: float = 1.0) -> RecordedSearches:
    """Each gains 0.1 with every trace up to `ends_after`, and promises as much as ever after that."""
    observations = np.zeros((count, AUTO_TRACES, len(STOP_FEATURES)), np.float32)
    observations[..., SURPLUS] = promised
    observations[..., STOP_FEATURES.index("spent")] = np.arange(AUTO_TRACES) / AUTO_TRACES
    gains = np.broadcast_to(np.where(np.arange(AUTO_TRACES) < ends_after, 0.1, 0.0), (count, AUTO_TRACES))
    return RecordedSearches(observations, gains.astype(np.float32), PRICE)


def policy() -> StopPolicy:
    model = build_stopping_ppo(tiny(), StoppingVecEnv(searches(3, 4), 32, seed=1), seed=1)
    assert isinstance(model.policy, StopPolicy)
    return model.policy


def test_a_recorded_search_is_the_real_one_of_the_same_seed() -> None:
    found = recorded()
    agent = tiny_agent().greedy()
    outcomes = run_agent(agent, TASKS, FakeEvaluator(), traces=AUTO_TRACES, seed=3)
    for row, (task, outcome) in enumerate(zip(TASKS, outcomes, strict=True)):
        np.testing.assert_allclose(np.diff([0.0, *outcome.values]).clip(max=1), found.gains[row], atol=1e-6)
        episode = agent.episode(task, AUTO_TRACES, image_seed(3, task))
        for trace, evaluation in enumerate(outcome.evaluations):
            np.testing.assert_array_equal(stop_observation(episode, PRICE), found.observations[row, trace])
            episode.record(evaluation)


def test_the_plain_rule_stops_a_recorded_search_where_it_stops_a_real_one() -> None:
    agent = tiny_agent(trace_price=PRICE).greedy()
    real = [len(o.values) for o in run_agent(agent, TASKS, FakeEvaluator(), traces="auto", seed=3)]
    assert recorded().greedy_traces.tolist() == real
    assert traces_of(policy(), recorded()).tolist() == real, "a fresh policy is the plain rule"


def test_a_return_is_the_utility_of_the_traces_that_were_made() -> None:
    found = recorded()
    env = StoppingVecEnv(found, 1, seed=2)
    for stops_after in (0, 1, 5, AUTO_TRACES):
        seen = env.reset()
        row = int(np.flatnonzero((found.observations[:, 0] == seen).all(-1))[0])
        total = 0.0
        for trace in range(AUTO_TRACES + 1):
            _, rewards, dones, _ = env.step(np.array([STOP if trace == stops_after else GO_ON]))
            total += float(rewards[0])
            if dones[0]:
                break
        expected = found.utility(np.full(len(found.gains), stops_after))[row]
        assert total == pytest.approx(float(expected), abs=1e-5)
        assert trace == min(stops_after, AUTO_TRACES - 1)


def test_it_learns_to_stop_where_promises_are_not_kept() -> None:
    settings = tiny(train__simulated_timesteps=16 * ROLLOUT, train__ppo__ent_coef=0.0)
    rule, tests = learn_to_stop(settings, searches(2 * FEWEST_SEARCHES, ends_after=6), seed=1)
    assert rule is not None
    assert tests[-1].timesteps == 16 * ROLLOUT
    assert any(test.replaced and test.lead.low > 0 for test in tests)
    observations = searches(1, 6).observations[0]
    assert not any(rule.stops(o) for o in observations[:5])
    assert any(rule.stops(o) for o in observations[6:9])


def test_what_was_learnt_is_kept_only_where_it_is_better() -> None:
    """Every trace is worth it, and the plain rule makes every one: nothing can be better."""
    settings = tiny(train__simulated_timesteps=8 * ROLLOUT)
    rule, tests = learn_to_stop(settings, searches(FEWEST_SEARCHES, AUTO_TRACES, promised=3.0), seed=1)
    assert rule is None
    assert len(tests) == 1
    assert not tests[0].replaced


@pytest.mark.parametrize(("count", "steps"), [(FEWEST_SEARCHES - 1, ROLLOUT), (FEWEST_SEARCHES, 0)])
def test_with_too_little_to_learn_from_the_plain_rule_stands(count: int, steps: int) -> None:
    assert learn_to_stop(tiny(train__simulated_timesteps=steps), searches(count, 4), seed=1) == (None, [])


def test_the_rule_in_numpy_is_the_policy() -> None:
    trained = policy()
    with torch.no_grad():
        for parameter in trained.scores.actor.parameters():
            parameter.normal_(0, 0.7)
        last = trained.scores.actor[-1]
        assert isinstance(last, torch.nn.Linear)
        last.bias.data += SHARPNESS * float(np.median(recorded().observations[..., SURPLUS]))
    rule, found = rule_of(trained), recorded()
    stops = np.array([[rule.stops(o) for o in search] for search in found.observations])
    assert np.where(stops.any(1), stops.argmax(1), AUTO_TRACES).tolist() == traces_of(trained, found).tolist()
    assert 0 < stops.mean() < 1


def small() -> Settings:
    return tiny(
        curriculum__enabled=False,
        train__total_timesteps=32,
        train__simulated_timesteps=8 * ROLLOUT,
        train__stopping_images=2 * FEWEST_SEARCHES,
        train__trace_price=0.03,
        train__surrogate_steps=10,
        train__table_traces=4,
        train__portfolio_candidates=2,
        train__other_portfolio_candidates=0,
        train__eval_every_timesteps=32,
    )


def trained(folder: Path, check_stop: Any) -> Agent:
    store = CheckpointStore(folder, small().checkpoints)
    latest = store.latest()
    return train(
        small(),
        [task_of(seed) for seed in range(4 * FEWEST_SEARCHES)],
        VAL[:2],
        FakeEvaluator(),
        seed=1,
        checkpoints=store,
        resume_from=latest[1] if latest else None,
        check_stop=check_stop,
    ).agent


class Interrupted:
    """Raises at the nth time that it is asked. asked: how often that was."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.asked = at, 0

    def __call__(self) -> None:
        self.asked += 1
        if self.asked == self.at:
            raise Stopped("as asked")


def test_a_training_interrupted_while_it_learns_to_stop_comes_to_the_same_bits(tmp_path: Path) -> None:
    saved = partial(_weights, tmp_path)
    whole = Interrupted()
    expected = saved(trained(tmp_path / "whole", whole))
    assert any(name.startswith("stopping.") for name in expected)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", Interrupted(whole.asked - 2))  # between two rollouts on recorded searches
    again = saved(trained(tmp_path / "parts", Interrupted()))
    assert again.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def _weights(folder: Path, agent: Agent) -> dict[str, Any]:
    from safetensors.numpy import load_file

    agent.save(folder / "agent")
    return load_file(folder / "agent" / "policy.safetensors")
