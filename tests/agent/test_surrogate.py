import numpy as np
import pytest

from pipeline.agent.features import CONTEXT_SIZE
from pipeline.agent.surrogate import Surrogate, input_size, inputs_of
from pipeline.core.records import DEFAULT_PARAMS
from tests.support.fakes import space_of, tiny_screen

SPACE = space_of()
LISTED = SPACE.names.index("steps_per_pixel")


def test_a_short_axis_is_shown_value_by_value_and_a_long_one_is_not() -> None:
    shown = [axis for axis in SPACE.axes if len(axis.values) <= 10]
    assert {axis.name for axis in shown} >= {"steps_per_pixel", "palette"}
    points = np.full((3, SPACE.size), 0.5, np.float32)
    points[:, LISTED] = [0.02, 0.1, 0.4]  # the first two in one share of a sixth each
    inputs = inputs_of(SPACE, points)
    assert inputs.shape == (3, input_size(SPACE))
    one_hot = inputs[:, SPACE.size :]
    assert one_hot.shape[1] == sum(len(axis.values) for axis in shown)
    assert one_hot.sum(1).tolist() == [len(shown)] * 3
    assert np.array_equal(one_hot[0], one_hot[1])
    assert not np.array_equal(one_hot[1], one_hot[2])


def test_every_value_of_an_axis_is_shown_as_its_number() -> None:
    axis = SPACE.axes[LISTED]
    points = np.stack([SPACE.encode(DEFAULT_PARAMS)] * len(axis.values))
    points[:, LISTED] = [axis.centre(value) for value in axis.values]
    start = SPACE.size + sum(len(a.values) for a in SPACE.axes[:LISTED] if len(a.values) <= 10)
    cells = inputs_of(SPACE, points)[:, start : start + len(axis.values)].argmax(1)
    assert cells.tolist() == SPACE.cells(points)[:, LISTED].tolist() == list(range(len(axis.values)))


@pytest.mark.parametrize("name", ["image.0.weight", "noise_std", "context_mean"])
def test_weights_that_are_missing_or_of_another_shape_are_named(name: str) -> None:
    weights = tiny_screen(SPACE).surrogate.weights
    for wrong in ({n: w for n, w in weights.items() if n != name}, {**weights, name: np.zeros((2, 2), np.float32)}):
        with pytest.raises(ValueError, match=name):
            Surrogate(CONTEXT_SIZE, SPACE, wrong)


def test_what_was_never_measured_changes_nothing() -> None:
    surrogate = tiny_screen(SPACE).surrogate
    points = np.random.default_rng(1).random((9, SPACE.size)).astype(np.float32)
    context = np.zeros(CONTEXT_SIZE, np.float32)
    blind = surrogate.given(context, points[:3], np.full((3, 3), np.nan, np.float32))(points)
    nothing = surrogate.given(context, points[:0], np.zeros((0, 3), np.float32))(points)
    for seen, unseen in zip(blind, nothing, strict=True):
        np.testing.assert_allclose(seen, unseen, atol=1e-5)
