import numpy as np

from benchmarks.stopping import best_traces, learnt_traces, threshold_traces
from pipeline.agent.stopping import AUTO_TRACES, STOP_FEATURES, SURPLUS
from pipeline.training.stopping import N_ENVS, N_STEPS, RecordedSearches
from tests.support.tiny_training import tiny


def searches(count: int = 24) -> RecordedSearches:
    """Each promises less with every trace, and gains 0.1 with each of the first eight."""
    observations = np.zeros((count, AUTO_TRACES, len(STOP_FEATURES)), np.float32)
    observations[..., SURPLUS] = np.log(24) - 0.2 * np.arange(AUTO_TRACES)
    gains = np.broadcast_to(np.where(np.arange(AUTO_TRACES) < 8, 0.1, 0.0), (count, AUTO_TRACES))
    return RecordedSearches(observations, gains.astype(np.float32), price=0.01)


def test_rules_are_ranked_as_they_deserve() -> None:
    found = searches()
    plain, threshold, best = found.greedy_traces, threshold_traces(found), best_traces(found)
    assert set(best.tolist()) == {8}
    assert set(plain.tolist()) == {16}
    assert 8 <= threshold[0] < 16
    assert found.utility(best).mean() >= found.utility(threshold).mean() > found.utility(plain).mean()


def test_ppo_learns_on_the_other_half() -> None:
    found = searches()
    traces = learnt_traces(tiny(train__simulated_timesteps=8 * N_ENVS * N_STEPS), found, seed=1)
    assert found.utility(traces).mean() > found.utility(found.greedy_traces).mean()
