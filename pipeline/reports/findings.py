"""What a run means, in plain words: who wins by how much and how sure that is, the losses as plainly as the wins."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS
from pipeline.reports import rival_findings, run_findings, words
from pipeline.reports.parts import Finding
from pipeline.reports.results import Results

KINDS: tuple[Callable[[Results], Iterator[Finding]], ...] = (
    rival_findings.rivals,
    rival_findings.losses_elsewhere,
    rival_findings.losses_in_categories,
    rival_findings.ablation,
    rival_findings.stopping,
    rival_findings.damage,
    rival_findings.weakest_category,
    rival_findings.unimproved,
    run_findings.decision,
    run_findings.trend,
    run_findings.curriculum,
    run_findings.seeds,
    run_findings.stopped,
    run_findings.failures,
    run_findings.comparable,
    run_findings.second_renderer,
    run_findings.speed,
    run_findings.data,
)


def find(results: Results) -> list[Finding]:
    """All findings, what matters most first."""
    return [finding for kind in KINDS for finding in kind(results)]


def headline(results: Results) -> str:
    """The one sentence that the report opens with."""
    comparison, name = results.comparison, results.comparison.objective.name
    traces, label = comparison.headline_traces, comparison.label(OURS)
    images = words.counted(comparison.images, "test logo")
    parts: list[str] = []
    for rival in (DEFAULT, FIXED):
        if duel := comparison.duel(rival, traces):
            limits = words.gain_range(duel.difference, name)
            limits = limits if parts else f"{words.percent(comparison.confidence)} interval {limits}"
            than = rival_findings.rival_words(rival)
            parts.append(f"{words.change(duel.difference.mean, name)} than {than} ({limits})")
    if not parts:
        return f"{label} was evaluated on {images}."
    verb = words.LESS_MORE[name][0]
    return (
        f"With {words.counted(traces, 'trace')} per logo, {label} {verb} {' and '.join(parts)}, "
        f"on {images} that nobody trained on.{_damage(results)}"
    )


def _damage(results: Results) -> str:
    """How many are damaged and how, ours and the default's."""
    duel = results.comparison.duel(DEFAULT, results.comparison.headline_traces)
    if duel is None:
        return ""
    told = rival_findings.damage_told(results, duel.damaged, words.counted(results.comparison.images, "logo"))
    return f" {told}; VTracer's default damages {duel.rival_damaged}."
