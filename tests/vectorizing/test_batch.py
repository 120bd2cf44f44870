from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pipeline.search.tasks
import pipeline.vectorizing.batch
from pipeline.core.errors import DataError, ImageRejected, StorageError
from pipeline.core.records import DEFAULT_PARAMS, Evaluation, FailureKind, Job, Pruned, Scored, TracerParams
from pipeline.data import probe
from pipeline.vectorizing.answer import Options, shown_params
from pipeline.vectorizing.batch import (
    VectorizeResult,
    append_result,
    find_sources,
    open_results,
    vectorize_files,
    vectorize_image_bytes,
    with_objective,
)
from tests.support.agents import small_agent
from tests.support.fakes import FakeEvaluator, formula, rgba_of

AGENT = small_agent()
DEFAULT_BYTES = formula(DEFAULT_PARAMS).svg_bytes


def save(path: Path, seed: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgba_of(seed)).convert("RGB").save(path)
    return path


class Worse(FakeEvaluator):
    """Whatever is not the default is larger, or smaller and visibly damaged."""

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        return [self._worse(number, e) for number, e in enumerate(super().evaluate(jobs))]

    def _worse(self, number: int, evaluation: Evaluation) -> Evaluation:
        if not isinstance(evaluation, Scored) or evaluation.params == DEFAULT_PARAMS:
            return evaluation
        larger = replace(evaluation.scores, svg_bytes=DEFAULT_BYTES + 1, damage=0.0, delta=0.0)
        damaged = replace(evaluation.scores, svg_bytes=10, damage=500.0, delta=9.0)
        return replace(evaluation, scores=(larger, damaged)[number % 2])


def vectorize(
    inputs: Sequence[Path], output: Path, evaluator: FakeEvaluator | None = None, **options: Any
) -> dict[str, VectorizeResult]:
    sources, rejected = find_sources(inputs)
    results = [
        *rejected,
        *vectorize_files(sources, output, AGENT, evaluator or FakeEvaluator(), **{"traces": 4, **options}),
    ]
    assert len({r.path for r in results}) == len(results)
    return {r.path: r for r in results}


def written(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_relative_paths_are_kept(tmp_path: Path) -> None:
    for name in ("a.png", "deep/er/b.JPG", "deep/c.webp"):
        save(tmp_path / "in" / name)
    results = vectorize([tmp_path / "in"], tmp_path / "out")
    assert written(tmp_path / "out") == ["a.svg", "deep/c.svg", "deep/er/b.svg"]
    assert {r.path: r.svg for r in results.values()} == {
        "a.png": "a.svg",
        "deep/c.webp": "deep/c.svg",
        "deep/er/b.JPG": "deep/er/b.svg",
    }


def test_names_that_would_collide_are_told_apart(tmp_path: Path) -> None:
    for name in ("one/a.bmp", "one/a.jpg", "one/a.png", "two/a.png", "three/a.png"):
        save(tmp_path / name)
    sources, _ = find_sources([tmp_path / "one", tmp_path / "two", tmp_path / "three/a.png"])
    assert [str(s.svg) for s in sources] == ["one/a.svg", "one/a.jpg.svg", "one/a.png.svg", "two/a.svg", "a.svg"]
    assert len(list(vectorize_files(sources, tmp_path / "out", AGENT, FakeEvaluator(), traces=1))) == 5
    assert len(written(tmp_path / "out")) == 5


def test_a_broken_image_costs_only_itself(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / "in" / f"{number}.png", number)
    (tmp_path / "in" / "2.png").write_bytes((tmp_path / "in" / "2.png").read_bytes()[:60])
    (tmp_path / "in" / "3.png").write_bytes(b"")
    Image.new("RGB", (40, 40), "white").save(tmp_path / "in" / "4.png")
    results = vectorize([tmp_path / "in"], tmp_path / "out", batch=2)
    assert {p: r.status for p, r in results.items() if r.status == "failed"} == dict.fromkeys(
        ("2.png", "3.png", "4.png"), "failed"
    )
    assert (results["3.png"].error or "").startswith("empty: ")
    assert (results["4.png"].error or "").startswith("blank: ")
    assert results["2.png"].svg is None
    assert written(tmp_path / "out") == ["0.svg", "1.svg"]


def test_an_image_that_the_tracer_cannot_do_costs_only_itself(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", number)
    results = vectorize([tmp_path / "in"], tmp_path / "out", FakeEvaluator(lambda job: job.logo.name == "1"))
    assert [r.status == "failed" for r in results.values()] == [False, True, False]
    assert results["1.png"].error == "panic: as asked"
    assert results["1.png"].bytes is None


def test_a_linked_file_is_vectorised_and_a_linked_folder_is_reported(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "out.png").symlink_to(save(tmp_path / "cache" / "0a1b.png"))
    (tmp_path / "in" / "more").symlink_to(tmp_path / "cache")
    results = vectorize([tmp_path / "in"], tmp_path / "out")
    assert results["out.png"].status == "improved"
    assert (results["more"].error or "").startswith("link: ")


def test_it_is_never_worse_than_the_default(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / "in" / f"{number}.png", number)
    results = vectorize([tmp_path / "in"], tmp_path / "out", traces=8)
    assert {r.status for r in results.values()} == {"improved"}
    for result in results.values():
        assert result.bytes is not None
        assert result.default_bytes is not None
        assert result.bytes < result.default_bytes
        assert result.traces == 8
        assert result.params is not None


def test_more_traces_are_never_worse(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    sizes = [vectorize([tmp_path / "in"], tmp_path / "out", traces=n)["a.png"].bytes for n in (1, 2, 4)]
    # The first trace is the same whatever the budget; what follows may differ, but never falls behind it.
    assert None not in sizes
    assert sizes[0] == max(sizes, key=lambda s: s or 0)


def test_where_nothing_is_better_the_defaults_svg_is_given(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    for evaluator in (Worse(), FakeEvaluator(lambda job: job.params != DEFAULT_PARAMS)):
        [result] = vectorize([tmp_path / "in"], tmp_path / "out", evaluator).values()
        assert result.status == "default"
        assert result.bytes == result.default_bytes == DEFAULT_BYTES
        assert result.params == shown_params(DEFAULT_PARAMS)
        assert (tmp_path / "out" / "a.svg").read_text() == f"<svg><!-- {DEFAULT_PARAMS.layer_difference} --></svg>"


def test_the_same_seed_gives_the_same_and_neighbours_change_nothing(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "in" / f"{number}.png", number)

    def chosen(inputs: list[Path], **options: Any) -> dict[str, Any]:
        return {p: r.params for p, r in vectorize(inputs, tmp_path / "out", **options).items()}

    together = chosen([tmp_path / "in"], batch=16)
    assert together == chosen([tmp_path / "in"], batch=1)
    assert together["2.png"] == chosen([tmp_path / "in" / "2.png"])["2.png"]
    assert together != chosen([tmp_path / "in"], seed=5)


def test_each_svg_is_there_before_its_result(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", number)
    sources, _ = find_sources([tmp_path / "in"])
    for result in vectorize_files(sources, tmp_path / "out", AGENT, FakeEvaluator(), traces=1, batch=1):
        assert result.svg is not None
        assert written(tmp_path / "out")[-1] == result.svg, "and none of those that come later"


def test_an_image_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png")
    measured: list[int] = []

    def counted(*arguments: Any) -> Any:
        measured.append(1)
        return probe.measure(*arguments)

    for module in (pipeline.vectorizing.batch, pipeline.search.tasks):
        monkeypatch.setattr(module, "measure", counted)
    vectorize([tmp_path / "a.png"], tmp_path / "out")
    assert len(measured) == 1


def test_the_next_images_are_handed_in_before_these_are_searched(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", number)
    evaluator = FakeEvaluator()
    vectorize([tmp_path / "in"], tmp_path / "out", evaluator, batch=1, traces=1)
    is_default = [job.params == DEFAULT_PARAMS for job in evaluator.jobs]
    assert is_default == [True, True, False, True, False, False]


ODD = [
    "new\nline.png",
    "tab\there.png",
    "grüße 你好.png",
    'quo"te.png',
    "back\\slash.png",
    "-o.png",
    "%s.png",
    "x" * 251 + ".png",
]


def test_odd_names_are_no_reason_to_fail(tmp_path: Path) -> None:
    for number, name in enumerate(ODD):
        save(tmp_path / "in" / name, number)
    raw = os.fsencode(tmp_path / "in") + b"/latin-\xe9.png"
    Path(os.fsdecode(raw)).write_bytes((tmp_path / "in" / ODD[0]).read_bytes())
    results = vectorize([tmp_path / "in"], tmp_path / "out")
    assert {r.status for r in results.values()} == {"improved"}
    assert len(list((tmp_path / "out").iterdir())) == len(ODD) + 1
    assert (tmp_path / "out" / "new\nline.svg").is_file()
    lines = [result.to_line() for result in results.values()]
    assert all(line.count("\n") == 1 for line in lines)
    assert {json.loads(line.encode("utf-8"))["path"] for line in lines} >= {"new\nline.png", "latin-\\xe9.png"}


def test_results_jsonl_has_a_line_per_image_as_it_comes(tmp_path: Path) -> None:
    path = open_results(tmp_path / "out")
    assert path.read_bytes() == b""
    append_result(path, VectorizeResult(path="a.png", status="failed", error="empty: no bytes"))
    append_result(path, VectorizeResult(path="b.png", status="default", svg="b.svg", damage=0.9))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert list(first) == [f.name for f in fields(VectorizeResult)]
    assert (first["damage"], first["bytes"], first["params"]) == (None, None, None), "not measured is null, never 0"
    assert second["damage"] == 0.9
    open_results(tmp_path / "out")
    assert path.read_bytes() == b"", "a new run does not add to an old one's results"


def test_an_output_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        open_results(tmp_path / "file")
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"results\.jsonl: cannot be written"):
        append_result(tmp_path / "results.jsonl", VectorizeResult(path="a.png", status="failed"))


def test_inputs_that_are_not_there_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.png, .*y: no such file or folder"):
        find_sources([tmp_path / "x.png", save(tmp_path / "a.png"), tmp_path / "y"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images found"):
        find_sources([tmp_path / "empty"])


def test_one_image_from_memory() -> None:
    buffer = io.BytesIO()
    Image.fromarray(rgba_of(4)).save(buffer, "PNG")
    answer = vectorize_image_bytes(buffer.getvalue(), AGENT, FakeEvaluator(), traces=3)
    assert answer["svg"].startswith("<svg>")
    assert answer["status"] == "improved"
    assert answer["bytes"] < answer["default_bytes"]
    assert set(answer) - {"svg"} <= {f.name for f in fields(VectorizeResult)}
    with pytest.raises(ImageRejected):
        vectorize_image_bytes(b"no picture", AGENT, FakeEvaluator(), traces=1)
    with pytest.raises(DataError, match="VTracer failed on it: panic"):
        vectorize_image_bytes(buffer.getvalue(), AGENT, FakeEvaluator(lambda job: True), traces=1)


def test_params_are_shown_by_vtracers_names() -> None:
    assert "prescale" not in shown_params(DEFAULT_PARAMS)
    assert "palette" not in shown_params(DEFAULT_PARAMS)
    assert (
        shown_params(replace(DEFAULT_PARAMS, prescale=2.0, palette=4)).items()
        >= {"prescale": 2.0, "palette": 4}.items()
    )


def test_another_objective_can_be_sought() -> None:
    assert with_objective(AGENT, None, None).objective == AGENT.objective
    changed = with_objective(AGENT, "target", 5.0)
    assert (changed.objective.name, changed.objective.max_damage) == ("target", 5.0)
    assert changed.objective.quality_weight == AGENT.objective.quality_weight
    assert changed.trained_for == "faithful"


class Spread(FakeEvaluator):
    """Each setting gives fewer bytes and more damage than the one before; what does not pass the gate is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[TracerParams, tuple[int, float]] = {}

    def _one(self, job: Job) -> Evaluation:
        if job.params == DEFAULT_PARAMS:
            return super()._one(job)
        number = len(self.known)
        svg_bytes, damage = self.known.setdefault(job.params, (DEFAULT_BYTES // (number + 2), 0.5 * 9.0**number))
        if svg_bytes > job.gate.max_bytes or damage > job.gate.max_damage:
            return Pruned(job.logo.digest, job.params, svg_bytes, damage, 0.01)
        found = replace(formula(job.params), svg_bytes=svg_bytes, damage=damage)
        return Scored(job.logo.digest, job.params, found, 0.01, f"<svg>{svg_bytes}</svg>" if job.keep_svg else None)


def test_a_budget_takes_the_least_damaged_that_fits(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    plain = vectorize([tmp_path / "a.png"], tmp_path / "out", Spread())["a.png"]
    assert (plain.bytes, plain.damage) == (DEFAULT_BYTES // 2, 0.5), "the only one without visible damage"
    for budget, expected in ((DEFAULT_BYTES - 1, 2), (DEFAULT_BYTES // 3, 3), (DEFAULT_BYTES // 5, 5)):
        chosen = vectorize([tmp_path / "a.png"], tmp_path / "out", Spread(), options=Options(budget_bytes=budget))[
            "a.png"
        ]
        assert (chosen.bytes, chosen.note) == (DEFAULT_BYTES // expected, None)
        assert (tmp_path / "out/a.svg").read_text() == f"<svg>{chosen.bytes}</svg>"


def test_a_budget_that_nothing_fits_gives_the_smallest_and_says_so(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    options = Options(budget_bytes=1)
    result = vectorize([tmp_path / "a.png"], tmp_path / "out", Spread(), options=options)["a.png"]
    assert result.bytes == DEFAULT_BYTES // 5
    assert result.note == "no trace has 1 bytes or fewer; this is the smallest"


def test_the_curve_comes_with_its_svgs_where_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    plain = vectorize([tmp_path / "a.png"], tmp_path / "out", Spread())["a.png"]
    assert written(tmp_path / "out") == ["a.svg"]
    whole = vectorize([tmp_path / "a.png"], tmp_path / "out", Spread(), options=Options(curve=True))["a.png"]
    assert (whole.bytes, whole.params) == (plain.bytes, plain.params), "the choice is the same"
    assert whole.curve is not None
    assert [p["bytes"] for p in whole.curve] == [DEFAULT_BYTES // n for n in (5, 4, 3, 2)] + [DEFAULT_BYTES]
    assert [p["chosen"] for p in whole.curve] == [False, False, False, True, False]
    assert sum(p["knee"] for p in whole.curve) <= 1
    for point in whole.curve[:4]:
        assert point["svg"] == f"a.curve/{point['bytes']}.svg"
        assert (tmp_path / "out" / point["svg"]).read_text() == f"<svg>{point['bytes']}</svg>"


def white_logo(path: Path) -> Path:
    """All white, on transparency."""
    rgba = np.full((40, 40, 4), 255, np.uint8)
    rgba[:8, :, 3] = 0
    Image.fromarray(rgba).save(path)
    return path


def test_a_white_logo_on_transparency_is_traced_as_it_is_or_on_a_colour(tmp_path: Path) -> None:
    path = white_logo(tmp_path / "white.png")
    evaluator = FakeEvaluator()
    assert vectorize([path], tmp_path / "out", evaluator)["white.png"].status == "improved"
    assert evaluator.jobs[0].logo.rgba[..., 3].min() == 0
    evaluator = FakeEvaluator()
    options = Options(background="#0b57a4")
    assert vectorize([path], tmp_path / "out", evaluator, options=options)["white.png"].status == "improved"
    shown = evaluator.jobs[0].logo.rgba
    assert (shown[0, 0].tolist(), shown[-1, 0].tolist()) == ([11, 87, 164, 255], [255] * 4)
    blank = vectorize([path], tmp_path / "out", options=Options(background="#ffffff"))["white.png"]
    assert blank.error == "blank: on the background #ffffff all of it is #ffffff"


def test_half_transparent_parts_that_are_not_kept_are_said(tmp_path: Path) -> None:
    rgba = np.full((40, 40, 4), 255, np.uint8)
    rgba[10:30, 10:30] = (200, 0, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "half.png")
    sound = vectorize([tmp_path / "half.png"], tmp_path / "out")["half.png"]
    assert sound.note is None
    options = Options(budget_bytes=DEFAULT_BYTES // 4)
    damaged = vectorize([tmp_path / "half.png"], tmp_path / "out", Spread(), options=options)["half.png"]
    assert (damaged.note or "").startswith("its half-transparent parts could not be kept")


@pytest.mark.parametrize("kind", ["timeout", "memory", "panic"])
def test_traces_that_were_given_up_are_said(tmp_path: Path, kind: FailureKind) -> None:
    refused = FakeEvaluator(lambda job: job.params != DEFAULT_PARAMS, kind)
    result = vectorize([save(tmp_path / "a.png")], tmp_path / "out", refused)["a.png"]
    said = f"traces given up: 4 ({kind}); another run may find a better one"
    assert (result.status, result.note) == ("default", None if kind == "panic" else said)


def test_what_could_not_be_parsed_is_said(tmp_path: Path) -> None:
    class Unparsed(FakeEvaluator):
        def _one(self, job: Job) -> Evaluation:
            evaluation = super()._one(job)
            return replace(evaluation, parsed=False) if isinstance(evaluation, Scored) else evaluation

    save(tmp_path / "a.png")
    assert vectorize([tmp_path / "a.png"], tmp_path / "out", Unparsed())["a.png"].parsed is False
    assert vectorize([tmp_path / "a.png"], tmp_path / "out")["a.png"].parsed is True
