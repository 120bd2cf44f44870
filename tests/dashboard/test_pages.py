"""Every page in every state that a project may be in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dashboard import queries
from pipeline.reports import archive
from tests.support import dashboard_project
from tests.support.app_pages import PAGES, Open, said

TITLES = dict(zip(PAGES, ("tracewright", "Dataset", "Training", "Results", "Images", "Models", "Resources", "Compare",
                          "Try it"), strict=True))  # fmt: skip
KEPT = archive.RUNS / dashboard_project.RUN / archive.FOLDER


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("page", PAGES)
def test_a_finished_run_fills_every_page(finished: Path, visit: Open, page: str) -> None:
    app = visit(finished, page)
    assert not app.exception
    assert [title.value for title in app.title] == [TITLES[page]]
    assert not app.warning
    if page not in ("models", "compare", "try-it"):
        assert "make repro" not in said(app)


@pytest.mark.parametrize("page", PAGES)
def test_where_nothing_was_run_a_page_says_what_to_run(empty: Path, visit: Open, page: str) -> None:
    app = visit(empty, page)
    assert not app.exception
    assert not app.error
    assert not app.warning
    if page != "try-it":
        assert app.info
        assert any(word in said(app) for word in ("make repro", "dvc repro", "dvc exp run"))


@pytest.mark.parametrize("page", PAGES)
def test_half_written_files_break_no_page(project: Path, visit: Open, page: str) -> None:
    """What a copy that was cut off, or a disk that failed, would leave."""
    for path in (*(project / KEPT).iterdir(), *(project / "data").glob("*.*"), *(project / "reports").glob("*.json")):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    folder = project / archive.RUNS / dashboard_project.RUN
    for name in ("status.json", "journal.jsonl", "resources.jsonl", "checkpoints/index.json", "training.json"):
        if (folder / name).exists():
            (folder / name).write_bytes((folder / name).read_bytes()[:-40] + b"\xff\x00{")
    app = visit(project, page)
    assert not app.exception
    assert not app.error
    if page in ("overview", "results", "images", "training"):
        assert "report.json" in said(app)
        assert "dvc repro" in said(app)


@pytest.mark.parametrize("content", ["", '{"schema_version": 1}', "[" * 9000])
def test_a_report_of_another_form_is_said_not_raised(project: Path, visit: Open, content: str) -> None:
    (project / KEPT / "report.json").write_text(content)
    (project / "reports/report.json").unlink()
    app = visit(project, "results")
    assert not app.exception
    assert "report.json" in app.warning[0].value


def test_no_project_is_said(tmp_path: Path, visit: Open) -> None:
    app = visit(tmp_path, "overview")
    assert not app.exception
    assert "params.yaml and dvc.yaml" in said(app)


def test_a_running_training_is_followed(project: Path, visit: Open) -> None:
    dashboard_project.running(project)
    overview = visit(project, "overview")
    assert not overview.exception
    app = visit(project, "training")
    assert not app.exception
    text = said(app)
    assert "is being trained" in text
    assert {metric.label: metric.value for metric in app.metric}["stage"] == "gradient"
    assert "written" in text
    results = visit(project, "results")
    assert "its report comes when it has been evaluated" in said(results)
    assert "Meanwhile, the newest run that has a report" in said(results)
    assert not results.exception


@pytest.mark.parametrize(
    ("state", "says"),
    [("failed", "failed"), ("stopped", "resumes from its last checkpoint"), ("training", "was killed")],
)
def test_a_training_that_ended_says_how(project: Path, visit: Open, state: str, says: str) -> None:
    folder = dashboard_project.running(project)
    dashboard_project.journal(
        folder, ends=state != "training", failure="DataError: <b>no images</b>" if state == "failed" else None
    )
    dashboard_project.status(folder, state=state, updated_seconds=dashboard_project.STARTED_SECONDS)
    app = visit(project, "training")
    assert not app.exception
    assert says in said(app)
    if state == "failed":
        assert "&#60;b&#62;no images" in said(app)
    assert ("was killed" in said(visit(project, "overview"))) == (state == "training")


def test_a_training_that_has_measured_nothing_yet_is_no_fault(empty: Path, visit: Open) -> None:
    folder = empty / archive.RUNS / "20250301-120000-aaaaaa"
    dashboard_project.status(folder, state="preparing", phase="table", timesteps=0, validation=None, checkpoint=None,
                failures={},
                steps_per_second=None, return_mean=None, success_rate=None, stage=None, stage_number=None)  # fmt: skip
    for page in ("overview", "training", "results", "images", "resources"):
        app = visit(empty, page)
        assert not app.exception
        assert not app.warning
    assert "Nothing has been measured yet" in said(visit(empty, "training"))


def test_mlflow_that_is_down_leaves_what_is_on_disk(
    finished: Path, visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    app = visit(finished, "models")
    assert not app.exception
    text = said(app)
    assert "does not answer" in text
    assert "secret" not in text
    assert "From the reports on disk" in text
    assert [m.value for m in app.metric] == ["version 3"]


def test_the_address_chooses_the_run(project: Path, visit: Open) -> None:
    dashboard_project.copied(project, "20250109-older", hours_later=-5)
    newest, older = visit(project, "results"), visit(project, "results", run="20250109-older")
    assert newest.selectbox(key="run").value == dashboard_project.RUN
    assert older.selectbox(key="run").value == "20250109-older"
    assert visit(project, "results", run="../../etc").selectbox(key="run").value == dashboard_project.RUN


def test_what_is_picked_goes_into_the_address(project: Path, visit: Open) -> None:
    dashboard_project.copied(project, "20250109-older", hours_later=-5)
    app = visit(project, "results")
    assert "run" not in app.query_params
    app.selectbox(key="run").set_value("20250109-older").run()
    assert app.query_params["run"] in ("20250109-older", ["20250109-older"])


def test_the_address_chooses_the_image_and_the_filter(finished: Path, visit: Open) -> None:
    table = archive.read_images(finished / KEPT)
    row = table[table["category"] == "text"].iloc[-1]
    app = visit(finished, "images", category="text", image=row["digest"])
    assert not app.exception
    assert row["path"] in said(app)
    assert "11 of 40 images" in said(app)


def test_no_filter_and_no_order_changes_the_chosen_image(finished: Path, visit: Open) -> None:
    app = visit(finished, "images")
    before = app.query_params["image"]
    app.selectbox(key="order").set_value("-bytes").run()
    app.text_input(key="name").set_value("no such name").run()
    assert app.query_params["image"] == before
    assert "the image below is not among them" in said(app)
    assert not app.exception


def test_the_next_image_is_that_of_the_order(finished: Path, visit: Open) -> None:
    app = visit(finished, "images", order="name")
    table = archive.read_images(finished / KEPT).sort_values("path")
    app.button(key="next").click().run()
    assert app.query_params["image"] in (table["digest"].iloc[1], [table["digest"].iloc[1]])


def test_the_first_figure_is_that_of_the_table(finished: Path, visit: Open) -> None:
    app = visit(finished, "overview")
    table = next(frame.value for frame in app.dataframe if "Difference" in frame.value.columns)
    row = table[table.iloc[:, 0] == "VTracer's default"].iloc[0]
    assert app.metric[0].value == row["Difference"]
    assert app.metric[1].value.split(" of ")[0] == row["Damaged"].split(" / ")[0]
    assert all(metric.help for metric in app.metric[:2])


def test_no_page_shows_a_link_to_what_does_not_answer(
    finished: Path, visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "answers", lambda address: False)
    assert "make ui" in said(visit(finished, "models"))
    assert "make up" in said(visit(finished, "resources"))


def test_no_logarithm_stands_in_a_sentence(finished: Path, visit: Open) -> None:
    for page in ("overview", "models", "results", "training"):
        assert not re.search(r"[+−]\d\.\d{3}|\(ln\)|natural log", said(visit(finished, page))), page


def test_a_filter_that_nothing_passes_is_said(finished: Path, visit: Open) -> None:
    app = visit(finished, "images", name="no such name")
    assert "No image is like that" in said(app)


def test_two_runs_beside_each_other(project: Path, visit: Open) -> None:
    dashboard_project.copied(project, "20250109-other")
    app = visit(project, "compare")
    assert not app.exception
    tables = [frame.value for frame in app.dataframe]
    settings = next(t for t in tables if "Setting" in t.columns)
    assert settings["Setting"].to_list() == ["train.ppo.learning_rate"]
    assert "better on 0, worse on 0, the same on 40 of 40 images" in said(app)


def test_a_checkout_without_runs_shows_the_report_it_has(project: Path, visit: Open) -> None:
    """As after `dvc pull`, whose outs are there and .tracewright is not."""
    import shutil

    shutil.rmtree(project / ".tracewright")
    for page in ("overview", "results", "images", "training"):
        app = visit(project, page)
        assert not app.exception
        assert "make repro" not in said(app)


def test_hostile_names_are_text(finished: Path, visit: Open) -> None:
    for page in ("dataset", "results", "images"):
        app = visit(finished, page)
        assert not app.exception
        for element in (*app.markdown, *app.caption):
            assert not element.allow_html
            assert "<img" not in element.value
            assert "](http" not in element.value
            assert "javascript:" not in element.value


def test_a_folder_that_is_no_run_is_passed_over(project: Path, visit: Open) -> None:
    (project / archive.RUNS / "empty").mkdir()
    (project / archive.RUNS / "a file").write_text("x")
    (project / archive.RUNS / "nowhere").symlink_to("/nonexistent")
    app = visit(project, "overview")
    assert not app.exception
    latest = next(frame.value for frame in app.dataframe if "started" in frame.value.columns)
    assert len(latest) == 1


def test_a_journal_of_another_release_is_said(project: Path, visit: Open) -> None:
    folder = dashboard_project.running(project)
    with (folder / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "metrics", "values": 3}) + "\n")
    app = visit(project, "training")
    assert not app.exception
    assert "journal.jsonl" in app.warning[0].value
