"""The report's tables: what the stages wrote, as rows of text. A dash stands where nothing was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median

from pipeline.core.facts.comparison import DEFAULT, FIXED, OURS, Comparison, ImageResult, MethodResult
from pipeline.core.facts.data import QualityReport
from pipeline.core.facts.training import CheckpointEntry, TrainReport, Validation
from pipeline.core.records import SPLITS
from pipeline.reports import words
from pipeline.reports.parts import Usage
from pipeline.reports.results import Results
from pipeline.reports.rival_findings import verdict
from pipeline.settings.ranges import Choices, FixedValue, Freedom, Range


@dataclass(frozen=True, slots=True)
class TextTable:
    """columns: headings. rows: one text per column. strong: rows to be set in bold. numeric: columns set right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()
    left: frozenset[int] = frozenset({0})


def to_markdown(table: TextTable) -> str:
    """A GitHub table. Text is escaped, so that file names cannot break out of their cell."""
    lines = ["| " + " | ".join(words.in_markdown(c) for c in table.columns) + " |"]
    lines.append("|" + "|".join(" --- " if i in table.left else " ---: " for i in range(len(table.columns))) + "|")
    for index, row in enumerate(table.rows):
        cells = [words.in_markdown(cell) for cell in row]
        lines.append("| " + " | ".join(f"**{c}**" if index in table.strong and c else c for c in cells) + " |")
    return "\n".join(lines) + "\n"


def keeps_default(method: MethodResult) -> bool:
    """Whether more traces change nothing and it saves less than 5 %: a line of text says that of several methods."""
    return method.is_flat and all(point.ratio.mean > 0.95 for point in method.curve)


def aside(comparison: Comparison) -> str:
    """The methods that are left out of the tables, with their ratios."""
    told = [f"{m.label} {words.ratio(m.at(max(comparison.traces)))}" for m in comparison.methods if keeps_default(m)]
    return f"Not in the tables, as more traces do not change them: {words.listed(told)}." if told else ""


def methods(comparison: Comparison) -> TextTable:
    """Methods by traces, the ratio with its interval, and how many images are damaged; the best first."""
    most = max(comparison.traces)
    shown = [m for m in comparison.methods if not keeps_default(m)]
    ordered = sorted(shown, key=lambda m: r.mean if (r := m.at(most)) else float("inf"))
    headline = comparison.headline_traces
    rows = [
        (m.label, *(words.ratio(m.at(t)) for t in comparison.traces), words.ratio(m.damaged_at(headline)))
        for m in ordered
    ]
    strong = frozenset(i for i, m in enumerate(ordered) if m.kind == "ours")
    traces = [words.counted(t, "trace") for t in comparison.traces]
    return TextTable(("Method", *traces, f"Logos damaged, {words.counted(headline, 'trace')}"), tuple(rows), strong)


def duels(comparison: Comparison) -> TextTable:
    """Ours against each rival, image by image, at the headline's number of traces."""
    name = comparison.objective.name
    said = {True: "better", False: "worse", None: "not decided"}
    presets = {m.name for m in comparison.methods if keeps_default(m)} - {DEFAULT, FIXED}
    rows = [
        (
            comparison.label(d.against),
            words.change(d.difference.mean, name),
            words.gain_range(d.difference, name),
            f"{d.damaged} / {d.rival_damaged}",
            " / ".join(words.count(n) for n in (d.wins, d.ties, d.losses)),
            said[verdict(d)],
        )
        for d in comparison.duels
        if d.traces == comparison.headline_traces and d.against not in presets
    ]
    sure = f"{words.percent(comparison.confidence)} interval"
    columns = (f"{comparison.label(OURS)} against", "Difference", sure, "Damaged", "Wins / ties / losses", "Verdict")
    return TextTable(columns, tuple(rows), left=frozenset({0, 5}))


def from_the_middle(images: Sequence[ImageResult]) -> list[ImageResult]:
    """The image with the median ratio of bytes first, then its neighbours; of two equally near the smaller ratio."""
    ordered = sorted(images, key=lambda image: (image.ratio, image.path))
    middle = (len(ordered) - 1) // 2
    return [ordered[i] for i in sorted(range(len(ordered)), key=lambda i: (abs(i - middle), i))]


def categories(comparison: Comparison, images: Sequence[ImageResult]) -> TextTable:
    """Methods by category at the headline's number of traces."""
    traces = comparison.headline_traces
    counts = {c: sum(i.category == c for i in images) for c in comparison.categories}
    heads = [f"{c} ({counts[c]})" if images else c for c in comparison.categories]
    ordered = [m for m in comparison.methods if m.by_category and not keeps_default(m)]
    rows = [(m.label, *(words.ratio(m.in_category(c, traces)) for c in comparison.categories)) for m in ordered]
    strong = frozenset(i for i, m in enumerate(ordered) if m.kind == "ours")
    return TextTable(("Method", *heads), tuple(rows), strong)


def tradeoff(comparison: Comparison) -> TextTable:
    """Size against damage, the knee in bold."""
    rows = [(words.number(p.max_damage, 0), words.ratio(p.ratio), words.ratio(p.damaged)) for p in comparison.tradeoff]
    strong = frozenset(i for i, p in enumerate(comparison.tradeoff) if p.max_damage == comparison.knee)
    return TextTable(("Damage allowed, px", words.RATIO_WORDS, "Logos damaged"), tuple(rows), strong, frozenset())


def sizes(images: Sequence[ImageResult], label: str) -> TextTable:
    """What a file comes to: VTracer's own text, the fair default, ours; the median image's."""
    files: tuple[tuple[str, list[int], list[int]], ...] = (
        ("default, as VTracer writes it", [i.default_traced_bytes for i in images], []),
        (
            "default, minified (the fair default)",
            [i.default_bytes for i in images],
            [i.default_gzip_bytes for i in images],
        ),
        (label, [i.bytes for i in images], [i.gzip_bytes for i in images]),
    )
    fair = [i.default_bytes for i in images]
    rows = [
        (
            name,
            words.count(round(median(plain))),
            words.count(round(median(packed))) if packed else words.DASH,
            words.percent(geometric_mean([size / of for size, of in zip(plain, fair, strict=True)])),
        )
        for name, plain, packed in files
    ]
    return TextTable(("File", "Bytes, median", "gzip, median", "Of the fair default"), tuple(rows), frozenset({2}))


def curriculum(training: TrainReport) -> TextTable:
    rows = [
        (
            s.name,
            ", ".join(s.categories),
            words.number(s.difficulty, 1),
            words.number(s.goal),
            words.count(s.timesteps),
            words.count(s.attempts),
            words.number(s.mean_return),
            words.share(s.success_rate),
            words.share(s.pass_rate),
            "yes" if s.passed else "no",
            words.duration(s.seconds),
        )
        for s in training.stages
    ]
    columns = (
        "Stage", "Categories", "Difficulty", "Goal", "Timesteps", "Attempts", "Mean return", "Reached the goal",
        "Required", "Passed", "Time",
    )  # fmt: skip
    return TextTable(columns, tuple(rows), left=frozenset({0, 1}))


def validations(training: TrainReport) -> TextTable:
    """One row per validation on held-out images; the model kept in bold."""
    rows = [_validation(v) for v in training.validations]
    strong = frozenset(i for i, v in enumerate(training.validations) if v.timesteps == training.best.timesteps)
    columns = (
        "Timesteps", "Value", "Bytes ratio", "Damaged", "Colour error", "SSIM", "Zoom SSIM", "Skill", "MSE", "PSNR",
        "Target reached", "Time per image", "Failures",
    )  # fmt: skip
    return TextTable(columns, tuple(rows), strong, frozenset())


def _validation(v: Validation) -> tuple[str, ...]:
    return (
        words.count(v.timesteps),
        words.interval(v.value),
        words.ratio(v.bytes_ratio),
        words.share(v.damaged_ratio),
        words.number(v.delta.mean, 2),
        words.number(v.ssim.mean, 4),
        words.number(v.zoom_ssim.mean, 4),
        words.number(v.skill.mean, 3),
        words.number(v.mse.mean, 1),
        f"{words.number(v.psnr.mean, 1)} dB",
        words.share(v.target_reached_ratio),
        words.duration(v.seconds_per_image),
        words.count(v.failures),
    )


def validated_categories(last: Validation) -> TextTable:
    """One validation, category by category."""
    rows = [
        (
            name,
            words.count(c.images),
            words.interval(c.value),
            words.ratio(c.bytes_ratio),
            words.share(c.damaged_ratio),
            words.interval(c.skill, 3),
            words.share(c.target_reached_ratio),
        )
        for name, c in last.by_category.items()
    ]
    return TextTable(("Category", "Images", "Value", "Bytes ratio", "Damaged", "Skill", "Target reached"), tuple(rows))


def settings(results: Results) -> TextTable:
    """What a reader needs to judge the result; all of it is in params.yaml."""
    s, training = results.settings, results.training
    made = f"{words.count(training.total_timesteps)} made, {s.train.total_timesteps:,} planned"
    rows = [
        ("Objective", _objective(results)),
        ("Timesteps", made),
        ("Traces per episode", str(s.train.max_steps)),
        ("Shortlist", str(s.train.shortlist)),
        ("Environments", str(s.train.n_envs)),
        ("Seed", words.count(training.seed)),
        ("Seeds trained", str(len(training.seeds))),
        ("Curriculum", "on" if s.curriculum.enabled else "off"),
        ("Evaluation", f"{words.listed([str(n) for n in results.comparison.traces])} traces, seed {s.evaluate.seed}"),
    ]
    return TextTable(("Setting", "Value"), tuple(rows), left=frozenset({0, 1}))


def _objective(results: Results) -> str:
    objective = results.settings.objective
    match results.comparison.objective.name:
        case "faithful":
            return "faithful: fewest bytes without visible damage"
        case "smaller":
            return "smaller: fewest bytes, no more damage than the default's"
        case "sharper":
            return "sharper: least colour error, no more bytes and no more damage than the default's"
        case "target":
            return f"target: fewest bytes at a damage of {objective.max_damage:g} pixels or less"
        case "balanced":
            w = objective.weights
            return f"balanced: quality {w.quality:g}, size {w.size:g}, work {w.work:g}"


def freedom(results: Results) -> TextTable:
    """What the agent may set, and how far."""
    names = type(results.settings.tracing).model_fields
    rows = [(name, *_freedom(getattr(results.settings.tracing, name))) for name in names]
    return TextTable(("Parameter", "Freedom", "Values"), tuple(rows), left=frozenset({0, 1, 2}))


def _freedom(value: Freedom) -> tuple[str, str]:
    match value:
        case FixedValue():
            return "fixed", str(value.fixed)
        case Choices():
            return "one of", ", ".join(map(str, value.choices))
        case Range():
            return "range", f"{value.low:g} to {value.high:g}{', log scale' if value.log else ''}"


def data(training: TrainReport) -> TextTable:
    """Images per category and split."""
    by_category = training.dataset.by_category
    rows = [(c, *(str(n.get(s, 0)) for s in SPLITS), str(sum(n.values()))) for c, n in by_category.items()]
    totals = [sum(n.get(s, 0) for n in by_category.values()) for s in SPLITS]
    rows.append(("all", *(f"{t:,}" for t in totals), f"{sum(totals):,}"))
    return TextTable(("Category", "Train", "Validation", "Test", "All"), tuple(rows), frozenset({len(rows) - 1}))


def quality(measured: QualityReport) -> TextTable:
    """Images per category: who said so, how sure, how good."""
    rows = [
        (
            name,
            words.count(c.images),
            words.count(c.from_folder),
            words.count(c.from_pixels),
            words.number(c.confidence_mean),
            words.number(c.quality_mean),
        )
        for name, c in measured.categories.items()
    ]
    return TextTable(("Category", "Images", "By folder", "From pixels", "Mean confidence", "Mean quality"), tuple(rows))


def rejected(measured: QualityReport, most: int) -> TextTable:
    """The first files that were turned away, with their reasons."""
    rows = [(words.shortened(words.visible(r.path)), r.reason, r.detail) for r in measured.rejected[:most]]
    return TextTable(("File", "Reason", "Detail"), tuple(rows), left=frozenset({0, 1, 2}))


def checkpoints(entries: Sequence[CheckpointEntry], best: int | None) -> TextTable:
    """The states that were kept, oldest first; that of the best validation in bold."""
    rows = [
        (
            e.name,
            words.count(e.timesteps) if e.phase == "training" else e.phase,
            e.reason,
            words.moment(e.saved_seconds),
            words.storage(e.bytes),
            words.number(e.metrics.get("value"), 3),
        )
        for e in entries
    ]
    strong = frozenset(i for i, e in enumerate(entries) if best is not None and e.timesteps == best)
    columns = ("Checkpoint", "Timesteps", "Saved for", "When", "Size", "Validation value")
    return TextTable(columns, tuple(rows), strong, frozenset({0, 2}))


def usage(used: Sequence[Usage]) -> TextTable:
    rows = [
        (u.name, words.quantity(u.mean, u.unit), words.quantity(u.highest, u.unit), words.quantity(u.limit, u.unit))
        for u in used
    ]
    return TextTable(("Resource", "Mean", "Highest", "There is"), tuple(rows))


def counts(counted: Mapping[str, int], what: str) -> TextTable:
    """Counts by reason or kind, the most frequent first."""
    ranked = sorted(((k, n) for k, n in counted.items() if n), key=lambda item: (-item[1], item[0]))
    return TextTable((what, "Count"), tuple((k, f"{n:,}") for k, n in ranked))


def pairs(values: Mapping[str, str]) -> TextTable:
    return TextTable(("What", "Value"), tuple(values.items()), left=frozenset({0, 1}))


def images(chosen: Sequence[ImageResult]) -> TextTable:
    """Single images: bytes and looks against the default's."""
    rows = [
        (
            words.shortened(words.visible(i.path)),
            str(i.category),
            words.count(i.default_bytes),
            words.count(i.bytes),
            change_in_bytes(i),
            words.number(i.damage, 1),
            words.number(i.default_damage, 1),
            words.number(i.delta, 2),
        )
        for i in chosen
    ]
    columns = ("Image", "Category", "Default's bytes", "Bytes", "Change", "Damage, px", "Default's", "Colour error")
    return TextTable(columns, tuple(rows), left=frozenset({0, 1}))


def change_in_bytes(image: ImageResult) -> str:
    """ "−41 %"; "kept the default" where nothing better was found."""
    if not image.improved:
        return "kept the default"
    change = image.bytes / image.default_bytes - 1
    return f"{'−' if change < 0 else '+'}{words.percent(change)}"


def times(results: Results) -> TextTable:
    """How long things took, and the memory they took at most."""
    training = results.training
    rows = [("Training", words.duration(training.seconds), "")]
    for name, part in sorted(training.time_shares.items(), key=lambda item: -item[1]):
        rows.append((f"– of it {name}", words.duration(part * training.seconds), words.percent(part)))
    rows.append(("Evaluation", words.duration(results.comparison.seconds), ""))
    return TextTable(("Part", "Time", "Share"), tuple(rows))
