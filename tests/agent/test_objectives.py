import math
from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.agent.episode import Episode
from pipeline.agent.objectives import BROKEN, ERROR_FLOOR, SIZE_LIMIT, Objective, error_gain, value_of
from pipeline.agent.task import Task
from pipeline.core.records import (
    DEFAULT_PARAMS,
    OBJECTIVES,
    VISIBLE_DAMAGE,
    Evaluation,
    Failed,
    Gate,
    Pruned,
    Scored,
    Scores,
)
from tests.support.fakes import FAITHFUL, SMALLER, scores, space_of, task_of

SPACE, TASK = space_of(), task_of(1)
SOUND, DAMAGED, RUINED = (scores(damage=times * VISIBLE_DAMAGE) for times in (0.4, 4.0, 200.0))
DEFAULTS = [SOUND, DAMAGED, RUINED]
every_objective = pytest.mark.parametrize("objective", [replace(FAITHFUL, name=n) for n in OBJECTIVES], ids=OBJECTIVES)
every_default = pytest.mark.parametrize("default", DEFAULTS, ids=["sound", "damaged", "ruined"])

SHARPER, TARGET = replace(SMALLER, name="sharper"), replace(SMALLER, name="target", max_damage=20.0)
BALANCED = replace(SMALLER, name="balanced", quality_weight=0.2, size_weight=0.3, work_weight=0.1)

WITHIN_REACH = math.floor(1000 * math.exp(SIZE_LIMIT))  # bytes, of a default of 1000


def areas(low: float, high: float) -> st.SearchStrategy[float]:
    """Damage as it is measured: in whole fractions of a pixel."""
    return st.integers(math.ceil(low * 1024), math.floor(high * 1024)).map(lambda n: n / 1024)


sizes = st.integers(30, 30_000)
deltas = st.floats(0.0, 20.0)
pictures = st.builds(
    lambda size, damage, delta: scores(svg_bytes=size, damage=damage, delta=delta),
    sizes,
    areas(0, 3000) | areas(0, 2 * VISIBLE_DAMAGE),
    deltas,
)
sound = st.builds(lambda size, damage: scores(svg_bytes=size, damage=damage), sizes, areas(0, VISIBLE_DAMAGE))
unsound = st.builds(
    lambda size, damage: scores(svg_bytes=size, damage=damage), sizes, areas(VISIBLE_DAMAGE + 0.001, 3000)
)


def value(objective: Objective, candidate: Scores, default: Scores = SOUND, prescale: float = 1.0) -> float | None:
    return objective.value(replace(DEFAULT_PARAMS, prescale=prescale), candidate, default)


def worth(objective: Objective, candidate: Scores, default: Scores = SOUND) -> float:
    found = value(objective, candidate, default)
    assert found is not None
    return found


def by_worker(candidate: Scores, gate: Gate) -> Evaluation:
    if candidate.svg_bytes > gate.max_bytes:
        return Pruned("d", DEFAULT_PARAMS, candidate.svg_bytes, None, 0.1)
    if candidate.damage > gate.max_damage:
        return Pruned("d", DEFAULT_PARAMS, candidate.svg_bytes, candidate.damage, 0.1)
    return Scored("d", DEFAULT_PARAMS, candidate, 0.1)


@every_objective
@pytest.mark.parametrize("default", [scores(damage=0.0), SOUND, DAMAGED], ids=["perfect", "sound", "damaged"])
def test_the_default_itself_is_worth_nothing(objective: Objective, default: Scores) -> None:
    assert value(objective, default, default) == pytest.approx(0.0)


@given(better=sound, worse=unsound)
@every_default
def test_faithful_ranks_any_sound_picture_above_any_that_is_not(default: Scores, better: Scores, worse: Scores) -> None:
    assert worth(FAITHFUL, better, default) > worth(FAITHFUL, worse, default)


@given(one=sound, other=sound)
@every_default
def test_among_sound_pictures_fewer_bytes_win_whatever_their_damage(
    default: Scores, one: Scores, other: Scores
) -> None:
    small, large = sorted([one, other], key=lambda s: s.svg_bytes)
    better, worse = worth(FAITHFUL, small, default), worth(FAITHFUL, large, default)
    assert better >= worse
    if small.svg_bytes < large.svg_bytes and small.svg_bytes <= WITHIN_REACH:
        assert better > worse


@given(one=unsound, other=unsound)
@every_default
def test_among_damaged_pictures_less_damage_wins_whatever_their_bytes(
    default: Scores, one: Scores, other: Scores
) -> None:
    mild, bad = sorted([one, other], key=lambda s: s.damage)
    better, worse = worth(FAITHFUL, mild, default), worth(FAITHFUL, bad, default)
    assert better > worse if mild.damage < bad.damage else better == worse


@given(st.lists(pictures, min_size=1, max_size=12))
@every_default
def test_one_more_trace_never_adds_visible_damage(default: Scores, candidates: list[Scores]) -> None:
    task = Task(TASK.logo, TASK.measures, replace(TASK.default, scores=default))
    episode = Episode(task, FAITHFUL, SPACE, len(candidates))
    taken = [default]
    for candidate in candidates:
        episode.record(by_worker(candidate, episode.job(DEFAULT_PARAMS).gate))
        taken.append(episode.best.scores if episode.best else default)
    for before, after in pairwise(taken):
        assert after.damage <= max(before.damage, VISIBLE_DAMAGE)
        if before.damage <= VISIBLE_DAMAGE:
            assert after.svg_bytes <= before.svg_bytes
    best = max([default, *candidates], key=lambda s: worth(FAITHFUL, s, default))
    assert worth(FAITHFUL, taken[-1], default) == pytest.approx(worth(FAITHFUL, best, default))


def test_where_all_are_damaged_the_least_damaged_is_taken() -> None:
    assert worth(FAITHFUL, replace(RUINED, damage=190 * VISIBLE_DAMAGE, svg_bytes=9000), RUINED) > 0
    assert worth(FAITHFUL, replace(RUINED, damage=210 * VISIBLE_DAMAGE, svg_bytes=10), RUINED) < 0
    assert worth(FAITHFUL, scores(damage=VISIBLE_DAMAGE, svg_bytes=20_000), RUINED) > math.log(200)


def test_smaller_is_the_log_of_the_bytes_saved() -> None:
    assert value(SMALLER, scores(svg_bytes=500)) == pytest.approx(math.log(2))
    assert value(FAITHFUL, scores(svg_bytes=500)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("objective", [SMALLER, SHARPER], ids=["smaller", "sharper"])
@pytest.mark.parametrize(
    ("of_default", "limit"),
    [
        (0.0, VISIBLE_DAMAGE),
        (VISIBLE_DAMAGE,) * 2,
        (4 * VISIBLE_DAMAGE,) * 2,
        (BROKEN,) * 2,
        (200 * VISIBLE_DAMAGE, BROKEN),
    ],
)
def test_no_more_damage_than_the_defaults_and_a_broken_one_licenses_nothing(
    objective: Objective, of_default: float, limit: float
) -> None:
    default = scores(damage=of_default)
    better = replace(default, svg_bytes=500, delta=0.5)
    assert value(objective, replace(better, damage=limit), default) is not None
    assert value(objective, replace(better, damage=limit + 0.001), default) is None


def test_sharper_does_not_allow_more_bytes() -> None:
    assert value(SHARPER, scores(delta=0.5, svg_bytes=1001)) is None
    assert value(SHARPER, scores(delta=0.5)) == pytest.approx(math.log((1 + ERROR_FLOOR) / (0.5 + ERROR_FLOOR)))


def test_target_is_faithful_with_a_limit_of_ones_own() -> None:
    missed, reached = scores(damage=20.001, svg_bytes=10), scores(damage=20.0, svg_bytes=15_000)
    assert worth(TARGET, reached) > worth(TARGET, missed)
    assert worth(FAITHFUL, reached) < worth(FAITHFUL, scores(damage=VISIBLE_DAMAGE, svg_bytes=15_000))


@given(pictures)
@every_default
def test_target_at_what_is_visible_is_faithful(default: Scores, candidate: Scores) -> None:
    target = replace(TARGET, max_damage=VISIBLE_DAMAGE)
    assert value(target, candidate, default) == value(FAITHFUL, candidate, default)
    assert target.goal(default) == FAITHFUL.goal(default)


def test_balanced_counts_quality_size_and_work_by_their_weights() -> None:
    error = math.log((1 + ERROR_FLOOR) / (0.5 + ERROR_FLOOR))
    expected = 0.2 * error + 0.3 * math.log(2) - 0.1 * math.log(4)
    assert value(BALANCED, scores(delta=0.5, svg_bytes=500), prescale=2.0) == pytest.approx(expected)


@given(candidate=pictures, earlier=st.lists(pictures, max_size=4))
@every_default
@every_objective
def test_the_gate_lets_every_candidate_through_that_could_win(
    objective: Objective, default: Scores, candidate: Scores, earlier: list[Scores]
) -> None:
    """Whatever the best so far is: the default itself, or one of the pictures that were tried."""
    best = max([0.0, *(v for s in earlier if (v := value(objective, s, default)) is not None)])
    passes = isinstance(by_worker(candidate, objective.gate(best, default)), Scored)
    found = value(objective, candidate, default)
    if found is not None and found > best + 1e-9:
        assert passes


@given(candidate=pictures, best=pictures)
@every_default
@pytest.mark.parametrize("objective", [FAITHFUL, TARGET, SMALLER], ids=lambda o: o.name)
def test_the_gate_is_shut_for_what_cannot_win(
    objective: Objective, default: Scores, candidate: Scores, best: Scores
) -> None:
    """Size and damage decide alone, so nothing that passes is worth clearly less."""
    standing = value(objective, best, default)
    if standing is None or standing < 0:
        return
    found = value(objective, candidate, default)
    if isinstance(by_worker(candidate, objective.gate(standing, default)), Scored):
        assert found is not None
        assert found >= standing - 1e-9


@given(pictures)
@every_default
@every_objective
def test_graded_equals_the_value_where_there_is_one(objective: Objective, default: Scores, candidate: Scores) -> None:
    found = value(objective, candidate, default)
    graded = objective.graded(DEFAULT_PARAMS, candidate, default)
    assert graded == found if found is not None else math.isfinite(graded)


@given(candidate=pictures, best=pictures)
@every_default
@every_objective
def test_a_loser_is_graded_by_what_is_known_of_it(
    objective: Objective, default: Scores, candidate: Scores, best: Scores
) -> None:
    """What is not known is taken to be well, and it does not become the best."""
    standing = max(0.0, value(objective, best, default) or 0.0)
    lost = by_worker(candidate, objective.gate(standing, default))
    if not isinstance(lost, Pruned):
        return
    told = objective.graded_evaluation(lost, default)
    if objective.name == "sharper":
        assert told <= 0
        return
    if lost.damage is None or objective.name in ("faithful", "target"):
        assert told <= standing + 1e-9
    assert told >= objective.graded(DEFAULT_PARAMS, candidate, default) - 1e-9


@pytest.mark.parametrize("objective", [SMALLER, SHARPER], ids=["smaller", "sharper"])
def test_graded_falls_with_the_damage(objective: Objective) -> None:
    graded = [objective.graded(DEFAULT_PARAMS, scores(damage=d), SOUND) for d in (VISIBLE_DAMAGE, 5.0, 50.0, 500.0)]
    assert graded == sorted(graded, reverse=True)
    assert len(set(graded)) == 4


@every_objective
def test_a_failure_has_no_value_and_the_lowest_grade(objective: Objective) -> None:
    failed = Failed("d", DEFAULT_PARAMS, "panic", "", 0.1)
    assert value_of(objective, failed, SOUND) is None
    assert objective.graded_evaluation(failed, SOUND) == -math.inf


@given(st.lists(pictures, min_size=2, max_size=6))
@every_default
@every_objective
def test_the_best_value_so_far_is_that_of_some_picture_and_never_falls(
    objective: Objective, default: Scores, candidates: list[Scores]
) -> None:
    found = [v for s in candidates if (v := value(objective, s, default)) is not None]
    bests = list(accumulate([0.0, *found], max))
    assert bests == sorted(bests)
    assert all(math.isfinite(best) for best in bests)


def test_a_perfect_copy_has_a_finite_gain() -> None:
    assert error_gain(scores(delta=0.0), SOUND) == pytest.approx(math.log((1 + ERROR_FLOOR) / ERROR_FLOOR))
