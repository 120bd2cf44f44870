import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.agent.agent import Agent, AgentProposer, load_agent
from pipeline.agent.features import observation_size
from pipeline.agent.screen import Banks
from pipeline.core.errors import DataError, Mismatch
from tests.support.fakes import FAITHFUL, FakeEvaluator, random_policy, task_of, tiny_agent


@pytest.fixture
def agent() -> Agent:
    """Its policy does not agree with the surrogate about what is promising."""
    return tiny_agent(max_steps=8, policy=random_policy(20.0))


def observations(count: int) -> list[np.ndarray]:
    size = observation_size(6)
    return [np.random.default_rng(seed).normal(size=size).astype(np.float32) for seed in range(count)]


def test_a_saved_agent_acts_the_same(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    loaded = load_agent(tmp_path)
    actions = [agent.act(observation) for observation in observations(20)]
    assert len(set(actions)) > 2
    assert [loaded.act(observation) for observation in observations(20)] == actions
    assert loaded.objective == agent.objective
    assert loaded.space == agent.space
    assert loaded.portfolios == agent.portfolios


def test_a_saved_agent_foresees_the_same(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    shortlists = []
    for one in (agent, load_agent(tmp_path)):
        episode = one.episode(task_of(1), 8, seed=4)
        episode.record(FakeEvaluator().evaluate([episode.job(episode.params_for(0))])[0])
        shortlists.append(episode.shortlist)
    ours, theirs = shortlists
    assert theirs.params == ours.params
    np.testing.assert_array_equal(theirs.features, ours.features)


def test_a_bank_may_be_empty(agent: Agent, tmp_path: Path) -> None:
    empty: Banks = {"faithful": np.zeros((0, agent.space.size), np.float32)}
    replace(agent, screen=replace(agent.screen, banks=empty)).save(tmp_path)
    assert len(load_agent(tmp_path).episode(task_of(1), 8).shortlist.params) == 6


def test_nothing_in_the_folder_is_a_pickle(agent: Agent, tmp_path: Path) -> None:
    agent.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["agent.json", "policy.safetensors"]
    for path in tmp_path.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK"))


def test_a_category_without_a_portfolio_gets_anothers(agent: Agent) -> None:
    assert agent.portfolio("text") == agent.portfolio("simple") != []
    assert replace(agent, objective=replace(FAITHFUL, name="sharper")).portfolio("simple") == agent.portfolio("simple")


def test_a_proposal_is_the_candidate_that_the_policy_scores_highest(agent: Agent) -> None:
    for seed in range(4):
        episode = agent.episode(task_of(seed), 8)
        logits = random_policy(20.0).logits(episode.observation())
        assert AgentProposer(agent).propose(episode) == episode.shortlist.params[int(logits.argmax())]


def test_for_an_objective_it_was_not_trained_for_it_takes_the_most_promising(agent: Agent) -> None:
    other = replace(agent, objective=replace(FAITHFUL, name="sharper"))
    assert {other.act(observation) for observation in observations(20)} == {0}


def test_an_agent_without_a_policy_takes_the_most_promising(agent: Agent, tmp_path: Path) -> None:
    replace(agent, policy=None).save(tmp_path)
    assert {load_agent(tmp_path).act(observation) for observation in observations(20)} == {0}


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
    [
        ({"schema_version": 2}, Mismatch),
        ({"measures": ["log_pixels"]}, Mismatch),
        ({"space": {}}, DataError),
        ({"shortlist": 1}, DataError),
    ],
)
def test_a_description_of_another_kind_is_refused(
    agent: Agent, tmp_path: Path, change: dict[str, object], error: type[Exception]
) -> None:
    agent.save(tmp_path)
    description = json.loads((tmp_path / "agent.json").read_text())
    (tmp_path / "agent.json").write_text(json.dumps(description | change))
    with pytest.raises(error):
        load_agent(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shortlist": 10_000_000}, "allowed are 2 to 256"),
        ({"shortlist": True}, "allowed are 2 to 256"),
    ],
)
def test_nothing_is_built_that_the_weights_do_not_fill(
    agent: Agent, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    agent.save(tmp_path)
    description = json.loads((tmp_path / "agent.json").read_text())
    (tmp_path / "agent.json").write_text(json.dumps(description | change))
    with pytest.raises(DataError, match=words):
        load_agent(tmp_path)


def test_a_missing_agent_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make repro"):
        load_agent(tmp_path / "nowhere")
