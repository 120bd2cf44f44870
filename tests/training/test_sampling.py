from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import CATEGORIES, Category
from pipeline.training.sampling import BalancedSampler, Strategy

categories = st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=40)
strategies = st.sampled_from(["round_robin", "random", "least_evaluated"])


@given(categories, strategies, st.integers(0, 99))
def test_draws_are_balanced_over_the_categories(images: list[Category], strategy: Strategy, seed: int) -> None:
    sampler = BalancedSampler(images, strategy, seed)
    counts = Counter(images[sampler.draw()] for _ in range(24))
    assert set(counts) == set(images)
    assert max(counts.values()) - min(counts.values()) <= 1


@given(categories, strategies, st.integers(1, 8), st.integers(0, 99))
def test_samples_are_different_images_and_as_many_as_there_are(
    images: list[Category], strategy: Strategy, per_category: int, seed: int
) -> None:
    chosen = BalancedSampler(images, strategy, seed).sample(per_category)
    assert len(set(chosen)) == len(chosen)
    for category, there in Counter(images).items():
        assert sum(images[i] == category for i in chosen) == min(per_category, there)


@pytest.mark.parametrize("strategy", ["round_robin", "least_evaluated"])
def test_every_image_has_its_turn_before_any_comes_again(strategy: Strategy) -> None:
    sampler = BalancedSampler(["text"] * 6, strategy, seed=3)
    assert sorted([*sampler.sample(2), *sampler.sample(2), *sampler.sample(2)]) == list(range(6))


def test_the_seed_decides() -> None:
    def drawn(seed: int) -> list[int]:
        sampler = BalancedSampler(["simple", "complex"] * 20, "random", seed)
        return [sampler.draw() for _ in range(10)]

    assert drawn(1) == drawn(1) != drawn(2)
