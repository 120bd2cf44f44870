from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.core.facts.comparison import DamagedRegion, DamageKind, Duel
from pipeline.core.facts.training import EarlyStop, SeedResult, SeedSpread
from pipeline.core.intervals import Interval, Trend
from pipeline.core.records import BYTES_OBJECTIVES, OBJECTIVES, ObjectiveName
from pipeline.reports import rival_findings, run_findings
from pipeline.reports.findings import find, headline
from pipeline.reports.parts import Finding
from pipeline.reports.results import ImageMeasurement, Results
from tests.support import facts


def with_training(results: Results, **changes: Any) -> Results:
    return replace(results, training=replace(results.training, **changes))


def with_comparison(results: Results, **changes: Any) -> Results:
    return replace(results, comparison=replace(results.comparison, **changes))


def with_duels(results: Results, *duels: Duel) -> Results:
    return with_comparison(results, duels=duels)


def duel(against: str, low: float, high: float, traces: int = 8, better: bool | None = None) -> Duel:
    gain = Interval((low + high) / 2, low, high)
    return Duel(
        against=against, traces=traces, gain=gain, difference=gain, damaged=1, rival_damaged=30, wins=0, losses=0,
        ties=0, better=better,
    )  # fmt: skip


def one(findings: Any) -> Finding:
    found = list(findings)
    assert len(found) == 1, found
    assert isinstance(found[0], Finding)
    return found[0]


def test_the_headline_has_both_gains_with_their_limits(results: Results) -> None:
    sentence = headline(with_duels(results, duel("default", 0.4, 0.7), duel("fixed", 0.05, 0.2)))
    assert sentence == (
        "With 8 traces per logo, tracewright needs 42 % fewer bytes than VTracer's default (95 % interval 33–50 %) and "
        "12 % fewer bytes than the best fixed setting per category (4.9–18 %), on 40 test logos that nobody trained on."
        " 1 of 40 logos shows visible damage; VTracer's default damages 30."
    )


def test_the_headline_says_so_when_ours_loses(results: Results) -> None:
    assert "8.3 % more bytes than VTracer's default" in headline(with_duels(results, duel("default", -0.12, -0.04)))


def test_a_run_that_met_accidents_says_that_it_cannot_be_had_again(results: Results) -> None:
    assert list(run_findings.comparable(results)) == []
    struck = replace(results.training.evaluations, bit_comparable=False)
    finding = one(run_findings.comparable(with_training(results, evaluations=struck)))
    assert finding.level == "attention"
    assert finding.text.startswith("In training a worker died")


def test_the_second_renderer_is_heard(results: Results) -> None:
    finding = one(run_findings.second_renderer(results))
    assert finding.level == "good"
    assert finding.text == (
        "A second renderer (resvg) confirms 40 of 40 choices; damage differs by 0.4 pixels on average."
    )
    second = results.comparison.second_renderer
    assert second is not None
    for upheld, level in ((39, "info"), (36, "info"), (35, "attention")):
        doubtful = replace(second, upheld=upheld, not_upheld=tuple(f"{n}.png" for n in range(40 - upheld)))
        assert one(run_findings.second_renderer(with_comparison(results, second_renderer=doubtful))).level == level
    assert list(run_findings.second_renderer(with_comparison(results, second_renderer=None))) == []


def test_without_duels_the_headline_claims_nothing(results: Results) -> None:
    assert headline(with_duels(results)) == "tracewright was evaluated on 40 test logos."


@pytest.mark.parametrize(
    ("low", "high", "level", "said"),
    [
        (0.05, 0.2, "good", "At 8 traces tracewright needs 12 % fewer bytes than random search"),
        (-0.2, -0.05, "attention", "Random search is ahead at 8 traces: tracewright needs 13 % more bytes"),
        (-0.05, 0.07, "info", "At 8 traces tracewright and random search cannot be told apart"),
    ],
)
def test_a_rival_is_beaten_ahead_or_undecided(results: Results, low: float, high: float, level: str, said: str) -> None:
    finding = one(rival_findings.rivals(with_duels(results, duel("random", low, high))))
    assert (finding.level, finding.evidence["against"]) == (level, "random")
    assert finding.text.startswith(said)


@pytest.mark.parametrize(
    ("better", "bytes_gain", "said"),
    [
        (True, -0.1, "At 8 traces tracewright is ahead of TPE by damage: it needs 11 % more bytes (95 % interval"),
        (False, 0.1, "TPE is ahead by damage at 8 traces: tracewright needs 9.5 % fewer bytes (95 % interval"),
        (None, 0.1, "At 8 traces tracewright and TPE cannot be told apart: tracewright is better on 9 images and"),
    ],
)
def test_the_verdict_and_the_bytes_may_point_to_different_sides(
    results: Results, better: bool | None, bytes_gain: float, said: str
) -> None:
    sizes = Interval(bytes_gain, bytes_gain - 0.02, bytes_gain + 0.02)
    value = {True: Interval(1, 0.5, 2), False: Interval(-1, -2, -0.5), None: Interval(0, -1, 1)}[better]
    fought = replace(duel("tpe", 0, 0), gain=value, difference=sizes, better=better, wins=9, losses=4)
    text = one(rival_findings.rivals(with_duels(results, fought))).text
    assert text.startswith(said)
    assert text.endswith("1 damaged against 30.")


def test_damage_is_told_in_words(results: Results) -> None:
    def region(kind: DamageKind, damage: float) -> DamagedRegion:
        return DamagedRegion(x=0, y=0, width=4, height=4, damage=damage, kind=kind)

    damaged = {
        "a.png": (region("detail", 9.0), region("edge", 1.0)),
        "b.png": (region("detail", 4.0),),
        "c.png": (region("colour", 4.0),),
        "gone.png": (),
    }
    images = tuple(replace(i, damage=5.0 if n < 4 else 0.0) for n, i in enumerate(results.images))
    text = one(rival_findings.damage(replace(results, images=images, damaged=damaged))).text
    assert text.startswith("4 of 40 test images show visible damage: 2 lost a detail and 1 lost a colour; VTracer's")


def test_presets_are_mentioned_only_where_they_are_not_beaten(results: Results) -> None:
    beaten, ahead = duel("preset_bw", 0.1, 0.2), duel("preset_photo", -0.3, -0.1)
    finding = one(rival_findings.rivals(with_duels(results, beaten, ahead)))
    assert "VTracer's preset photo is ahead" in finding.text


def test_losses_at_other_budgets_are_not_hidden(results: Results) -> None:
    duels = (duel("tpe", 0.1, 0.2), duel("tpe", -0.2, -0.1, traces=16), duel("random", -0.1, 0.1, traces=16))
    finding = one(rival_findings.losses_elsewhere(with_duels(results, *duels)))
    assert finding.text.startswith("TPE is ahead at 16 traces")
    assert finding.level == "attention"


def test_a_rival_ahead_on_one_category_is_named(results: Results) -> None:
    texts = [f.text for f in rival_findings.losses_in_categories(results)]
    assert any(
        t.startswith("TPE is ahead at 16 traces on text logos: tracewright needs 10 % more bytes") for t in texts
    )
    assert not any("random" in t for t in texts)


def test_a_lead_within_chance_is_told_as_one(results: Results) -> None:
    paths = [i.path for i in results.images if i.category == "simple"]
    measures = {
        ("agent", 8): {p: ImageMeasurement(0.5, 0.5, 0.0) for p in paths},
        ("tpe", 4): {p: ImageMeasurement(0.5 + 0.1 * (-1) ** k + 0.01, 0.5, 0.0) for k, p in enumerate(paths)},
    }
    changed = with_comparison(replace(results, measures=measures), traces=(4, 8))
    finding = one(rival_findings.losses_in_categories(changed))
    assert finding.level == "info"
    assert finding.text == "Ahead of tracewright, but within chance: TPE on simple logos at 8 traces."


@pytest.mark.parametrize(
    ("low", "high", "level", "said"),
    [
        (0.02, 0.06, "good", "Training pays: 3.9 % fewer bytes"),
        (-0.01, 0.02, "info", "Training added nothing that can be told from chance"),
        (-0.06, -0.02, "attention", "Training hurts: 4.1 % more bytes"),
    ],
)
def test_the_ablation_says_what_training_added(
    results: Results, low: float, high: float, level: str, said: str
) -> None:
    finding = one(rival_findings.ablation(with_duels(results, duel("untrained", low, high))))
    assert finding.level == level
    assert finding.text.startswith(said)


@pytest.mark.parametrize(
    ("low", "high", "level", "said", "worth"),
    [
        (0.02, 0.08, "good", "Learning when to stop pays: with --traces auto, 12 traces", "4.9 % fewer bytes"),
        (-0.01, 0.02, "attention", "Learning when to stop added nothing that can be told", "0.5 % fewer bytes"),
        (-0.06, -0.02, "attention", "Learning when to stop hurts", "4.1 % more bytes"),
    ],
)
def test_what_was_learnt_about_stopping_is_told(
    results: Results, low: float, high: float, level: str, said: str, worth: str
) -> None:
    finding = one(rival_findings.stopping(with_comparison(results, stopping=facts.stopping_of(low, high))))
    assert finding.level == level
    assert finding.text.startswith(said)
    assert f"that is as good as {worth} (95 % interval" in finding.text


def test_without_a_learnt_rule_nothing_is_told_of_it(results: Results) -> None:
    for none in (None, replace(facts.stopping_of(), trained=None)):
        assert not list(rival_findings.stopping(with_comparison(results, stopping=none)))


def test_damage_is_counted_and_the_worst_are_named(results: Results) -> None:
    sound = [replace(i, damage=1.0) for i in results.images]
    finding = one(rival_findings.damage(replace(results, images=tuple(sound))))
    assert (finding.level, finding.evidence["damaged"]) == ("good", 0)
    assert finding.text == "None of 40 test images show visible damage; VTracer's default damages 40."
    hurt = [replace(image, damage=10.0 + n) if n < 7 else image for n, image in enumerate(sound)]
    finding = one(rival_findings.damage(replace(results, images=tuple(hurt))))
    assert finding.level == "attention"
    assert finding.evidence == {"damaged": 7, "default_damaged": 40, "images": 40}
    assert f"Look at {hurt[6].path} (16 pixels), " in finding.text
    assert hurt[2].path in finding.text
    assert hurt[1].path not in finding.text, "five are named"


@pytest.mark.parametrize(("damaged", "level"), [(3, "good"), (4, "attention")])
def test_more_than_8_percent_damaged_call_for_attention(results: Results, damaged: int, level: str) -> None:
    images = tuple(replace(i, damage=9.0 if n < damaged else 0.0) for n, i in enumerate(results.images))
    assert one(rival_findings.damage(replace(results, images=images))).level == level


def test_damage_that_was_not_measured_is_not_judged(results: Results) -> None:
    assert list(rival_findings.damage(replace(results, images=()))) == []


def test_the_weakest_category_is_named_of_those_with_ten_images(results: Results) -> None:
    """Of the 40 images 9 are complex, and complex is the worst."""
    finding = one(rival_findings.weakest_category(results))
    assert finding.text.startswith("The weakest category is text")
    assert finding.level == "info"


def test_images_that_keep_the_default_are_counted(results: Results) -> None:
    kept = [i.path for i in results.images if i.value == 0]
    finding = one(rival_findings.unimproved(results))
    assert finding.evidence["unimproved"] == len(kept) > 0
    half = tuple(replace(i, value=0.0, improved=False) if k % 2 else i for k, i in enumerate(results.images))
    assert one(rival_findings.unimproved(replace(results, images=half))).level == "attention"
    none = tuple(replace(i, value=0.1, improved=True) for i in results.images)
    assert one(rival_findings.unimproved(replace(results, images=none))).level == "good"


@pytest.mark.parametrize(
    ("direction", "level", "said"),
    [
        ("improving", "info", "still improving"),
        ("steady", "info", "no trend"),
        ("declining", "attention", "the model kept is the best one"),
        ("unknown", "info", "too few validations"),
    ],
)
def test_the_trend_is_said_with_what_follows(results: Results, direction: Any, level: str, said: str) -> None:
    last = replace(results.training.validations[-1], trend=Trend(direction, None, None, None))
    finding = one(run_findings.trend(with_training(results, validations=(last,))))
    assert (finding.level, said in finding.text) == (level, True)


def test_failed_stages_are_named_and_all_passed_is_good(results: Results) -> None:
    finding = one(run_findings.curriculum(results))
    assert finding.text == (
        "Stage gradient of the curriculum was not passed: 64 % of its episodes reached the goal, 70 % were required "
        "(2 attempts)."
    )
    passed = tuple(replace(s, passed=True) for s in results.training.stages)
    assert one(run_findings.curriculum(with_training(results, stages=passed))).text.startswith("All 4 stages")
    assert list(run_findings.curriculum(with_training(results, stages=()))) == []


def test_failures_are_told_by_kind_and_weighed_by_their_share(results: Results) -> None:
    training, evaluation = run_findings.failures(results)
    assert training.text.startswith("In training 25 traces failed (0.1 % of 20,480 timesteps): 14 empty SVGs, 9 panics")
    assert training.level == "info"
    assert "3 panics of VTracer and 1 timeout" in evaluation.text
    many = with_training(results, failures={"panic": 900})
    assert next(iter(run_findings.failures(many))).level == "attention"
    marked = with_comparison(results, left_out={"c.png": "timeout"}, withdrawn=("a.png", "b.png"))
    [*_, left_out, lost] = run_findings.failures(marked)
    assert left_out.text == "1 test image left out, because VTracer's default failed: c.png (timeout)."
    assert lost.text.startswith("What was chosen for 2 images could not be traced again, and VTracer's default counts")
    assert (lost.level, lost.evidence) == ("attention", {"withdrawn": ["a.png", "b.png"]})
    none = with_comparison(with_training(results, failures={"panic": 0}), failures={})
    assert one(run_findings.failures(none)).text == "No trace failed, in training or in evaluation."


def test_speed_comes_with_what_to_change(results: Results) -> None:
    assert "more cores (compute.workers)" in one(run_findings.speed(results)).text
    spread = with_training(results, time_shares={"tracing": 0.4, "ppo": 0.35, "portfolios": 0.25})
    assert one(run_findings.speed(spread)).text == (
        "Training made 41 timesteps per second; 40 % of the time went into tracing, 35 % into updating the policy and "
        "25 % into the search for the rivals' settings."
    )
    for part in ("portfolios", "table", "surrogate"):
        mostly = with_training(results, time_shares={part: 0.9, "tracing": 0.1})
        assert "would speed it up most." in one(run_findings.speed(mostly)).text


def test_the_catalogues_recommendations_are_passed_on(results: Results) -> None:
    assert results.quality
    quality = replace(results.quality, recommendations=("add gradient ones",))
    assert one(run_findings.data(replace(results, quality=quality))).text == "Data: add gradient ones"


def test_without_the_catalogue_imbalance_is_seen_in_the_counts(results: Results) -> None:
    dataset = replace(
        results.training.dataset,
        by_category={"simple": {"train": 70, "test": 8}, "text": {"train": 20, "test": 4}, "complex": {}},
    )
    skewed = replace(with_training(results, dataset=dataset), quality=None)
    assert "78 simple logos and 24 text ones" in one(run_findings.data(skewed)).text
    assert list(run_findings.data(replace(results, quality=None))) == []


def test_few_test_images_make_the_intervals_unsure(results: Results) -> None:
    few = with_comparison(replace(results, quality=None), images=12)
    assert one(run_findings.data(few)).text.startswith("Only 12 test images")


@pytest.mark.parametrize(("decision", "level"), [("promoted", "good"), ("first", "info"), ("refused", "attention")])
def test_the_gates_decision_is_told_with_its_reason(results: Results, decision: Any, level: str) -> None:
    assert results.decision
    made = replace(results.decision, decision=decision, version="4", reason="because of the numbers; gain +12.1975")
    finding = one(run_findings.decision(replace(results, decision=made)))
    assert finding.level == level
    assert "tracewright version 4" in finding.text
    assert ": because of the numbers; better than version 2 on 25 of 40 test images, worse on 10." in finding.text
    assert list(run_findings.decision(replace(results, decision=None))) == []


def test_an_early_end_is_told(results: Results) -> None:
    assert list(run_findings.stopped(results)) == []
    patience = EarlyStop(kind="no_improvement", text="no improvement in 5 validations")
    early = one(run_findings.stopped(with_training(results, stopped=patience, total_timesteps=9000)))
    assert early.level == "info"
    assert "after 9,000 of" in early.text
    assert early.text.endswith(": no improvement in 5 validations.")
    memory = EarlyStop(kind="memory_limit", text="memory limit: 9 bytes used")
    assert one(run_findings.stopped(with_training(results, stopped=memory))).level == "attention"


def test_the_spread_over_seeds_is_told_when_there_are_several(results: Results) -> None:
    assert list(run_findings.seeds(results)) == []
    seeds = (SeedResult(seed=1, run_id="a", best_value=0.5), SeedResult(seed=2, run_id="b", best_value=0.54))
    several = with_training(results, seeds=seeds, seed_spread=SeedSpread(mean=0.52, std=0.028))
    assert "0.520 ± 0.028" in one(run_findings.seeds(several)).text


def test_all_findings_together_are_sentences_with_evidence(results: Results) -> None:
    found = find(results)
    assert len(found) > 12
    for finding in found:
        assert finding.text.endswith(".")
        assert not finding.text[0].islower()
        assert "None" not in finding.text
        assert "nan" not in finding.text
        assert finding.to_json().keys() == {"level", "text", "evidence"}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_findings_speak_of_bytes_where_bytes_are_sought(results: Results, name: ObjectiveName) -> None:
    other = with_comparison(results, objective=replace(results.comparison.objective, name=name))
    sought = name in BYTES_OBJECTIVES
    assert ("bytes" in headline(other)) == sought
    for finding in (*rival_findings.rivals(other), *rival_findings.losses_in_categories(other)):
        assert ("bytes" in finding.text) == sought or "within chance" in finding.text


def test_a_finding_tells_bytes_and_damage_where_the_value_is_neither(results: Results) -> None:
    """A method that repairs damage is ahead in value and needs more bytes: both are said."""
    repaired = replace(duel("default", 3.0, 5.0), difference=Interval(-0.2, -0.25, -0.15))
    finding = one(rival_findings.rivals(with_duels(results, repaired)))
    assert finding.level == "good"
    assert finding.text == (
        "At 8 traces tracewright is ahead of VTracer's default by damage: it needs 22 % more bytes (95 % interval "
        "16–28 %), 1 damaged against 30."
    )
