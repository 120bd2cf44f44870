import json
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.agent.surrogate import Surrogate
from pipeline.core.records import DEFAULT_PARAMS
from pipeline.training.surrogate_fit import Fit, Table, fit_surrogate
from tests.support.fakes import space_of

SPACE = space_of()
DEFAULT = SPACE.encode(DEFAULT_PARAMS)
IMAGES, PER_IMAGE = 24, 30
LISTED = SPACE.names.index("steps_per_pixel")
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


def test_a_seed_gives_the_same_weights_and_another_others() -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        return fit_surrogate(table(), SPACE, DEFAULT, steps=12, seed=seed).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


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
    weights = again.fitted().state_dict()
    assert all(torch.equal(weights[name], value) for name, value in whole.fitted().state_dict().items())


def test_its_weights_are_all_that_there_is_to_keep() -> None:
    copy = Surrogate(2, SPACE)
    copy.load_state_dict(fitted().state_dict())
    [context], [points], [outcomes] = drawn(6, 1)
    ours = foreseen(fitted(), context, points[:4], outcomes[:4], points)
    theirs = foreseen(copy, context, points[:4], outcomes[:4], points)
    np.testing.assert_array_equal(ours, theirs)


def test_a_short_axis_is_shown_value_by_value_and_a_long_one_is_not() -> None:
    model = Surrogate(2, SPACE)
    shown = [axis for axis in SPACE.axes if len(axis.values) <= 10]
    assert {axis.name for axis in shown} >= {"steps_per_pixel", "palette"}
    points = np.full((3, SPACE.size), 0.5, np.float32)
    points[:, LISTED] = [0.02, 0.1, 0.4]  # the first two in one share of a sixth each
    one_hot = model.inputs(points)[:, SPACE.size :]
    assert one_hot.shape[1] == sum(len(axis.values) for axis in shown)
    assert torch.equal(one_hot.sum(1), torch.full((3,), float(len(shown))))
    assert torch.equal(one_hot[0], one_hot[1])
    assert not torch.equal(one_hot[1], one_hot[2])


def test_every_value_of_an_axis_is_shown_as_its_number() -> None:
    model, axis = Surrogate(2, SPACE), SPACE.axes[LISTED]
    points = np.stack([SPACE.encode(SPACE.decode(DEFAULT))] * len(axis.values))
    points[:, LISTED] = [axis.centre(value) for value in axis.values]
    start = SPACE.size + sum(len(a.values) for a in SPACE.axes[:LISTED] if len(a.values) <= 10)
    cells = model.inputs(points)[:, start : start + len(axis.values)].argmax(1)
    assert cells.tolist() == SPACE.cells(points)[:, LISTED].tolist() == list(range(len(axis.values)))
