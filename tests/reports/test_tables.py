from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import PARAM_NAMES
from pipeline.reports import tables, words
from pipeline.reports.results import Results
from pipeline.reports.tables import TextTable, to_markdown
from tests.support.facts import image_result, stage_result

PIPE = re.compile(r"(?<!\\)\|")


def cells(line: str) -> list[str]:
    """As GitHub splits a row: at every pipe that no backslash precedes."""
    return [html.unescape(c.strip()) for c in PIPE.split(line)[1:-1]]


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=())), min_size=2, max_size=2), max_size=5))
def test_no_text_breaks_out_of_its_cell(rows: list[list[str]]) -> None:
    made = to_markdown(TextTable(("Name", "Value"), tuple((a, b) for a, b in rows)))
    lines = made.rstrip("\n").split("\n")
    assert len(lines) == 2 + len(rows)
    for line, row in zip(lines[2:], rows, strict=True):
        assert cells(line) == [words.visible(cell).strip() for cell in row]


def test_numbers_are_set_right_and_ours_in_bold() -> None:
    made = to_markdown(TextTable(("Method", "8"), (("ours", "0.5"), ("tpe", "0.6")), frozenset({0})))
    assert made == "| Method | 8 |\n| --- | ---: |\n| **ours** | **0.5** |\n| tpe | 0.6 |\n"


def test_methods_are_ranked_and_each_has_every_budget(results: Results) -> None:
    table = tables.methods(results.comparison)
    assert table.columns == ("Method", "1 trace", "4 traces", "8 traces", "16 traces", "Logos damaged, 8 traces")
    assert table.rows[0][0] == "tracewright"
    assert table.strong == {0}
    assert table.rows[0][-1] == "5.0 % (0–10 %)"


def test_methods_that_keep_the_default_stand_in_a_footnote(results: Results) -> None:
    comparison = results.comparison
    left_out = {"VTracer's default", "preset bw", "preset poster", "preset photo"}
    for table in (tables.methods(comparison), tables.categories(comparison, ()), tables.duels(comparison)):
        assert not {row[0] for row in table.rows} & (left_out - {"VTracer's default"})
    told = tables.aside(comparison)
    assert "VTracer's default 100 %, preset bw 97 % (" in told
    assert all(name in told for name in left_out)


def test_the_raw_default_and_gzip_stand_beside_the_minified_bytes() -> None:
    images = [
        image_result(bytes=b, default_bytes=100, default_traced_bytes=200, gzip_bytes=b - 5, default_gzip_bytes=60)
        for b in (20, 50, 80)
    ]
    assert [row[1:] for row in tables.sizes(images, "ours").rows] == [
        ("200", "–", "200 %"), ("100", "60", "100 %"), ("50", "45", "43 %"),
    ]  # fmt: skip


def test_the_knee_is_in_bold(results: Results) -> None:
    table = tables.tradeoff(results.comparison)
    assert table.rows[2] == ("3", "50 % (40–60 %)", "20 % (0–60 %)")
    assert table.strong == {2}


def test_a_rival_that_stops_early_keeps_what_it_had_and_one_not_run_has_a_dash(results: Results) -> None:
    comparison = results.comparison
    short = [replace(m, curve=m.curve[:1]) if m.name == "fixed" else m for m in comparison.methods]
    late = [replace(m, curve=m.curve[2:]) if m.name == "tpe" else m for m in short]
    rows = {r[0]: r for r in tables.methods(replace(comparison, methods=tuple(late))).rows}
    assert len(set(rows["best fixed per category"][1:-1])) == 1
    assert rows["Optuna TPE"][1:3] == (words.DASH, words.DASH)


def test_duels_are_those_of_the_headline(results: Results) -> None:
    table = tables.duels(results.comparison)
    assert len(table.rows) == 6
    assert dict(zip(table.columns, table.rows[-1], strict=True))["Verdict"] == "better"


def test_categories_say_how_many_images_they_rest_on(results: Results) -> None:
    table = tables.categories(results.comparison, results.images)
    assert table.columns[1:] == ("simple (13)", "text (11)", "gradient (9)", "complex (7)")


def test_what_was_not_measured_is_a_dash_and_never_a_zero(results: Results) -> None:
    stage = stage_result(success_rate=None, mean_return=None)
    row = tables.curriculum(replace(results.training, stages=(stage,))).rows[0]
    assert words.DASH in row
    last = replace(results.training.validations[-1], stability=None, consistency=None)
    assert "0.00" not in tables.validations(replace(results.training, validations=(last,))).rows[0]


def test_the_model_that_was_kept_is_in_bold(results: Results) -> None:
    best = results.training.best
    table = tables.validations(results.training)
    (strong,) = table.strong
    assert table.rows[strong][0] == f"{best.timesteps:,}"


@pytest.mark.parametrize(
    ("size", "value", "said"), [(590, 0.5, "−41 %"), (1080, 0.1, "+8.0 %"), (1000, 0.0, "kept the default")]
)
def test_a_change_in_bytes_has_its_sign(size: int, value: float, said: str) -> None:
    image = image_result(value=value, improved=value > 0, bytes=size, default_bytes=1000)
    assert tables.change_in_bytes(image) == said


def test_long_names_are_shortened_in_their_middle(results: Results) -> None:
    name = "a" * 250 + ".png"
    row = tables.images([replace(results.images[0], path=name)]).rows[0]
    assert len(row[0]) == words.NAME_LENGTH
    assert row[0].endswith("a.png")


def test_data_adds_up(results: Results) -> None:
    table = tables.data(results.training)
    assert table.rows[-1] == ("all", "280", "80", "40", "400")


def test_every_parameter_has_its_freedom(results: Results) -> None:
    rows = {r[0]: r[1:] for r in tables.freedom(results).rows}
    assert set(rows) == set(PARAM_NAMES)
    assert rows["layer_difference"] == ("range", "4 to 128, log scale")
    assert rows["mode"] == ("fixed", "spline")


def test_counts_leave_out_what_did_not_happen() -> None:
    assert tables.counts({"a": 1, "b": 0, "c": 3}, "Kind").rows == (("c", "3"), ("a", "1"))
