import json
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.agent.features import CONTEXT_SIZE, context_of
from pipeline.agent.screen import Screen
from pipeline.agent.surrogate import CONTEXT_LIMIT, JITTER, Surrogate, inputs_of, weight_shapes
from pipeline.core.records import DEFAULT_PARAMS
from pipeline.training.surrogate_fit import Fit, Table, fit_surrogate
from pipeline.training.surrogate_network import SurrogateNetwork
from pipeline.training.table import collect
from pipeline.training.torch_state import restore_module
from tests.support.fakes import FAITHFUL, FakeEvaluator, space_of, task_of, tiny_agent

SPACE = space_of()
DEFAULT = SPACE.encode(DEFAULT_PARAMS)
IMAGES, PER_IMAGE = 24, 30
Values = NDArray[np.float32]


def truth(context: Values, points: Values, hidden: float) -> Values:
    """Smooth, 0 for the default on every image, and steeper where a number that no context tells says so."""

    def bowl(at: Values) -> NDArray[np.float64]:
        x, y = at[..., 3].astype(np.float64), at[..., 1].astype(np.float64)
        height: NDArray[np.float64] = (1 + 0.5 * context[0] + hidden) * x + np.sin(3 * y) * (0.5 + 0.3 * context[1])
        return height

    value = bowl(points) - bowl(DEFAULT)
    return np.stack([value, 0.5 * value, -value], axis=-1).astype(np.float32)


def drawn(seed: int, images: int) -> tuple[Values, Values, Values]:
    """contexts (images, 2), points (images, PER_IMAGE, axes), outcomes (images, PER_IMAGE, 3)."""
    rng = np.random.default_rng(seed)
    contexts = rng.normal(size=(images, 2)).astype(np.float32)
    points = rng.random((images, PER_IMAGE, SPACE.size)).astype(np.float32)
    hidden = rng.normal(0, 0.5, images)
    return contexts, points, np.stack([truth(c, p, h) for c, p, h in zip(contexts, points, hidden, strict=True)])


def table() -> Table:
    contexts, points, outcomes = drawn(1, IMAGES)
    image = np.repeat(np.arange(IMAGES), PER_IMAGE)
    return Table(
        contexts,
        np.zeros((len(contexts), 3), np.float32),
        image,
        points.reshape(-1, SPACE.size),
        outcomes.reshape(-1, 3),
    )


@cache
def fitted(seed: int = 1, steps: int = 250) -> Surrogate:
    return fit_surrogate(table(), SPACE, DEFAULT, steps=steps, seed=seed)


def foreseen(model: Surrogate, context: Values, seen: Values, gave: Values, asked: Values) -> tuple[Values, Values]:
    mean, std = model.given(model.normalised(context), seen, gave)(asked)
    return mean.astype(np.float32), std.astype(np.float32)


def error_after(traces: int) -> float:
    """Mean squared error on new images, of settings not among the traces."""
    errors = []
    for context, points, outcomes in zip(*drawn(2, 8), strict=True):
        mean, _ = foreseen(fitted(), context, points[:traces], outcomes[:traces], points[15:])
        errors.append(((mean - outcomes[15:]) ** 2).mean())
    return float(np.mean(errors))


def test_it_foresees_new_images_better_than_the_mean_does_and_still_better_after_some_traces() -> None:
    variance = float(drawn(2, 8)[2].var(axis=(0, 1)).mean())
    assert error_after(0) < 0.6 * variance
    assert error_after(12) < 0.7 * error_after(0)


def test_what_was_observed_is_believed_and_less_doubted() -> None:
    for context, points, outcomes in zip(*drawn(3, 4), strict=True):
        before, doubt = foreseen(fitted(), context, points[:0], outcomes[:0], points[:5])
        after, less = foreseen(fitted(), context, points[:5], outcomes[:5], points[:5])
        assert np.abs(after - outcomes[:5]).mean() < 0.3 * np.abs(before - outcomes[:5]).mean()
        assert (less < 0.7 * doubt).all()


def test_its_doubt_is_as_large_as_its_errors() -> None:
    scores = []
    for context, points, outcomes in zip(*drawn(4, 8), strict=True):
        mean, std = foreseen(fitted(), context, points[:8], outcomes[:8], points[8:])
        scores.append((mean - outcomes[8:]) / std)
    assert 0.3 < np.std(scores) < 2


def test_an_outcome_that_was_not_measured_tells_nothing() -> None:
    [context], [points], [outcomes] = drawn(5, 1)
    partly = outcomes[:6].copy()
    partly[3:, 1] = np.nan
    some = foreseen(fitted(), context, points[:6], partly, points[6:])
    without = foreseen(fitted(), context, points[:3], outcomes[:3], points[6:])
    whole = foreseen(fitted(), context, points[:6], outcomes[:6], points[6:])
    for got, fewer, every in zip(some, without, whole, strict=True):
        np.testing.assert_allclose(got[:, 1], fewer[:, 1], atol=2e-3)
        np.testing.assert_allclose(got[:, [0, 2]], every[:, [0, 2]], atol=2e-3)
        assert np.abs(got[:, 1] - every[:, 1]).max() > 0.01


def test_a_table_with_gaps_can_be_learnt_from() -> None:
    gaps = table()
    gaps.outcomes[np.random.default_rng(1).random(gaps.outcomes.shape) < 0.3] = np.nan
    fit = Fit(gaps, SPACE, DEFAULT, steps=60, seed=1)
    losses = [fit.advance() for _ in range(60)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def same(left: Surrogate, right: Surrogate) -> bool:
    return all(np.array_equal(left.weights[name], right.weights[name]) for name in left.weights)


def test_a_seed_gives_the_same_weights_and_another_others() -> None:
    def fit(seed: int) -> Surrogate:
        return fit_surrogate(table(), SPACE, DEFAULT, steps=12, seed=seed)

    assert same(fit(1), fit(1))
    assert not same(fit(1), fit(2))


def test_a_fit_that_was_left_goes_on_to_the_same_bits() -> None:
    whole = Fit(table(), SPACE, DEFAULT, steps=10, seed=1)
    losses = [whole.advance() for _ in range(10)]
    left = Fit(table(), SPACE, DEFAULT, steps=10, seed=1)
    for _ in range(4):
        left.advance()
    facts, arrays = left.state()
    again = Fit(table(), SPACE, DEFAULT, steps=10, seed=1)
    again.restore(json.loads(json.dumps(facts)), arrays)
    assert again.step == 4
    assert [again.advance() for _ in range(6)] == losses[4:]
    assert same(again.fitted(), whole.fitted())


def reference(
    network: SurrogateNetwork, context: Values, seen: Values, gave: Values, asked: Values
) -> tuple[Values, Values]:
    """What `Posterior` says, by the module that is fitted, in double precision, conditioned the textbook's way."""
    every = torch.from_numpy(inputs_of(SPACE, np.concatenate([seen, asked]))).double()
    normal = (torch.from_numpy(context) - network.context_mean) / network.context_std
    with torch.no_grad():
        mean, covariance = network.double()(normal.clamp(-CONTEXT_LIMIT, CONTEXT_LIMIT).double(), every)
        noise = torch.exp(2 * network.noise_std)
    means, stds = [], []
    for outcome in range(3):
        known = np.flatnonzero(np.isfinite(gave[:, outcome]))
        new = np.arange(len(seen), len(every))
        whole, of_mean = covariance[outcome].numpy(), mean[:, outcome].numpy()
        inner = whole[np.ix_(known, known)] + (float(noise[outcome]) + JITTER) * np.eye(len(known))
        gain = whole[np.ix_(new, known)] @ np.linalg.inv(inner)
        means.append(of_mean[new] + gain @ (gave[known, outcome] - of_mean[known]))
        stds.append(np.sqrt(np.diag(whole)[new] - (gain * whole[np.ix_(new, known)]).sum(1)))
    return np.stack(means, 1), np.stack(stds, 1)


def test_it_foresees_what_the_fitted_module_does_to_1e_5() -> None:
    """On episodes of real images, with traces that were given up or failed among them."""
    tasks = [task_of(seed) for seed in range(4)]
    evaluator = FakeEvaluator(fails=lambda job: job.params.filter_speckle == 1)
    table, _ = collect(tasks, evaluator, FAITHFUL, SPACE, per_image=40, seed=1)
    fit = Fit(table, SPACE, DEFAULT, steps=80, seed=1)
    for _ in range(80):
        fit.advance()
    network = SurrogateNetwork(CONTEXT_SIZE, SPACE)
    restore_module(network, fit.state()[1], "fit.weights.")
    agent = tiny_agent(screen=Screen(fit.fitted(), SPACE, {}, 6), max_steps=8)
    asked = np.random.default_rng(1).random((300, SPACE.size)).astype(np.float32)
    for number, task in enumerate(tasks):
        episode = agent.episode(task, 8, seed=number)
        while not episode.done:
            posterior = agent.screen.surrogate.given(episode.context, episode.points, episode.outcomes)
            expected = reference(network, context_of(task), episode.points, episode.outcomes, asked)
            for ours, theirs in zip(posterior(asked), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)
            params = episode.params_for(agent.act(episode.observation()))
            episode.record(evaluator.evaluate([episode.job(params)])[0])


def test_module_and_surrogate_have_the_same_weights() -> None:
    shapes = {name: tuple(weight.shape) for name, weight in SurrogateNetwork(7, SPACE).state_dict().items()}
    assert shapes == weight_shapes(7, SPACE)
