from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pytest
import streamlit as st

from dashboard import frame, queries
from dashboard.views import compare, images, results
from pipeline.reports import archive
from pipeline.reports.trouble import Trouble
from tests.support import dashboard_project


def test_runs_come_newest_first_with_what_is_known(project: Path) -> None:
    dashboard_project.copied(project, "20250109-later", hours_later=5)
    dashboard_project.running(project)
    runs = queries.runs(project)
    assert [(run.run_id, run.state) for run in runs] == [
        ("20250301-120000-aaaaaa", "training"), ("20250109-later", "finished"), (dashboard_project.RUN, "finished"),
    ]  # fmt: skip
    assert [run.report is None for run in runs] == [True, False, False]
    assert runs[0].short == "aaaaaa"
    assert runs[1].label == "01-07 14:12 · later · finished"


def test_a_report_that_is_written_anew_is_read_anew(project: Path) -> None:
    [run] = queries.runs(project)
    path = project / archive.RUNS / dashboard_project.RUN / archive.FOLDER / archive.REPORT
    text = path.read_text(encoding="utf-8")
    assert run.report
    path.write_text(text.replace(run.report.headline, "another headline"), encoding="utf-8")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    [again] = queries.runs(project)
    assert again.report
    assert again.report.headline == "another headline"


def test_what_a_run_was_given_is_what_its_journal_says(project: Path) -> None:
    [run] = queries.runs(project)
    assert queries.settings(run)["train.ppo.gamma"] == "1.0"
    (run.folder / "journal.jsonl").unlink()
    st.cache_resource.clear()
    assert queries.settings(run)["train.max_steps"] == "8"


@pytest.mark.parametrize("said", ["#12345", "red", "#ffffff;background:url(http://x)"])
def test_a_background_that_is_no_colour_is_white(project: Path, said: str) -> None:
    folder = project / archive.RUNS / dashboard_project.RUN
    text = (folder / "journal.jsonl").read_text(encoding="utf-8")
    (folder / "journal.jsonl").write_text(text.replace('"#ffffff"', f'"{said}"'), encoding="utf-8")
    [run] = queries.runs(project)
    assert queries.background(run) == "#ffffff"


def test_svgs_are_found_in_the_archive_else_in_the_results(project: Path) -> None:
    [run] = queries.runs(project)
    digest = queries.images(run)["digest"].iloc[0]
    assert queries.svg(project, run, "ours", digest) == dashboard_project.HOSTILE_SVG
    (project / archive.RUNS / dashboard_project.RUN / archive.FOLDER / archive.SVGS).unlink()
    assert queries.svg(project, run, "ours", digest) == dashboard_project.HOSTILE_SVG
    assert queries.svg(project, run, "ours", "../../params") is None


def test_an_original_that_is_another_image_now_is_not_shown(project: Path) -> None:
    [run] = queries.runs(project)
    row = queries.images(run).iloc[-1]
    data = queries.data_root(project, run)
    assert data is not None
    found = queries.original(data, row["path"], row["digest"])
    assert found is not None
    assert found[1:] == (48, 40)
    assert queries.original(data, row["path"], "0" * 64) is None
    assert queries.original(data, "../../../etc/passwd", row["digest"]) is None


def test_differences_are_drawn_and_a_hostile_svg_costs_only_its_own(project: Path) -> None:
    [run] = queries.runs(project)
    row = queries.images(run).iloc[-1]
    data = queries.data_root(project, run)
    assert data is not None
    found = queries.differences(data, row["path"], "#ffffff", "<svg", dashboard_project.triangle(3))
    assert not isinstance(found, Trouble)
    assert set(found) == {"default"}
    assert found["default"].png.startswith(b"\x89PNG")
    assert 0 < found["default"].mean < 255
    gone = queries.differences(data, "gone.png", "#ffffff", dashboard_project.triangle(1), None)
    assert isinstance(gone, Trouble)
    assert "unreadable" in gone.text


def table(**columns: list[object]) -> pd.DataFrame:
    made_table = {"path": ["b", "a", "c"], "category": ["text", "text", "simple"], "value": [0.5, 0.0, 0.2],
                  "value_tpe": [0.4, 0.1, 0.0], "value_untrained": [9.0, 9.0, 9.0], "digest": ["1", "2", "3"],
                  "bytes": [10, 20, 30]}  # fmt: skip
    return pd.DataFrame(made_table | columns)


def test_images_are_filtered_and_ordered() -> None:
    every = images.with_lead(table())
    assert every["lead"].round(6).to_list() == [0.1, -0.1, 0.2]
    chosen = images.filtered(every, "all", "all", "lead", "")
    assert chosen["path"].to_list() == ["a", "b", "c"]
    assert images.filtered(every, "text", "improved", "path", "")["path"].to_list() == ["b"]
    assert images.filtered(every, "all", "kept", "path", "")["path"].to_list() == ["a"]
    assert images.filtered(every, "all", "behind", "-bytes", "")["path"].to_list() == ["a"]
    assert images.filtered(every, "all", "all", "-bytes", "")["path"].to_list() == ["c", "a", "b"]
    assert images.filtered(every, "all", "all", "path", "[").empty


def test_the_gap_closed_is_ours_of_the_best_of_all() -> None:
    share = results.gap_closed(table(value_untrained=[0.0, 0.0, 0.0]))
    assert share == pytest.approx(0.7 / 0.8)
    assert results.gap_closed(table(value=[0, 0, 0], value_tpe=[0, 0, 0], value_untrained=[0, 0, 0])) is None
    assert results.gap_closed(Trouble("x")) is None


def test_only_settings_that_differ_are_compared() -> None:
    sets = [{"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}]
    assert compare.differing(sets) == [("b", "2", "3"), ("c", "–", "4")]


def test_images_of_two_runs_are_paired_by_their_pixels() -> None:
    joined = compare.paired(table(), table(digest=["3", "1", "9"], value=[0.3, 0.5, 0.1]))
    assert joined.set_index("digest")["gain"].round(6).to_dict() == {"1": 0.0, "3": 0.1}


@pytest.mark.parametrize(
    "text",
    [
        "<b>",
        "![x](http://e)",
        ":red[x]",
        "$x$",
        "- a",
        "# a",
        "1. a",
        "`a`",
        "*a*",
        "a\nb",
        "\u202e",
        "[a](b)",
        ":smile:",
    ],
)
def test_plain_text_has_no_mark_left(text: str) -> None:
    import html
    import re

    plain = frame.plain(text)
    assert plain.isprintable()
    assert not re.search(r"[<>\[\]`*$:_~#|!\\]", re.sub(r"&#\d+;", "", plain))
    assert not re.match(r"[-+\d.]", plain)
    visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    assert html.unescape(plain) == visible
