"""Findings about the run itself: validation, curriculum, speed, failures, data and the registry's decision."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core.facts.training import StageResult
from pipeline.core.json_records import to_json
from pipeline.reports import words
from pipeline.reports.parts import Finding, Level
from pipeline.reports.results import Results

FEW_TEST_IMAGES = 30  # below this a bootstrap over images is itself unsure
IMBALANCE = 3.0  # largest category / smallest
MANY_FAILURES = 0.01  # of the traces made
MANY_NOT_UPHELD = 0.1  # of the choices, by a second renderer

PARTS: dict[str, tuple[str, float, str]] = {
    "tracing": ("tracing", 0.5, "more cores (compute.workers) or a smaller tracing.prescale"),
    "ppo": ("updating the policy", 0.4, "a larger train.ppo.batch_size or fewer train.ppo.n_epochs"),
    "tracking": ("tracking", 0.1, "a local tracking server"),
    "validation": (
        "validation", 0.3, "a larger train.eval_every_timesteps or fewer validation.images_per_category"
    ),
    "portfolios": (
        "the search for the rivals' settings", 0.2, "fewer train.portfolio_images or train.portfolio_candidates"
    ),
    "table": ("the table of evaluations", 0.6, "fewer train.table_traces"),
    "surrogate": ("the surrogate's fit", 0.3, "fewer train.surrogate_steps"),
    "stopping": ("learning when to stop", 0.4, "fewer train.stopping_images"),
}  # fmt: skip
"""What the training's time goes into: in words, from which share on it is worth changing, and what would do that."""


def trend(results: Results) -> Iterator[Finding]:
    validations = results.training.validations
    if not validations:
        return
    trend = validations[-1].trend
    points = f"over {words.counted(len(validations), 'validation')}"
    best = results.training.best
    at = f"; the best was at {best.timesteps:,} timesteps"
    level: Level = "attention" if trend.direction == "declining" else "info"
    text = {
        "improving": f"Validation was still improving at the end, {points}: more train.total_timesteps may gain more",
        "steady": f"Validation shows no trend that can be told from chance {points}{_if_last(results)}",
        "declining": f"Validation was declining at the end, {points}: the model kept is the best one, not the last",
        "unknown": f"There are too few validations ({len(validations)}) to tell a trend",
    }[trend.direction]
    yield Finding(level, f"{text}{at}.", to_json(trend))


def _if_last(results: Results) -> str:
    best = results.training.best
    is_last = best.timesteps == results.training.validations[-1].timesteps
    return ", but the last was the best: more train.total_timesteps may gain more" if is_last else ""


def curriculum(results: Results) -> Iterator[Finding]:
    stages = results.training.final_stages
    if not stages:
        return
    failed = [s for s in stages if not s.passed]
    for stage in failed:
        yield Finding("attention", _failed_stage(stage), to_json(stage))
    if all(s.passed for s in stages):
        passed = "The one stage" if len(stages) == 1 else f"All {len(stages)} stages"
        verb = "was" if len(stages) == 1 else "were"
        yield Finding("good", f"{passed} of the curriculum {verb} passed.", {"stages": [s.name for s in stages]})


def _failed_stage(stage: StageResult) -> str:
    text = f"Stage {stage.name} of the curriculum was not passed"
    if stage.success_rate is not None:
        text += (
            f": {words.percent(stage.success_rate)} of its episodes reached the goal, "
            f"{words.percent(stage.pass_rate)} were required"
        )
    return text + f" ({words.counted(stage.attempts, 'attempt')})."


def seeds(results: Results) -> Iterator[Finding]:
    training = results.training
    if training.seed_spread is None or len(training.seeds) < 2:
        return
    spread = training.seed_spread
    text = (
        f"Over {len(training.seeds)} seeds the best validation value is {words.number(spread.mean, 3)} "
        f"± {words.number(spread.std, 3)} (standard deviation): differences below that are luck of the seed."
    )
    yield Finding("info", text, to_json(spread))


def stopped(results: Results) -> Iterator[Finding]:
    stop, planned, made = (
        results.training.stopped,
        results.settings.train.total_timesteps,
        results.training.total_timesteps,
    )
    if stop is None:
        return
    level: Level = "info" if stop.kind == "no_improvement" else "attention"
    text = f"Training ended early, after {made:,} of {planned:,} timesteps: {stop.text}."
    yield Finding(level, text, to_json(stop))


def failures(results: Results) -> Iterator[Finding]:
    training = results.training
    yield from _failures_of("training", training.failures, training.total_timesteps)
    yield from _failures_of("evaluation", results.comparison.failures, None)
    if left_out := results.comparison.left_out:
        named = ", ".join(f"{path} ({kind})" for path, kind in left_out.items())
        text = f"{words.counted(len(left_out), 'test image')} left out, because VTracer's default failed: {named}."
        yield Finding("attention", text, {"left_out": left_out})
    if withdrawn := results.comparison.withdrawn:
        text = (
            f"What was chosen for {words.counted(len(withdrawn), 'image')} could not be traced again, and VTracer's "
            f"default counts instead: {', '.join(withdrawn)}. `dvc repro -f evaluate` tries again."
        )
        yield Finding("attention", text, {"withdrawn": list(withdrawn)})
    if not any(training.failures.values()) and not any(results.comparison.failures.values()):
        yield Finding("good", "No trace failed, in training or in evaluation.", {})


def _failures_of(where: str, failures: dict[str, int], traces: int | None) -> Iterator[Finding]:
    total = sum(failures.values())
    if not total:
        return
    share = total / traces if traces else None
    of = f" ({words.percent(share)} of {traces:,} timesteps)" if share is not None else ""
    text = (
        f"In {where} {words.counted(total, 'trace')} failed{of}: {words.failures_in_words(failures)}. "
        "Each cost only itself."
    )
    level: Level = "attention" if share and share > MANY_FAILURES else "info"
    yield Finding(level, text, {"failures": failures, "share": share})


def comparable(results: Results) -> Iterator[Finding]:
    """Only where another run may differ: a worker was lost to the machine, not to the setting."""
    stages = {"training": results.training.evaluations, "evaluation": results.comparison.evaluations}
    struck = [name for name, evaluations in stages.items() if not evaluations.bit_comparable]
    if struck:
        text = (
            f"In {' and '.join(struck)} a worker died, ran out of memory or passed its deadline, so another run may "
            "come to other figures. Raise compute.timeout_seconds or compute.worker_memory_bytes."
        )
        yield Finding("attention", text, {"stages": struck})


def second_renderer(results: Results) -> Iterator[Finding]:
    second = results.comparison.second_renderer
    if second is None:
        return
    difference = second.damage_difference
    far = "" if difference is None else f"; damage differs by {difference.mean:.1f} pixels on average"
    name = second.renderer.split()[0].removesuffix("-py")
    text = f"A second renderer ({name}) confirms {second.upheld} of {second.images} choices{far}."
    refused = second.images - second.upheld
    level: Level = "good" if not refused else "attention" if refused > MANY_NOT_UPHELD * second.images else "info"
    yield Finding(level, text, to_json(second))


def speed(results: Results) -> Iterator[Finding]:
    training = results.training
    pace = training.steps_per_second
    text = f"Training made {words.number(pace, 0 if pace >= 10 else 1)} timesteps per second"
    shares = sorted(training.time_shares.items(), key=lambda item: -item[1])
    if shares:
        (name, share), *others = shares[:3]
        said = [f"{words.percent(share)} of the time went into {PARTS[name][0]}"]
        said += [f"{words.percent(s)} into {PARTS[n][0]}" for n, s in others if s >= 0.05]
        text += f"; {words.listed(said)}"
        text += f": {PARTS[name][2]} would speed it up most" if share >= PARTS[name][1] else ""
    evidence = {"steps_per_second": pace, "time_shares": training.time_shares}
    yield Finding("info", f"{text}.", evidence)


def data(results: Results) -> Iterator[Finding]:
    """What the catalogue recommends; without it, what the counts alone say."""
    totals = {c: sum(n.values()) for c, n in results.training.dataset.by_category.items()}
    if results.quality:
        for sentence in results.quality.recommendations:
            yield Finding("info", f"Data: {sentence}", {"rejected": results.quality.rejects})
    elif imbalance := _imbalance(totals):
        yield Finding("info", imbalance, {"images": totals})
    if results.comparison.images < FEW_TEST_IMAGES:
        text = (
            f"Only {words.counted(results.comparison.images, 'test image')}: the intervals are wide and themselves "
            "unsure. More logos would settle what is undecided here."
        )
        yield Finding("info", text, {"images": results.comparison.images})


def _imbalance(totals: dict[str, int]) -> str | None:
    present = {c: n for c, n in totals.items() if n}
    if not present or max(present.values()) <= IMBALANCE * min(present.values()):
        return None
    most, least = max(present, key=lambda c: present[c]), min(present, key=lambda c: present[c])
    return (
        f"Data: out of balance, {present[most]:,} {most} logos and {present[least]:,} {least} ones; add {least} ones."
    )


def decision(results: Results) -> Iterator[Finding]:
    decision = results.decision
    if decision is None:
        return
    version = f"{decision.name} version {decision.version}"
    said: dict[str, tuple[Level, str]] = {
        "promoted": ("good", f"The registry's gate promoted {version} to champion"),
        "first": ("info", f"{version} is the first model in the registry and became champion"),
        "refused": ("attention", f"The registry's gate refused {version}; the champion stays"),
    }
    level, text = said[decision.decision]
    reason = f": {decision.grounds}" if decision.grounds else ""
    than = f"version {decision.against.version}" if decision.against else "VTracer's default"
    over = f"better than {than} on {decision.wins} of {words.counted(decision.images, 'test image')}"
    yield Finding(level, f"{text}{reason}; {over}, worse on {decision.losses}.", to_json(decision))
