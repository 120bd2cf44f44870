"""Findings about ours against its rivals, at equal numbers of traces, on images that nobody trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS, PORTFOLIO, RANDOM, TPE, UNTRAINED, Duel
from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.json_records import to_json
from pipeline.reports import words
from pipeline.reports.parts import Finding, Level
from pipeline.reports.results import Results

MANY_UNIMPROVED = 0.25  # of the test images
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
                gain, images = gain_in_category(results, rival, category, traces)
                if gain and gain.high < 0:
                    yield _category_loss(results, rival, category, traces, gain, images)
                elif gain and gain.mean < 0:
                    behind.append(rival_words(rival))
            if behind:
                undecided.append(f"{words.listed(behind)} on {category} logos at {words.counted(traces, 'trace')}")
    if undecided:
        text = f"Slightly ahead of {comparison.label(OURS)}, but within chance: {'; '.join(undecided)}."
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
        None: ("attention", by_chance),
    }
    level, said = verdicts[verdict(duel)]
    text = (
        f"{said}: {words.change(duel.gain.mean, name)} at {words.counted(duel.traces, 'trace')} than "
        f"{rival_words(UNTRAINED)} ({_sure(results, duel.gain)})."
    )
    text += " What is gained may come from the surrogate alone." if said == by_chance else ""
    yield Finding(level, text, to_json(duel))


def looks(results: Results) -> Iterator[Finding]:
    """Whether fewer bytes were paid for with looks."""
    pairs = {
        "SSIM": [(i.ssim, i.default_ssim) for i in results.images],
        "zoom SSIM": [(i.zoom_ssim, i.default_zoom_ssim) for i in results.images],
    }
    changes = {n: [a - b for a, b in p if a is not None and b is not None] for n, p in pairs.items()}
    changes = {n: c for n, c in changes.items() if c}
    if not changes:
        return
    worst = min(min(c) for c in changes.values())
    said = words.listed([f"{n} {words.signed(float(np.mean(c)), 4)}" for n, c in changes.items()])
    said += f" on average, {words.signed(worst, 4)} on the worst image"
    evidence = {n: {"mean": float(np.mean(c)), "worst": min(c), "images": len(c)} for n, c in changes.items()}
    tolerance = results.settings.objective.tolerance
    if results.comparison.objective.name != "smaller":
        yield Finding("info", f"Looks against the default's: {said}.", evidence)
    elif worst >= -tolerance - 1e-9:
        yield Finding("good", f"The smaller files look no worse than the default's: {said}.", evidence)
    else:
        text = f"Some files look worse than the default's by more than {tolerance:g}: {said}."
        yield Finding("attention", text, evidence)


def weakest_category(results: Results) -> Iterator[Finding]:
    comparison, name = results.comparison, results.comparison.objective.name
    traces, ours = comparison.headline_traces, comparison.method(OURS)
    overall = ours.at(traces) if ours else None
    ratios = {c: r for c in comparison.categories if ours and (r := ours.in_category(c, traces))}
    if overall is None or len(ratios) < 2:
        return
    weakest, strongest = (most(ratios, key=lambda c: ratios[c].mean) for most in (max, min))
    text = (
        f"The weakest category is {weakest}: {words.change(-math.log(ratios[weakest].mean), name)} than the default "
        f"at {words.counted(traces, 'trace')}; the strongest is {strongest}: "
        f"{words.change(-math.log(ratios[strongest].mean), name)}."
    )
    level: Level = "attention" if ratios[weakest].low > overall.mean else "info"
    yield Finding(level, text, {c: r.to_json() for c, r in ratios.items()})


def unimproved(results: Results) -> Iterator[Finding]:
    """Images on which nothing beat the default."""
    images, kept = results.images, [i for i in results.images if not i.improved]
    if not images:
        return
    within = words.counted(max(results.comparison.traces), "trace")
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


def gain_in_category(results: Results, rival: str, category: str, traces: int) -> tuple[Interval | None, int]:
    """Ours minus the rival's value, paired over the images of a category; with the number of images."""
    ours, theirs = _values(results, OURS, traces), _values(results, rival, traces)
    members = [i.path for i in results.images if i.category == category]
    gains = [ours[p] - theirs[p] for p in members if p in ours and p in theirs]
    if not gains:
        return None, 0
    evaluate = results.settings.evaluate
    bootstrap = Bootstrap(evaluate.bootstrap_samples, results.comparison.confidence, evaluate.seed)
    return bootstrap.mean(np.asarray(gains)), len(gains)


def _values(results: Results, method: str, traces: int) -> Mapping[str, float]:
    """Of the most traces up to `traces`: a method that stops earlier keeps what it had."""
    reached = [t for m, t in results.values if m == method and t <= traces]
    return results.values[method, max(reached)] if reached else {}


def _of_duel(results: Results, duel: Duel) -> Finding:
    name, ours = results.comparison.objective.name, results.comparison.label(OURS)
    than, at, sure = rival_words(duel.against), words.counted(duel.traces, "trace"), _sure(results, duel.gain)
    evidence = to_json(duel)
    match verdict(duel):
        case True:
            text = f"At {at} {ours} {words.needs(duel.gain.mean, name)} than {than} ({sure})."
            return Finding("good", text, evidence)
        case False:
            text = f"{_start(than)} is ahead at {at}: {ours} {words.needs(duel.gain.mean, name)} ({sure})."
            return Finding("attention", text, evidence)
        case _:
            text = (
                f"At {at} {ours} and {than} cannot be told apart: "
                f"{words.change(duel.gain.mean, name)} could be chance ({sure})."
            )
            return Finding("info", text, evidence)


def _category_loss(results: Results, rival: str, category: str, traces: int, gain: Interval, images: int) -> Finding:
    text = (
        f"{_start(rival_words(rival))} is ahead at {words.counted(traces, 'trace')} on {category} logos: "
        f"{results.comparison.label(OURS)} {words.needs(gain.mean, results.comparison.objective.name)} "
        f"({_sure(results, gain)}, {words.counted(images, 'image')})."
    )
    evidence = {"against": rival, "category": category, "traces": traces, "gain": gain.to_json(), "images": images}
    return Finding("attention", text, evidence)


def _sure(results: Results, gain: Interval) -> str:
    limits = words.gain_range(gain, results.comparison.objective.name)
    return f"{words.percent(results.comparison.confidence)} interval {limits}"


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]
