import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data.probe import MEASURE_NAMES
from pipeline.errors import DataError, Mismatch
from pipeline.rl.agent import Agent, AgentProposer, build_policy, load_agent
from pipeline.rl.episode import Episode
from pipeline.rl.features import Normaliser, observation_size
from tests.fakes import SMALLER, space_of, task_of

SPACE = space_of()
SIZE = observation_size(len(MEASURE_NAMES), SPACE.size)


@pytest.fixture
def agent() -> Agent:
    torch.manual_seed(3)
    rng = np.random.default_rng(3)
    return Agent(
        policy=build_policy(SPACE, [16, 16], 0.4),
        normaliser=Normaliser(rng.normal(size=SIZE), rng.uniform(0.5, 2, SIZE)),
        space=SPACE,
        objective=SMALLER,
        trained_for="smaller",
        portfolios={"smaller": {"simple": [SPACE.decode(np.full(SPACE.size, x)) for x in (0.2, 0.4, 0.6)]}},
        n_openings=2,
        max_steps=8,
        background="#ffffff",
        timeout_seconds=5.0,
        worker_memory_bytes=10**9,
    )


def test_a_saved_agent_acts_the_same(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    loaded = load_agent(tmp_path)
    for seed in range(5):
        observation = np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)
        np.testing.assert_array_equal(loaded.act(observation, None), agent.act(observation, None))
        ours, theirs = (a.act(observation, np.random.default_rng(seed)) for a in (agent, loaded))
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.openings("simple") == agent.openings("simple")
    assert len(loaded.openings("text")) == 2
    assert loaded.objective == agent.objective
    assert loaded.space == agent.space


def test_nothing_in_the_folder_is_a_pickle(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["agent.json", "policy.safetensors"]
    for path in tmp_path.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK"))


def test_the_observation_is_normalised_before_the_policy_sees_it(agent: Agent) -> None:
    observation = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
    by_hand = (observation - agent.normaliser.mean) / np.sqrt(agent.normaliser.variance + 1e-8)
    raw, _ = agent.policy.predict(np.clip(by_hand, -10, 10).astype(np.float32), deterministic=True)
    np.testing.assert_allclose(agent.act(observation, None), raw, atol=1e-6)


def test_openings_are_deterministic_and_refinements_are_drawn(agent: Agent) -> None:
    def proposals(seed: int, spent: int) -> list[object]:
        episode = Episode(task_of(0, "simple"), SMALLER, SPACE, agent.openings("simple"), 8)
        episode.spent = spent
        proposer = AgentProposer(agent, seed)
        return [proposer.propose(episode) for _ in range(4)]

    assert proposals(1, 0) == proposals(2, 0)
    assert len(set(proposals(1, 0))) == 1
    assert proposals(1, 2) == proposals(1, 2)
    assert proposals(1, 2) != proposals(2, 2)
    assert len(set(proposals(1, 2))) > 1


def test_damaged_weights_are_named(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    weights = tmp_path / "policy.safetensors"
    content = bytearray(weights.read_bytes())
    content[-10] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match=r"policy\.safetensors: is damaged"):
        load_agent(tmp_path)


def test_weights_that_are_no_safetensors_are_not_executed(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    hostile = b"\x80\x04cos\nsystem\n(S'touch owned'\ntR."
    (tmp_path / "policy.safetensors").write_bytes(hostile)
    description = json.loads((tmp_path / "agent.json").read_text())
    description["weights_sha256"] = hashlib.sha256(hostile).hexdigest()
    (tmp_path / "agent.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="does not describe an agent"):
        load_agent(tmp_path)


@pytest.mark.parametrize(
    ("change", "error"),
    [({"schema_version": 99}, Mismatch), ({"measures": ["log_pixels"]}, Mismatch), ({"space": {}}, DataError)],
)
def test_a_description_of_another_kind_is_refused(
    agent: Agent, tmp_path: Path, change: dict[str, object], error: type[Exception]
) -> None:
    agent.save(tmp_path)
    description = json.loads((tmp_path / "agent.json").read_text())
    (tmp_path / "agent.json").write_text(json.dumps(description | change))
    with pytest.raises(error):
        load_agent(tmp_path)


def test_a_missing_agent_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make repro"):
        load_agent(tmp_path / "nowhere")


def test_for_an_objective_it_was_not_trained_for_the_policy_keeps_to_the_anchor(agent: Agent) -> None:
    observation = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
    other = replace(agent, objective=replace(SMALLER, name="sharper"))
    assert agent.act(observation, None).any()
    assert not other.act(observation, None).any()
    assert other.act(observation, np.random.default_rng(1)).any()
    assert other.openings("simple") == agent.openings("simple")
