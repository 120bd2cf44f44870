import math
from dataclasses import replace

import numpy as np
import pytest

from pipeline.agent.candidates import CANDIDATE_FEATURES, Shortlist, mutated
from pipeline.agent.episode import Episode
from pipeline.agent.objectives import Goal
from pipeline.agent.outcome import DAMAGE, SIZE, soft_clip
from pipeline.agent.screen import FEATURE_LIMIT, Banks, Screen, predict
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, ObjectiveName, TracerParams
from pipeline.tracing.space import ParameterSpace
from tests.support.fakes import SMALLER, FakeEvaluator, settings_with, space_of, task_of, tiny_screen

SCREEN = tiny_screen(size=12)
SPACE = SCREEN.space
COLUMN = {name: column for column, name in enumerate(CANDIDATE_FEATURES)}


def episode(screen: Screen = SCREEN, seed: int = 0, name: ObjectiveName = "smaller") -> Episode:
    return Episode(task_of(1), replace(SMALLER, name=name), screen.space, 20, screen, seed=seed)


def play(running: Episode, steps: int) -> list[Shortlist]:
    """Takes the most promising again and again; some fail."""
    evaluator = FakeEvaluator(fails=lambda job: len(evaluator.jobs) % 4 == 3)
    shown = [running.shortlist]
    for _ in range(steps):
        running.record(evaluator.evaluate([running.job(running.params_for(0))])[0])
        shown.append(running.shortlist)
    return shown


def fixed_but(**free: list[int]) -> ParameterSpace:
    settings = {f"tracing__{axis.name}": {"fixed": getattr(DEFAULT_PARAMS, axis.name)} for axis in SPACE.axes}
    return space_of(settings_with(**settings | {f"tracing__{name}": {"choices": v} for name, v in free.items()}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_shortlist_holds_different_settings_none_of_which_was_tried(name: ObjectiveName) -> None:
    running = episode(name=name)
    for number, shortlist in enumerate(play(running, 6)):
        assert len(shortlist.params) == len(set(shortlist.params)) == SCREEN.size
        assert not set(shortlist.params) & set(running.tried[:number])
        assert all(SPACE.contains(params) for params in shortlist.params)


def test_the_first_is_the_most_promising() -> None:
    for shortlist in play(episode(), 6):
        promise = shortlist.features[:, COLUMN["promise"]]
        assert promise[0] == 0
        assert (np.diff(promise) <= 0).all()


def test_every_feature_is_a_bounded_number() -> None:
    for shortlist in play(episode(), 6):
        assert shortlist.features.shape == (SCREEN.size, len(CANDIDATE_FEATURES))
        assert shortlist.features.dtype == np.float32
        assert np.isfinite(shortlist.features).all()
        assert np.abs(shortlist.features).max() <= FEATURE_LIMIT
        assert np.isfinite(shortlist.promise)


def test_the_distance_is_to_the_best_so_far() -> None:
    running, small = episode(), SPACE.decode(np.full(SPACE.size, 0.3))
    assert not running.shortlist.features[:, COLUMN["distance"]].any()
    running.record(FakeEvaluator().evaluate([running.job(small)])[0])
    assert running.best is not None
    points = np.stack([SPACE.encode(params) for params in running.shortlist.params])
    by_hand = np.abs(points - SPACE.encode(small)).sum(1)
    assert by_hand.max() > 0.3
    # A candidate lies anywhere in its share of each axis, and what is known of its setting is the middle.
    np.testing.assert_allclose(running.shortlist.features[:, COLUMN["distance"]], by_hand, atol=0.6)


def test_the_work_is_the_logarithm_of_the_enlargement() -> None:
    for screen in (SCREEN, tiny_screen(space_of(settings_with(tracing__prescale={"fixed": 1.5})))):
        shortlist = episode(screen).shortlist
        expected = [2 * math.log(params.prescale) for params in shortlist.params]
        assert shortlist.features[:, COLUMN["work"]] == pytest.approx(expected)
        assert max(expected) > 0


def test_a_seed_gives_the_same_shortlists_and_another_others() -> None:
    def shown(seed: int) -> list[tuple[TracerParams, ...]]:
        return [tuple(shortlist.params) for shortlist in play(episode(seed=seed), 3)]

    assert shown(1) == shown(1)
    assert all(a != b for a, b in zip(shown(1), shown(2), strict=True))
    assert len(set(shown(1))) == 4


def test_it_does_not_depend_on_what_was_asked_before() -> None:
    first = episode().shortlist.params
    play(episode(seed=9), 2)
    assert episode().shortlist.params == first


def test_a_space_with_too_few_settings_fills_the_places_left() -> None:
    running = episode(tiny_screen(fixed_but(path_precision=[0, 2])))
    both = set(running.shortlist.params)
    assert {params.path_precision for params in both} == {0, 2}
    assert len(running.shortlist.params) == 6
    first = running.params_for(0)
    for shortlist in play(running, 3)[1:]:
        assert len(shortlist.params) == 6
        assert np.isfinite(shortlist.features).all()
    assert running.tried[0] == first
    assert set(running.tried[:2]) == both, "the other is tried before one is tried again"


def test_without_settings_known_to_be_good_it_imagines_some() -> None:
    none: list[Banks] = [{}, {"smaller": np.zeros((0, SPACE.size), np.float32)}]
    for banks in none:
        assert len(set(episode(replace(SCREEN, banks=banks)).shortlist.params)) == SCREEN.size


@pytest.mark.parametrize("best_value", [0.0, 0.3])
def test_the_expected_improvement_is_what_draws_from_the_outcomes_give(best_value: float) -> None:
    rng = np.random.default_rng(1)
    mean, std = rng.normal(0, 0.3, (4, 3)), rng.uniform(0.1, 0.5, (4, 3))
    work = np.log([1.0, 2.25, 4.0, 1.0])
    goal = Goal(0.6, 0.4, 0.1, 0.05, (0.1, math.inf, 0.8))
    forecast = predict(goal, mean, std, work, best_value)

    drawn = rng.normal(mean, std, (200_000, 4, 3))
    gain = goal.offset - 0.6 * drawn[..., 0] - 0.4 * drawn[..., 1] - 0.1 * work - best_value
    np.testing.assert_allclose(forecast.gain, gain.mean(0), atol=0.005)
    np.testing.assert_allclose(forecast.spread, gain.std(0), rtol=0.01)
    np.testing.assert_allclose(np.exp(forecast.gain_promise), np.maximum(gain, 0).mean(0), atol=1e-3)
    allowed = (drawn[..., SIZE] < 0.1) & (drawn[..., DAMAGE] < 0.8)  # any error is
    np.testing.assert_allclose(np.exp(forecast.feasible), allowed.mean(0), rtol=0.03)
    np.testing.assert_allclose(forecast.promise, forecast.gain_promise + forecast.feasible)


@pytest.mark.parametrize("best_damage", [0.5, 2.0, 9.0])
def test_while_the_best_is_damaged_less_damage_is_promising(best_damage: float) -> None:
    """In ln of the limit: 9 lies beyond the bend, where outcomes hardly differ."""
    rng = np.random.default_rng(2)
    mean, std = np.stack([np.zeros(4), np.zeros(4), [0.3, 1.8, 3.0, -2.0]], axis=1), np.full((4, 3), 0.5)
    goal = Goal(1.0, 0.0, 0.0, 0.2, (math.inf, math.inf, 0.0), 2.0)
    forecast = predict(goal, mean, std, np.zeros(4), 0.2 - 3 - 2 * best_damage)

    drawn = rng.normal(mean, std, (400_000, 4, 3))[..., DAMAGE]
    known = soft_clip([0, 0, best_damage])[DAMAGE]
    relief = 2 * np.where((drawn > 0) & (drawn < known), known - drawn, 0.0).mean(0)
    np.testing.assert_allclose(np.exp(forecast.relief), relief, atol=0.02)
    np.testing.assert_allclose(
        np.exp(forecast.promise), np.exp(forecast.gain_promise + forecast.feasible) + relief, atol=0.03
    )


def test_once_the_best_is_sound_less_damage_is_worth_nothing() -> None:
    goal = Goal(1.0, 0.0, 0.0, 0.2, (math.inf, math.inf, 0.0), 2.0)
    forecast = predict(goal, np.ones((1, 3)), np.ones((1, 3)), np.zeros(1), 0.2)
    np.testing.assert_array_equal(forecast.promise, forecast.gain_promise + forecast.feasible)


def test_the_hopeless_has_a_finite_promise() -> None:
    goal = Goal(1.0, 0.0, 0.0, 0.0, (math.inf, -0.5, 0.0))
    forecast = predict(goal, np.full((1, 3), 5.0), np.full((1, 3), 1e-3), np.zeros(1), 2.0)
    assert np.isfinite(forecast.promise).all()


def test_a_variation_keeps_all_but_a_few_axes() -> None:
    parents = np.random.default_rng(1).random((3, SPACE.size)).astype(np.float32)
    points = mutated(parents, 200, np.random.default_rng(2))
    assert points.dtype == np.float32
    assert points.shape == (200, SPACE.size)
    assert points.min() >= 0
    assert points.max() <= 1
    kept = (points[:, None] == parents).sum(-1).max(1)
    assert set(SPACE.size - kept) <= {0, 1, 2, 3}  # 0 where a step ends at the edge that it set out from
    assert (SPACE.size - kept).max() == 3


def test_a_limit_far_beyond_the_bend_still_tells_ruined_pictures_from_good_ones() -> None:
    goal = Goal(1.0, 0.0, 0.0, 0.0, (math.inf, 0.66, math.inf))
    ruined, good = [-3.0, 0.68, 0.0], [-2.0, 0.1, 0.0]
    seen = predict(goal, np.array([ruined, good]), np.full((2, 3), 0.15), np.zeros(2), 0.0)
    assert seen.promise[1] > seen.promise[0]
