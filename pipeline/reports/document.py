"""The report as one document in Markdown, for people. Pure text; report.py writes it, machine.py has the values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from pipeline.core.facts.comparison import OURS
from pipeline.core.facts.data import QualityReport
from pipeline.reports import tables, words
from pipeline.reports.findings import headline
from pipeline.reports.parts import Finding
from pipeline.reports.results import Results
from pipeline.reports.run_report import shown_images
from pipeline.reports.tables import to_markdown

HEADLINE, TRADEOFF, CATEGORIES, TRAINING, GAINS, SAMPLE, IMPROVED, WORST = PICTURES = (
    "headline.png", "tradeoff.png", "categories.png", "training.png", "gains.png", "sample.png", "improved.png",
    "worst.png",
)  # fmt: skip

SHOWN_REJECTS = 20

MARKERS = {"good": "✅ Good", "info": "ℹ️ Note", "attention": "⚠️ Attention"}


def as_markdown(results: Results, findings: Sequence[Finding], made: Collection[str]) -> str:
    """The whole report. made: the pictures that were drawn; others are not linked."""
    sections = (
        _opening(results, made),
        _findings(findings),
        _images(results, made),
        _comparison(results),
        _tradeoff(results, made),
        _categories(results, made),
        _training(results, made),
        _settings(results),
        _data(results),
        _checkpoints(results),
        _times(results),
        _resources(results),
        _reproduce(results),
    )
    return "\n".join(block for section in sections for block in section)


def _picture(name: str, shows: str, made: Collection[str]) -> Iterator[str]:
    if name in made:
        yield f"![{words.in_markdown(shows)}]({name})\n"


def _opening(results: Results, made: Collection[str]) -> Iterator[str]:
    training = results.training
    yield f"# {words.in_markdown(results.comparison.label(OURS))}: report of a run\n"
    yield f"**{words.in_markdown(headline(results))}**\n"
    yield f"Run `{_code(training.run_id)}`, started {words.in_markdown(training.started)}.\n"
    yield from _picture(HEADLINE, "Ratio to VTracer's default by number of traces, ours and its rivals", made)


def _code(text: str) -> str:
    """Text for a code span: no backtick may end it, no line break may split it."""
    return words.visible(text).replace("`", "'")


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    yield "## Findings\n"
    yield from _listed_findings(findings)


def _listed_findings(findings: Sequence[Finding]) -> Iterator[str]:
    yield "\n".join(f"- **{MARKERS[f.level]}:** {words.in_markdown(f.text)}" for f in findings) + "\n"


def _comparison(results: Results) -> Iterator[str]:
    comparison = results.comparison
    yield "## Against its rivals\n"
    yield (
        f"{words.RATIO_WORDS}, geometric mean over {words.counted(comparison.images, 'test image')} with its "
        f"{words.percent(comparison.confidence)} interval; lower is better. The fair default is VTracer's, minified as "
        "every other method's SVG is. Every method keeps the default where it finds nothing better.\n"
    )
    yield to_markdown(tables.methods(comparison))
    if told := tables.aside(comparison):
        yield f"{words.in_markdown(told)}\n"
    if results.images:
        yield to_markdown(tables.sizes(results.images, comparison.label(OURS)))
    duels = tables.duels(comparison)
    if duels.rows:
        yield f"Image by image, at {words.counted(comparison.headline_traces, 'trace')}:\n"
        yield to_markdown(duels)


def _tradeoff(results: Results, made: Collection[str]) -> Iterator[str]:
    comparison = results.comparison
    if not comparison.tradeoff:
        return
    yield f"## Size against damage, over the {words.counted(comparison.headline_traces, 'trace')} made\n"
    yield from _picture(TRADEOFF, "Bytes by the damage that is allowed", made)
    knee = "The curve does not bend."
    if comparison.knee is not None:
        knee = (
            f"In bold the knee, {words.counted(round(comparison.knee), 'pixel')}: up to there more damage saves bytes, "
            "beyond it little."
        )
    yield (
        "Each row takes the smallest trace of each image within the damage allowed, or the least damaged one. "
        f"{knee} `tracewright vectorize --max-damage N` chooses another point.\n"
    )
    yield to_markdown(tables.tradeoff(comparison))


def _categories(results: Results, made: Collection[str]) -> Iterator[str]:
    if not results.comparison.categories:
        return
    yield f"## Per category, at {words.counted(results.comparison.headline_traces, 'trace')}\n"
    yield from _picture(CATEGORIES, "Ratio to VTracer's default per category", made)
    yield to_markdown(tables.categories(results.comparison, results.images))


def _training(results: Results, made: Collection[str]) -> Iterator[str]:
    training = results.training
    if not training.stages and not training.validations:
        return
    yield "## Training\n"
    yield from _picture(TRAINING, "Return and validation value over timesteps", made)
    if training.stages:
        yield "### Curriculum\n"
        yield to_markdown(tables.curriculum(training))
    if training.validations:
        yield "### Validation on held-out images\n"
        yield to_markdown(tables.validations(training))
        yield "In bold the model that was kept. Value is what training raises; 0 is VTracer's default.\n"
        yield from _steadiness(results)


def _steadiness(results: Results) -> Iterator[str]:
    last = results.training.validations[-1]
    said = [
        f"{name} {words.number(value, 3)}"
        for name, value in (("stability", last.stability), ("consistency", last.consistency))
        if value is not None
    ]
    if said:
        yield f"At the last validation: {words.listed(said)} (spreads of the value; docs/metrics.md defines them).\n"
    if last.by_category:
        yield "Its categories:\n"
        yield to_markdown(tables.validated_categories(last))


def _images(results: Results, made: Collection[str]) -> Iterator[str]:
    if not results.images:
        return
    yield f"## Image by image, at {words.counted(results.comparison.headline_traces, 'trace')}\n"
    yield from _picture(GAINS, "Change against VTracer's default, image by image", made)
    yield (
        "Boxes in the pictures are regions with visible damage; the thin dark frame is what is enlarged below, the "
        "worst region where there is one.\n"
    )
    titles = (("A random sample", SAMPLE), ("Most improved", IMPROVED), ("Worst", WORST))
    for (title, name), chosen in zip(titles, shown_images(results), strict=True):
        if chosen:
            yield f"### {title}\n"
            yield to_markdown(tables.images(chosen))
            yield from _picture(name, f"{title}: original, default, ours, difference", made)


def _settings(results: Results) -> Iterator[str]:
    yield "## Settings\n"
    yield to_markdown(tables.settings(results))
    yield "What may be set:\n"
    yield to_markdown(tables.freedom(results))


def _data(results: Results) -> Iterator[str]:
    training, quality = results.training, results.quality
    if not training.dataset.by_category and quality is None:
        return
    yield "## Data\n"
    if training.dataset.by_category:
        yield to_markdown(tables.data(training))
    if quality:
        yield from _quality(quality)
    if failures := Counter(training.failures) + Counter(results.comparison.failures):
        yield "Traces that failed, in training and evaluation:\n"
        yield to_markdown(tables.counts(failures, "Kind"))


def _quality(quality: QualityReport) -> Iterator[str]:
    yield (
        f"{words.count(quality.images)} images, {words.count(quality.distinct_images)} of them distinct, mean quality "
        f"{quality.quality_mean:.2f} of 1; data/quality.md has the details.\n"
    )
    if quality.categories:
        yield to_markdown(tables.quality(quality))
    if quality.rejects:
        yield f"{words.counted(sum(quality.rejects.values()), 'file')} rejected:\n"
        yield to_markdown(tables.counts(quality.rejects, "Reason"))
        yield to_markdown(tables.rejected(quality, SHOWN_REJECTS))


def _checkpoints(results: Results) -> Iterator[str]:
    entries, best = results.checkpoints, results.training.best
    if not entries:
        return
    size = sum(entry.bytes for entry in entries)
    yield "## Checkpoints\n"
    yield (
        f"{words.counted(len(entries), 'state')} of the training kept, {words.storage(size)} in all, under "
        f"`.tracewright/runs/{_code(results.training.run_id)}/checkpoints`; in bold the best.\n"
    )
    yield to_markdown(tables.checkpoints(entries, best.timesteps))


def _resources(results: Results) -> Iterator[str]:
    resources = results.resources
    if resources is None:
        return
    yield "## Resources\n"
    yield f"{words.counted(resources.samples, 'sample')} over {words.duration(resources.seconds)}.\n"
    if resources.usage:
        yield to_markdown(tables.usage(resources.usage))
    if resources.findings:
        yield from _listed_findings(resources.findings)


def _times(results: Results) -> Iterator[str]:
    training = results.training
    yield "## How long it took\n"
    yield to_markdown(tables.times(results))
    yield (
        f"{words.number(training.steps_per_second, 1)} timesteps per second and at most "
        f"{words.storage(training.peak_memory_bytes)} of memory.\n"
    )


def _reproduce(results: Results) -> Iterator[str]:
    training, commit = results.training, results.training.git_commit or results.commit
    commit_of = "Commit" if training.git_commit else "Commit when this was written"
    changed = ", with changes that were not committed" if training.git_commit and training.git_dirty else ""
    yield "## How to reproduce\n"
    steps = [f"git checkout {_code(commit)}"] if commit else []
    steps += ["dvc checkout  # data and models, where a cache or a remote has them", "dvc repro"]
    yield "```sh\n" + "\n".join(steps) + "\n```\n"
    rows: dict[str, str | None] = {"Run": training.run_id, "Experiment": training.experiment, "Model": training.model}
    rows[commit_of] = commit and commit + changed
    rows["Checkpoint kept"] = (
        f"at {training.best.timesteps:,} timesteps, validation value {words.number(training.best.value, 3)}"
    )
    rows["Tracking server"] = words.without_secrets(training.tracking_uri)
    for name, split in (("Train", training.dataset.train), ("Validation", training.dataset.val)):
        rows[f"{name} images"] = split.digest
    rows["Test images"] = results.comparison.test_digest
    yield to_markdown(tables.pairs({k: v for k, v in rows.items() if v}))
