from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tracking.gate import Verdict, verdict


def decide(
    challenger: Mapping[str, float], champion: Mapping[str, float] | None, min_improvement: float = 0.0
) -> Verdict:
    return verdict(
        challenger, champion, min_improvement=min_improvement, bootstrap_samples=200, confidence=0.95, seed=1
    )


def values(gain: float, images: int = 20) -> dict[str, float]:
    return {f"{i}.png": 0.1 * i + gain for i in range(images)}


def test_a_clear_gain_is_promoted_with_its_numbers() -> None:
    result = decide(values(0.1), values(0.0))
    assert result.promote
    assert result.gain is not None
    assert result.gain.mean == pytest.approx(0.1)
    assert (result.wins, result.losses, result.images, result.left_out) == (20, 0, 20, 0)
    assert "9.5 % better than the champion in the objective, 95 % CI 9.5 % better to 9.5 % better" in result.reason
    assert "20 images" in result.reason


def test_a_gain_within_chance_is_refused() -> None:
    noisy = {f"{i}.png": 0.1 * i + (1.0 if i % 2 else -0.95) for i in range(20)}
    result = decide(noisy, values(0.0))
    assert result.gain is not None
    assert result.gain.mean > 0 > result.gain.low
    assert not result.promote
    assert "beyond chance" in result.reason


def test_a_gain_below_what_is_asked_for_is_refused() -> None:
    assert decide(values(0.05), values(0.0), min_improvement=0.04).promote
    assert not decide(values(0.05), values(0.0), min_improvement=0.06).promote


def test_only_common_images_count() -> None:
    challenger = values(0.1) | {"easy.png": 100.0}
    champion = values(0.0) | {"hard.png": 100.0}
    result = decide(challenger, champion)
    assert result.gain is not None
    assert result.gain.mean == pytest.approx(0.1)
    assert result.left_out == 2
    assert "2 left out" in result.reason


def test_no_common_image_is_refused_without_numbers() -> None:
    result = decide({"a.png": 1.0}, {"b.png": 0.0})
    assert (result.promote, result.gain, result.images) == (False, None, 0)


def test_few_images_are_refused_however_good() -> None:
    assert not decide(values(1.0, images=5), values(0.0, images=5)).promote
    assert decide(values(1.0, images=6), values(0.0, images=6)).promote


def test_the_first_model_must_beat_the_default() -> None:
    assert decide({"a.png": 0.2, "b.png": 0.3}, None).promote
    assert not decide({"a.png": 0.0, "b.png": 0.0}, None).promote
    assert not decide({"a.png": 0.2, "b.png": -0.1}, None).promote
    assert "default" in decide({"a.png": 0.2, "b.png": 0.3}, None).reason
    assert not decide({}, None).promote


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_improvement is -0\.1"):
        decide(values(0.1), values(0.0), min_improvement=-0.1)


numbers = st.floats(-5, 5, allow_nan=False)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30)


@given(pairs)
def test_two_models_never_replace_each_other(drawn: list[tuple[float, float]]) -> None:
    one = {str(i): a for i, (a, _) in enumerate(drawn)}
    other = {str(i): b for i, (_, b) in enumerate(drawn)}
    assert not (decide(one, other).promote and decide(other, one).promote)


@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_model_never_replaces_its_equal(drawn: list[float]) -> None:
    same = {str(i): a for i, a in enumerate(drawn)}
    result = decide(same, dict(same))
    assert not result.promote
    assert (result.wins, result.losses) == (0, 0)


@given(pairs, st.floats(0.001, 3))
def test_getting_better_everywhere_never_costs_the_promotion(drawn: list[tuple[float, float]], extra: float) -> None:
    one = {str(i): a for i, (a, _) in enumerate(drawn)}
    other = {str(i): b for i, (_, b) in enumerate(drawn)}
    if decide(one, other).promote:
        assert decide({image: value + extra for image, value in one.items()}, other).promote
