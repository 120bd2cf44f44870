"""Findings about ours against its rivals, at equal numbers of traces, on images that nobody trained on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS, PORTFOLIO, RANDOM, TPE, UNTRAINED, Duel
from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.json_records import to_json
from pipeline.core.records import BYTES_OBJECTIVES, VISIBLE_DAMAGE, ObjectiveName
from pipeline.reports import words
from pipeline.reports.parts import Finding, Level
from pipeline.reports.results import Results

MANY_UNIMPROVED = 0.25  # of the test images
MANY_DAMAGED = 0.08  # of the test images
MOST_NAMED = 5
LEAST_IMAGES = 10  # of a category, from which anything is concluded of it
STRONG_RIVALS = (FIXED, PORTFOLIO, RANDOM, TPE)


def rival_words(name: str) -> str:
    """A method as it reads after "than"."""
    known = {
        DEFAULT: "VTracer's default",
        FIXED: "the best fixed setting per category",
        PORTFOLIO: "the portfolio of fixed settings",
        RANDOM: "random search",
        TPE: "TPE",
        UNTRAINED: "the same surrogate with an untrained policy",
    }
    return known.get(name, f"VTracer's preset {name.removeprefix('preset_')}" if name.startswith("preset_") else name)


def verdict(duel: Duel) -> bool | None:
    """True: ours is better beyond chance. False: worse. None: chance alone could explain the difference."""
    if duel.better is not None or duel.gain.low <= 0 <= duel.gain.high:
        return duel.better
    return duel.gain.low > 0


def rivals(results: Results) -> Iterator[Finding]:
    """Every rival at the headline's number of traces; VTracer's presets only where they are not clearly beaten."""
    duels = [d for d in results.comparison.duels if d.traces == results.comparison.headline_traces]
    presets = [d.against for d in duels if d.against.startswith("preset_") and verdict(d) is not True]
    order = [DEFAULT, *presets, *STRONG_RIVALS]
    for duel in sorted((d for d in duels if d.against in order), key=lambda d: order.index(d.against)):
        yield _of_duel(results, duel)


def losses_elsewhere(results: Results) -> Iterator[Finding]:
    """Rivals that are ahead at another number of traces."""
    for duel in results.comparison.duels:
        elsewhere = duel.traces != results.comparison.headline_traces and duel.against != UNTRAINED
        if elsewhere and verdict(duel) is False:
            yield _of_duel(results, duel)


def losses_in_categories(results: Results) -> Iterator[Finding]:
    """Rivals that are ahead on one category, at the headline's and at the most traces."""
    comparison, undecided = results.comparison, []
    for traces in dict.fromkeys((comparison.headline_traces, max(comparison.traces))):
        for category in comparison.categories:
            behind = []
            for rival in STRONG_RIVALS:
                found = in_category(results, rival, category, traces)
                if found is None or found.images < LEAST_IMAGES:
                    continue
                if found.value.high < 0:
                    yield _category_loss(results, rival, category, traces, found)
                elif found.value.mean < 0:
                    behind.append(rival_words(rival))
            if behind:
                undecided.append(f"{words.listed(behind)} on {category} logos at {words.counted(traces, 'trace')}")
    if undecided:
        text = f"Ahead of {comparison.label(OURS)}, but within chance: {'; '.join(undecided)}."
        yield Finding("info", text, {"undecided": undecided})


def ablation(results: Results) -> Iterator[Finding]:
    """What PPO added beyond the surrogate."""
    comparison, name = results.comparison, results.comparison.objective.name
    duel = comparison.duel(UNTRAINED, comparison.headline_traces)
    if duel is None:
        return
    by_chance = "Training added nothing that can be told from chance"
    verdicts: dict[bool | None, tuple[Level, str]] = {
        True: ("good", "Training pays"),
        False: ("attention", "Training hurts"),
        None: ("info", by_chance),
    }
    level, said = verdicts[verdict(duel)]
    text = (
        f"{said}: {words.change(duel.difference.mean, name)} at {words.counted(duel.traces, 'trace')} than "
        f"{rival_words(UNTRAINED)} ({_sure(results, duel.difference)}), {_damaged(duel)}."
    )
    text += " What is gained may come from the surrogate alone." if said == by_chance else ""
    yield Finding(level, text, to_json(duel))


def stopping(results: Results) -> Iterator[Finding]:
    """What PPO added to `--traces auto`."""
    found = results.comparison.stopping
    if found is None or found.trained is None:
        return
    gain, name = found.gain, results.comparison.objective.name
    learnt, plain = found.trained, found.plain
    verdicts: dict[bool | None, tuple[Level, str]] = {
        True: ("good", "Learning when to stop pays"),
        False: ("attention", "Learning when to stop hurts"),
        None: ("attention", "Learning when to stop added nothing that can be told from chance"),
    }
    level, said = verdicts[True if gain.low > 0 else False if gain.high < 0 else None]
    text = (
        f"{said}: with --traces auto, {words.number(learnt.traces.mean, 0)} traces per logo instead of the plain "
        f"rule's {words.number(plain.traces.mean, 0)}, at {words.percent(learnt.ratio.mean)} of the default's bytes "
        f"instead of {words.percent(plain.ratio.mean)}, {words.percent(learnt.damaged.mean)} damaged instead of "
        f"{words.percent(plain.damaged.mean)}. A trace counted as {words.percent(found.price)} of the bytes, that is "
        f"as good as {words.change(gain.mean, name)} ({_sure(results, gain)})."
    )
    yield Finding(level, text, to_json(found))


def damage(results: Results) -> Iterator[Finding]:
    """How many of the SVGs show damage, and which are the worst."""
    images, hurt = results.images, [i for i in results.images if i.damage > VISIBLE_DAMAGE]
    if not images:
        return
    of_default = sum(i.default_damage > VISIBLE_DAMAGE for i in images)
    evidence = {"damaged": len(hurt), "default_damaged": of_default, "images": len(images)}
    told = damage_told(results, len(hurt), words.counted(len(images), "test image"))
    text = f"{told}; VTracer's default damages {of_default}."
    worst = sorted(hurt, key=lambda i: -i.damage)[:MOST_NAMED]
    if worst:
        named = [f"{words.shortened(words.visible(i.path))} ({words.number(i.damage, 0)} pixels)" for i in worst]
        text += f" Look at {words.listed(named)}."
    few = len(hurt) <= MANY_DAMAGED * len(images)
    yield Finding("good" if few else "attention", text, evidence)


def damage_told(results: Results, damaged: int, images: str) -> str:
    """ "3 of 48 logos show visible damage: 2 lost a detail and 1 lost a colour"; each counts by its worst region."""
    told = words.damage_in_words(regions[0].kind for regions in results.damaged.values() if regions)
    said = f"{damaged or 'None'} of {images} {'shows' if damaged == 1 else 'show'} visible damage"
    return f"{said}: {told}" if told else said


def weakest_category(results: Results) -> Iterator[Finding]:
    comparison = results.comparison
    traces, ours = comparison.headline_traces, comparison.method(OURS)
    overall = ours.at(traces) if ours else None
    counts = Counter(image.category for image in results.images)
    ratios = {
        c: r for c in comparison.categories if ours and counts[c] >= LEAST_IMAGES and (r := ours.in_category(c, traces))
    }
    if overall is None or len(ratios) < 2:
        return
    weakest, strongest = (most(ratios, key=lambda c: ratios[c].mean) for most in (max, min))
    change = {c: words.change(-math.log(ratios[c].mean), "smaller") for c in (weakest, strongest)}
    text = (
        f"The weakest category is {weakest}: {change[weakest]} than the default "
        f"at {words.counted(traces, 'trace')}; the strongest is {strongest}: {change[strongest]}."
    )
    yield Finding("info", text, {c: r.to_json() for c, r in ratios.items()})


def unimproved(results: Results) -> Iterator[Finding]:
    """Images on which nothing beat the default."""
    images, kept = results.images, [i for i in results.images if not i.improved]
    if not images:
        return
    within = words.counted(results.comparison.headline_traces, "trace")
    if not kept:
        text = f"Every one of the {words.counted(len(images), 'test image')} was improved within {within}."
        yield Finding("good", text, {"unimproved": 0, "images": len(images)})
        return
    share = len(kept) / len(images)
    by_category = {c: sum(i.category == c for i in kept) for c in dict.fromkeys(i.category for i in kept)}
    text = (
        f"{len(kept)} of {words.counted(len(images), 'test image')} ({words.percent(share)}) found nothing better "
        f"within {within} and keep{'s' if len(kept) == 1 else ''} the default's SVG "
        f"({words.listed([f'{n} {c}' for c, n in by_category.items()])})."
    )
    evidence = {"unimproved": len(kept), "images": len(images), "by_category": by_category}
    yield Finding("attention" if share > MANY_UNIMPROVED else "info", text, evidence)


@dataclass(frozen=True, slots=True)
class CategoryGain:
    """Ours minus a rival's, paired over the images of a category, and how many of each are visibly damaged."""

    value: Interval
    size: Interval
    images: int
    damaged: int
    rival_damaged: int


def in_category(results: Results, rival: str, category: str, traces: int) -> CategoryGain | None:
    """None without a common image. Of the most traces up to `traces`: a method that stops earlier keeps what it had."""
    measured = []
    for method in (OURS, rival):
        reached = [t for m, t in results.measures if m == method and t <= traces]
        measured.append(results.measures[method, max(reached)] if reached else {})
    ours, theirs = measured
    members = [i.path for i in results.images if i.category == category and i.path in ours and i.path in theirs]
    if not members:
        return None
    evaluate = results.settings.evaluate
    bootstrap = Bootstrap(evaluate.bootstrap_samples, results.comparison.confidence, evaluate.seed)
    return CategoryGain(
        value=bootstrap.mean(np.array([ours[p].value - theirs[p].value for p in members])),
        size=bootstrap.mean(np.array([ours[p].size_gain - theirs[p].size_gain for p in members])),
        images=len(members),
        damaged=sum(ours[p].damage > VISIBLE_DAMAGE for p in members),
        rival_damaged=sum(theirs[p].damage > VISIBLE_DAMAGE for p in members),
    )


def _of_duel(results: Results, duel: Duel) -> Finding:
    """The verdict is on the objective's value, the figures shown are bytes and damage: they may differ in sign."""
    name, ours = results.comparison.objective.name, results.comparison.label(OURS)
    than, at = rival_words(duel.against), words.counted(duel.traces, "trace")
    needs, better = words.needs(duel.difference.mean, name), verdict(duel)
    sure = f"({_sure(results, duel.difference)}), {_damaged(duel)}"
    by_damage = _by_damage(better, duel.difference, name)
    if better is None:
        text = (
            f"At {at} {ours} and {than} cannot be told apart: {ours} is better on {duel.wins:,} images and worse on "
            f"{duel.losses:,}, and {needs} {sure}."
        )
    elif not better:
        text = f"{words.sentence(than)} is ahead{by_damage} at {at}: {ours} {needs} {sure}."
    elif by_damage:
        text = f"At {at} {ours} is ahead of {than}{by_damage}: it {needs} {sure}."
    else:
        text = f"At {at} {ours} {needs} than {than} {sure}."
    levels: dict[bool | None, Level] = {True: "good", False: "attention", None: "info"}
    return Finding(levels[better], text, to_json(duel))


def _by_damage(better: bool | None, difference: Interval, name: ObjectiveName) -> str:
    """Where the bytes alone say otherwise."""
    return " by damage" if name in BYTES_OBJECTIVES and (difference.mean > 0) != better else ""


def _damaged(duel: Duel | CategoryGain) -> str:
    return f"{duel.damaged} damaged against {duel.rival_damaged}"


def _category_loss(results: Results, rival: str, category: str, traces: int, found: CategoryGain) -> Finding:
    name = results.comparison.objective.name
    told = found.size if name in BYTES_OBJECTIVES else found.value
    ahead = f"{words.sentence(rival_words(rival))} is ahead{_by_damage(False, told, name)}"
    text = (
        f"{ahead} at {words.counted(traces, 'trace')} on {category} logos: {results.comparison.label(OURS)} "
        f"{words.needs(told.mean, name)} ({_sure(results, told)}, {words.counted(found.images, 'image')}), "
        f"{_damaged(found)}."
    )
    return Finding("attention", text, {"against": rival, "category": category, "traces": traces, **to_json(found)})


def _sure(results: Results, gain: Interval) -> str:
    limits = words.gain_range(gain, results.comparison.objective.name)
    return f"{words.percent(results.comparison.confidence)} interval {limits}"
