from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import DataError, ImageRejected
from pipeline.core.facts.comparison import ImageResult
from pipeline.core.json_records import to_json
from pipeline.core.records import Pixels
from pipeline.reports.archive import read_report
from pipeline.reports.document import PICTURES, as_markdown
from pipeline.reports.findings import find
from pipeline.reports.report import read_results, write_report
from pipeline.reports.results import Results
from pipeline.reports.run_report import SCHEMA_VERSION, SHOWN_IMAGES, improved_and_worst, run_report, shown_images
from pipeline.settings.params import Settings, load_settings
from pipeline.stages import report
from tests.support.facts import image_result

FILES = ("report.md", "report.html", "report.json", "images.parquet")
HOSTILE = (
    "simple/a|b`c*d_.png",
    "simple/<img src=x onerror=alert(1)>.png",
    "simple/two\nlines.png",
    "simple/[x](javascript:alert(1)).png",
    "simple/" + "n" * 251 + ".png",
    "simple/\u202egnp.evil.png",
)


@pytest.fixture
def settings(project: Any) -> Settings:
    return load_settings(project.root / "params.yaml")


@pytest.fixture(scope="session")
def written(make_project: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, tools: Any) -> Path:
    """A whole report, over images with hostile names."""
    root = tmp_path_factory.mktemp("written")
    made = make_project(root, names=HOSTILE)
    path = write_report(made.root, load_settings(root / "params.yaml"), tools.read, tools.draw, commit="ab" * 20)
    assert path == root / "reports" / "report.md"
    return root


def test_all_files_are_there_and_every_link_leads_to_one(written: Path) -> None:
    folder = written / "reports"
    assert {p.name for p in folder.iterdir()} == {*PICTURES, *FILES}
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", (folder / "report.md").read_text(encoding="utf-8"))
    assert set(links) == set(PICTURES)


def test_the_markdown_has_every_section_in_order(written: Path) -> None:
    text = (written / "reports" / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^#+ (.*)$", text, re.MULTILINE) == [
        "tracewright: report of a run", "Findings", "Image by image, at 8 traces", "A random sample", "Most improved",
        "Worst", "Against its rivals", "Size against damage, over the 8 traces made", "Per category, at 8 traces",
        "Training", "Curriculum", "Validation on held-out images", "Settings", "Data", "How long it took",
        "How to reproduce",
    ]  # fmt: skip
    for said in ("95 % interval", "git checkout abababab", "6f1c2a90b7de4c0e8d5a3b1f0e9c7a24", "too-small"):
        assert said in text


def test_hostile_names_stay_in_their_cells(written: Path) -> None:
    text = (written / "reports" / "report.md").read_text(encoding="utf-8")
    assert "<img" not in text
    assert "](javascript" not in text
    assert "\u202e" not in text
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_no_line_of_the_report_is_left_by_a_name(written: Path) -> None:
    """A newline in a name would start a line of its own."""
    text = (written / "reports" / "report.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if "lines.png" in line] == [
        line for line in text.splitlines() if line.startswith("| simple/two&#92;nlines.png | simple |")
    ]


def test_the_machine_form_says_the_same(written: Path) -> None:
    said = json.loads((written / "reports" / "report.json").read_text(encoding="utf-8"))
    assert said["schema_version"] == SCHEMA_VERSION
    assert said["headline"].startswith("With 8 traces per logo, tracewright needs 44 % fewer bytes")
    assert said["headline_traces"] == 8
    assert said["images_table"] == "images.parquet"
    assert len(said["most_improved"]) == len(said["least_improved"]) == SHOWN_IMAGES
    assert len(said["sample"]) == SHOWN_IMAGES
    assert said["pictures"] == list(PICTURES)
    assert {f["level"] for f in said["findings"]} == {"good", "info", "attention"}
    assert said["settings"]["tracing"]["mode"] == {"fixed": "spline"}


def test_the_stage_writes_it_with_the_real_reader_and_rasteriser(
    project: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root)
    report.main()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "the report is reports/report.md"
    assert said[1].startswith("MLflow does not get the report: there is no run ")
    assert {p.name for p in (project.root / "reports").iterdir()} == {*PICTURES, *FILES}
    [archive] = (project.root / ".tracewright/runs").glob("*/report")
    assert {p.name for p in archive.iterdir()} == {"report.json", "report.html", "images.parquet", "svgs.zip"}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("results/train/train.json", "dvc repro train"),
        ("results/evaluate/evaluate.json", "dvc repro evaluate"),
        ("results/evaluate/images.parquet", "dvc repro evaluate"),
    ],
)
def test_what_is_needed_and_missing_is_named_with_its_command(
    project: Any, settings: Settings, name: str, command: str
) -> None:
    (project.root / name).unlink()
    with pytest.raises(DataError, match=f"{name}.*{command}"):
        read_results(project.root, settings)


@pytest.mark.parametrize("content", ["{", "[]", '{"objective": {"name": "smaller"}}', '{"run_id": 3}'])
def test_results_of_another_form_are_refused_with_the_place(project: Any, settings: Settings, content: str) -> None:
    (project.root / "results/evaluate/evaluate.json").write_text(content)
    with pytest.raises(DataError, match=r"evaluate\.json.*dvc repro evaluate"):
        read_results(project.root, settings)


def test_a_damaged_table_of_images_is_refused(project: Any, settings: Settings) -> None:
    (project.root / "results/evaluate/images.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="dvc repro evaluate"):
        read_results(project.root, settings)


def test_progress_that_is_no_number_is_refused(project: Any, settings: Settings) -> None:
    (project.root / "results/train/progress.csv").write_text("timesteps,return_mean,stage\nmany,0.1,simple\n")
    with pytest.raises(DataError, match=r"progress\.csv"):
        read_results(project.root, settings)


def test_empty_cells_were_not_measured(project: Any, settings: Settings) -> None:
    header = "timesteps,return_mean,success_rate,stage,seconds,steps_per_second"
    (project.root / "results/train/progress.csv").write_text(f"{header}\n64,,,simple,1.5,40.0\n")
    (point,) = read_results(project.root, settings).progress
    assert (point.timesteps, point.return_mean, point.stage) == (64, None, "simple")


def test_without_what_is_optional_the_report_is_shorter(project: Any, settings: Settings, tools: Any) -> None:
    for name in ("results/register.json", "data/quality.json", "results/train/progress.csv"):
        (project.root / name).unlink()
    project.edit("results/train/train.json", lambda train: train.update(stages=[], validations=[]))
    (project.root / "reports").mkdir()
    (project.root / "reports/training.png").write_bytes(b"of an earlier run")
    text = write_report(project.root, settings, tools.read, tools.draw).read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert not {"Registry", "Training"} & set(titles)
    assert "training.png" not in text
    assert not (project.root / "reports/training.png").exists()
    assert "git checkout" not in text


def test_evaluation_without_curves_by_category_or_duels_is_enough(project: Any, settings: Settings, tools: Any) -> None:
    def strip(report: dict[str, Any]) -> None:
        report["duels"] = []
        report["traces"] = [4]
        for method in report["methods"]:
            method["by_category"] = {}
            method["curve"] = [p for p in method["curve"] if p["traces"] == 4]

    project.edit("results/evaluate/evaluate.json", strip)
    text = write_report(project.root, settings, tools.read, tools.draw).read_text(encoding="utf-8")
    assert "Per category" not in text
    assert "**tracewright was evaluated on 40 test logos.**" in text


def test_images_and_svgs_that_are_gone_cost_only_their_panel(project: Any, settings: Settings, tools: Any) -> None:
    def gone(path: Path) -> Pixels:
        raise ImageRejected(path.name, "unreadable", "gone")

    for svg in (project.root / "results/evaluate/svg").rglob("*.svg"):
        svg.unlink()
    assert write_report(project.root, settings, gone, tools.draw).is_file()
    assert (project.root / "reports/improved.png").stat().st_size > 1000


def test_a_null_where_nothing_was_measured_is_none(project: Any, settings: Settings) -> None:
    def forget(report: dict[str, Any]) -> None:
        report["validations"][0]["consistency"] = None

    project.edit("results/train/train.json", forget)
    first = read_results(project.root, settings).training.validations[0]
    assert first.consistency is None
    assert first.ssim


def test_a_field_that_a_stage_did_not_write_is_named(project: Any, settings: Settings) -> None:
    """A reader that knows other names than the writer is refused, not shown an empty cell."""

    def forget(report: dict[str, Any]) -> None:
        report["model_id"] = report.pop("model")

    project.edit("results/train/train.json", forget)
    with pytest.raises(DataError, match=r"train\.json: model: field required; run `dvc repro train` again"):
        read_results(project.root, settings)


def test_nan_is_refused_where_it_is_read(project: Any, settings: Settings) -> None:
    path = project.root / "results/train/train.json"
    path.write_text(path.read_text().replace('"seconds": 612.0', '"seconds": NaN'))
    with pytest.raises(DataError, match="NaN"):
        read_results(project.root, settings)


def test_the_random_sample_is_the_same_for_the_same_images(results: Results) -> None:
    sample, _, _ = shown_images(results)
    assert shown_images(replace(results, images=results.images[::-1]))[0] == sample
    assert {i.path for i in sample} != {i.path for i in results.images[:SHOWN_IMAGES]}


def test_damage_is_looked_at_where_it_is_visible(project: Any, settings: Settings, tools: Any) -> None:
    """Of the grey canvas that stands for the SVG nothing is right, so the whole image is one damaged region."""
    (project.root / "results/evaluate/svg" / f"{0:064x}.svg").unlink()
    write_report(project.root, settings, tools.read, tools.draw)
    report = read_report(project.root / "reports")
    assert report.comparison.images == 40
    kept = [image.damage > 1 for image in read_results(project.root, settings).images]
    assert len(report.damaged) == sum(kept) > 0
    for image in report.damaged:
        if image.regions:
            assert [(r.x, r.y, r.width, r.height, r.kind) for r in image.regions] == [(0, 0, 48, 40, "colour")]
    assert "show visible damage: " in report.headline
    assert "lost a colour" in report.headline


def image(path: str, value: float, size: int = 100) -> ImageResult:
    return image_result(path=path, value=value, default_bytes=size, improved=value > 0)


def test_the_most_and_least_improved_never_overlap() -> None:
    images = [image(f"{k}", float(k)) for k in range(2 * SHOWN_IMAGES + 3)]
    best, worst = improved_and_worst(images)
    assert best == images[: -SHOWN_IMAGES - 1 : -1]
    assert worst == images[:SHOWN_IMAGES]
    best, worst = improved_and_worst(images[:5])
    assert [i.path for i in best] == ["4", "3", "2"]
    assert [i.path for i in worst] == ["0", "1"]


def test_among_those_that_kept_the_default_the_largest_come_first() -> None:
    best, worst = improved_and_worst([image("a", 0.0, 10), image("b", 0.0, 900), image("c", 0.0, 90)])
    assert best == []
    assert [i.path for i in worst] == ["b", "c", "a"]


def test_secrets_of_the_tracking_server_are_not_written(results: Results) -> None:
    address = "postgresql://someone:secret@db.example/mlflow?password=secret"
    leaky = replace(results, training=replace(results.training, tracking_uri=address))
    assert "secret" not in as_markdown(leaky, find(leaky), ())
    assert "secret" not in json.dumps(to_json(run_report(leaky, find(leaky), ())))


def test_the_runs_own_commit_goes_before_that_of_the_report(results: Results) -> None:
    own = replace(results, training=replace(results.training, git_commit="feed", git_dirty=True))
    text = as_markdown(own, [], ())
    assert "git checkout feed\n" in text
    assert "| Commit | feed, with changes that were not committed |" in text
    assert "| Commit when this was written | 0123abcd" in as_markdown(results, [], ())


def test_a_backtick_cannot_leave_a_code_span(results: Results) -> None:
    odd = replace(results, training=replace(results.training, run_id="a`b\n# c"))
    assert "Run `a'b\\n# c`" in as_markdown(odd, [], ())
