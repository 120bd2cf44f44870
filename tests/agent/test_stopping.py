import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.agent.agent import AgentProposer, load_agent
from pipeline.agent.candidates import CANDIDATE_FEATURES
from pipeline.agent.episode import Episode
from pipeline.agent.stopping import AUTO_TRACES, STOP_FEATURES, StoppingRule, stop_observation
from pipeline.search.loop import run_agent
from tests.support.agents import stopping_rule
from tests.support.fakes import FAITHFUL, FakeEvaluator, task_of, tiny_agent

COLUMN = {name: column for column, name in enumerate(STOP_FEATURES)}


def play(traces: int) -> Episode:
    running = tiny_agent().episode(task_of(1), AUTO_TRACES)
    for _ in range(traces):
        running.record(FakeEvaluator().evaluate([running.job(running.params_for(0))])[0])
    return running


def test_it_sees_the_promise_against_the_price_and_how_the_search_went() -> None:
    running = play(5)
    seen = {name: float(stop_observation(running, 0.02)[column]) for name, column in COLUMN.items()}
    first = dict(zip(CANDIDATE_FEATURES, running.shortlist.features[0].tolist(), strict=True))
    assert seen["surplus"] == pytest.approx(running.shortlist.promise - math.log(0.02), rel=1e-6)
    assert {name: seen[name] for name in ("gain", "spread", "feasible", "distance")} == pytest.approx(
        {name: first[name] for name in ("gain", "spread", "feasible", "distance")}
    )
    assert seen["spent"] == 5 / AUTO_TRACES
    assert len(running.gains) == 5
    assert sum(running.gains) == pytest.approx(running.best_value)
    latest = max(n for n, gain in enumerate(running.gains, 1) if gain > 0)
    assert seen["waited"] == pytest.approx(math.log1p(5 - latest))
    assert seen["latest"] == pytest.approx(min(running.gains[-1], 1.0))
    assert seen["recent"] == pytest.approx(min(sum(running.gains[-4:]), 1.0))


def test_whether_what_would_be_taken_is_sound_is_seen() -> None:
    assert task_of(1).scores.damage == 0.5
    for max_damage, is_sound in ((0.6, 1.0), (0.4, 0.0)):
        agent = tiny_agent(objective=replace(FAITHFUL, name="target", max_damage=max_damage))
        assert stop_observation(agent.episode(task_of(1), AUTO_TRACES), 0.01)[COLUMN["sound"]] == is_sound


@pytest.mark.parametrize("price", [1e-6, 0.01, 1.0, 1e3])
def test_a_rule_that_has_learnt_nothing_is_the_plain_one(price: float) -> None:
    for traces in range(6):
        running = play(traces)
        plain, fresh = (
            replace(tiny_agent(), stopping_rule=r, trace_price=price).stops(running) for r in (None, stopping_rule(0.0))
        )
        assert plain == fresh == (running.shortlist.promise < math.log(price))


def test_what_was_learnt_overrules_it() -> None:
    running = play(2)
    for bias, expected in ((1e4, True), (-1e4, False)):
        for price in (1e-6, 1e3):
            agent = replace(tiny_agent(), stopping_rule=stopping_rule(bias), trace_price=price)
            assert agent.stops(running) is expected
            assert AgentProposer(agent, stops=False).propose(running) is not None
            assert (AgentProposer(agent, stops=True).propose(running) is None) is expected


def test_for_another_objective_the_plain_rule_is_used() -> None:
    agent = replace(tiny_agent(), stopping_rule=stopping_rule(1e4), trace_price=1e-9)
    assert agent.stops(play(2))
    assert not replace(agent, trained_for="sharper").stops(play(2))


def test_auto_spends_no_more_than_it_may_and_stops_when_it_should() -> None:
    tasks = [task_of(1), task_of(2)]
    spent = [
        [len(o.values) for o in run_agent(agent, tasks, FakeEvaluator(), traces="auto", seed=1)]
        for agent in (
            replace(tiny_agent(), stopping_rule=stopping_rule(-1e4)),
            replace(tiny_agent(), trace_price=0.3),
            replace(tiny_agent(), stopping_rule=stopping_rule(1e4)),
        )
    ]
    assert spent[0] == [AUTO_TRACES, AUTO_TRACES]
    assert all(0 < n < AUTO_TRACES for n in spent[1])
    assert spent[2] == [0, 0]


def test_it_is_saved_with_the_agent(tmp_path: Path) -> None:
    agent = replace(tiny_agent(), stopping_rule=stopping_rule(0.3, scale=0.5), trace_price=0.05)
    agent.save(tmp_path)
    found = load_agent(tmp_path)
    assert found.trace_price == 0.05
    assert found.stopping_rule is not None
    for traces in range(6):
        assert found.stops(play(traces)) == agent.stops(play(traces))
    assert found.greedy().stopping_rule is None
    assert found.greedy().policy is None


@pytest.mark.parametrize("change", [{"scores.actor.0.bias": np.zeros(3, np.float32)}, {"scores.actor.4.weight": None}])
def test_weights_that_do_not_fit_are_refused(change: dict[str, np.ndarray | None]) -> None:
    weights = {name: array for name, array in (stopping_rule(0.0).weights | change).items() if array is not None}
    with pytest.raises((ValueError, KeyError)):
        StoppingRule(weights)
