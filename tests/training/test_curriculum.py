import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import CATEGORIES
from pipeline.training.curriculum import plan, stage_images, success_rate
from tests.support.fakes import settings_with

CURRICULUM = settings_with().curriculum


@given(st.integers(1, 200_000), st.integers(1, 4096))
def test_the_plan_spends_the_timesteps_in_whole_rollouts(total: int, rollout: int) -> None:
    stages = plan(CURRICULUM, total, rollout)
    assert [s.settings.name for s in stages] == ["simple", "text", "gradient", "complex"]
    assert all(s.timesteps >= rollout and s.timesteps % rollout == 0 for s in stages)
    if total >= 20 * rollout:
        assert sum(s.timesteps for s in stages) == total // rollout * rollout


def test_switched_off_it_is_one_stage_with_every_category() -> None:
    [stage] = plan(settings_with(curriculum__enabled=False).curriculum, 1000, 100)
    assert stage.timesteps == 1000
    assert stage.settings.categories == CATEGORIES


def test_a_stage_takes_the_least_complex_share_of_its_categories() -> None:
    stage = CURRICULUM.stages[1].model_copy(update={"difficulty": 0.5})
    categories = ["simple", "text", "text", "complex", "simple"]
    assert stage_images(stage, categories, [0.9, 0.5, 0.1, 0.0, 0.2]) == [4, 2]  # type: ignore[arg-type]


def test_a_stage_without_its_categories_has_no_images() -> None:
    assert stage_images(CURRICULUM.stages[0], ["complex"], [0.5]) == []


def test_success_is_the_share_that_reached_the_goal() -> None:
    assert success_rate([0.1, 0.5, 0.6, 0.2], 0.5) == pytest.approx(0.5)
    assert success_rate([], 0.5) is None
