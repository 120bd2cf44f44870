import numpy as np
import torch
from torch import Tensor

from pipeline.agent.candidates import CANDIDATE_FEATURES
from pipeline.agent.features import STATE_SIZE, observation_size
from pipeline.agent.policy import PROMISE
from pipeline.training.policy import CandidatePolicy, action_space, actor_of, observation_box

COUNT = 5


def made() -> CandidatePolicy:
    torch.manual_seed(1)
    return CandidatePolicy(observation_box(COUNT), action_space(COUNT), lambda _: 0.0, hidden_units=[16, 8])


def taught() -> CandidatePolicy:
    """After one step towards the last candidate."""
    policy = made()
    loss = torch.nn.functional.cross_entropy(policy.scores.forward_actor(observations(8)), torch.full((8,), COUNT - 1))
    loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 has no types for it
    torch.optim.SGD([policy.scores.score.weight], lr=1.0).step()
    return policy


def observations(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(size=(count, observation_size(COUNT))).astype(np.float32))


def candidates(seen: Tensor) -> Tensor:
    return seen[:, STATE_SIZE:].reshape(-1, COUNT, len(CANDIDATE_FEATURES))


def test_a_fresh_policy_prefers_what_is_more_promising() -> None:
    seen = observations(20)
    logits = made().scores.forward_actor(seen)
    assert torch.equal(logits.argsort(), candidates(seen)[..., PROMISE].argsort())
    actions, _ = made().predict(seen.numpy(), deterministic=True)
    assert actions.tolist() == logits.argmax(1).tolist()


def test_where_a_candidate_stands_on_the_shortlist_does_not_matter() -> None:
    policy, seen = taught(), observations(4)
    order = torch.tensor([3, 0, 4, 2, 1])
    moved = torch.cat([seen[:, :STATE_SIZE], candidates(seen)[:, order].flatten(1)], 1)
    torch.testing.assert_close(policy.scores.forward_actor(moved), policy.scores.forward_actor(seen)[:, order])


def test_what_it_learns_is_added_to_the_promise() -> None:
    seen = observations(4)
    promise = candidates(seen)[..., PROMISE]
    before, after = made().scores.forward_actor(seen), taught().scores.forward_actor(seen)
    torch.testing.assert_close(before / promise, torch.full_like(promise, 4.0))
    assert (after - before).abs().max() > 0.1


def test_a_fresh_policy_can_learn() -> None:
    """A layer that starts at zero must still be given a gradient, and so must be in the optimiser."""
    policy = made()
    known = {id(p) for group in policy.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in policy.parameters()} == known
    policy.scores.forward_actor(observations(8))[:, 0].sum().backward()  # type: ignore[no-untyped-call]  # as above
    gradient = policy.scores.score.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_the_value_is_one_number_for_each_observation() -> None:
    values = made().predict_values(observations(7))
    assert values.shape == (7, 1)
    assert values.std() > 0


def test_the_actor_scores_as_the_module_does_to_1e_5() -> None:
    policy, seen = taught(), observations(20)
    actor = actor_of(policy)
    ours = np.stack([actor.logits(observation) for observation in seen.numpy()])
    np.testing.assert_allclose(ours, policy.scores.forward_actor(seen).detach().numpy(), atol=1e-5)


def test_an_actor_keeps_what_the_policy_had_learnt_by_then() -> None:
    policy = taught()
    actor, seen = actor_of(policy), observations(1).numpy()[0]
    before = actor.logits(seen)
    with torch.no_grad():
        policy.scores.score.weight.add_(1.0)
    assert np.array_equal(actor.logits(seen), before)
