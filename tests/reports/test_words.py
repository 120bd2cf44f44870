from __future__ import annotations

import html
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.facts.comparison import DamageKind
from pipeline.core.intervals import Interval
from pipeline.reports import words


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (0.0001, "under 0.1 %"), (0.043, "4.3 %"), (0.0999, "10 %"), (0.124, "12 %"), (-0.3, "30 %")],
)
def test_percentages_have_sensible_digits(share: float, said: str) -> None:
    assert words.percent(share) == said


def test_a_gain_in_log_units_is_a_change_in_bytes() -> None:
    assert words.share_of_gain(0.6931471805599453) == pytest.approx(-0.5)
    assert words.change(0.6931471805599453, "smaller") == "50 % fewer bytes"
    assert words.change(-0.6931471805599453, "smaller") == "100 % more bytes"
    assert words.needs(0.1, "smaller") == "needs 9.5 % fewer bytes"
    assert words.needs(0.1, "sharper") == "leaves 9.5 % less error"
    assert words.needs(-0.1, "balanced") == "is 11 % worse in the objective"


def test_limits_are_said_so_that_their_side_is_clear() -> None:
    assert words.gain_range(Interval(0.12, 0.05, 0.2), "smaller") == "4.9–18 %"
    assert words.gain_range(Interval(-0.12, -0.2, -0.05), "smaller") == "5.1–22 %"
    assert words.gain_range(Interval(0.02, -0.02, 0.06), "smaller") == "2.0 % more bytes to 5.8 % fewer bytes"


def test_what_was_not_measured_is_a_dash() -> None:
    said = (words.number(None), words.interval(None), words.share(None), words.count(None), words.signed(None, 2))
    assert {*said, words.duration(None), words.storage(None)} == {words.DASH}


def test_an_interval_without_spread_is_one_number() -> None:
    assert words.interval(Interval(1.0, 1.0, 1.0)) == "1.00"
    assert words.interval(Interval(0.58, 0.54, 0.62)) == "0.58 (0.54–0.62)"
    assert words.interval(Interval(0.01, -0.02, 0.04)) == "0.01 (−0.02 to 0.04)"


def test_a_ratio_is_told_in_percent() -> None:
    assert words.ratio(Interval(0.58, 0.54, 0.621)) == "58 % (54–62 %)"
    assert words.ratio(Interval(1.0, 1.0, 1.0)) == "100 %"
    assert words.ratio(None) == words.DASH


def test_damage_is_counted_in_words() -> None:
    assert words.damage_in_words(["edge", "detail", "detail"]) == "2 lost a detail and 1 moved an edge"
    assert words.DAMAGE_VERBS.keys() == words.DAMAGE_NOUNS.keys() == set(get_args(DamageKind))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.8, "0.8 s"), (42, "42 s"), (59.7, "1 min"), (725, "12 min 5 s"), (3599.8, "1 h"), (12000, "3 h 20 min")],
)
def test_durations_have_two_units_at_most(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [(1, "1 byte"), (640, "640 bytes"), (1_240_000_000, "1.2 GB"), (999_600, "1.0 MB"), (5e12, "5000 GB")],
)
def test_sizes_are_in_decimal_units(size: int, said: str) -> None:
    assert words.storage(size) == said


def test_failures_are_counted_in_words() -> None:
    failures = {"timeout": 1, "panic": 20, "died": 0, "new-kind": 2}
    assert words.failures_in_words(failures) == "20 panics of VTracer, 2 new-kind and 1 timeout"


def test_addresses_lose_their_secrets() -> None:
    assert words.without_secrets("postgresql://me:pass@host/db?sslkey=x") == "postgresql://host/db"
    assert words.without_secrets("sqlite:///.tracewright/mlflow.db") == "sqlite:///.tracewright/mlflow.db"


@given(st.text(max_size=300), st.integers(5, 60))
def test_a_shortened_name_keeps_both_ends(name: str, length: int) -> None:
    short = words.shortened(name, length)
    assert len(short) <= length
    assert short[:1] == name[:1]
    assert short[-1:] == name[-1:]


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_any_name_is_one_line_of_text_in_markdown(name: str) -> None:
    cell = words.in_markdown(name)
    assert "\n" not in cell
    assert not re.search(r"[|`<>*\[\]\\]", cell)
    assert cell.isprintable()
    cell.encode("utf-8")
    assert html.unescape(cell) == words.visible(name)


@pytest.mark.parametrize(
    "text",
    ["VTracer's default (95 % interval 5–18 %)", "train.ppo.n_epochs: 10", "0.58", "a/b-1.png", "+93 %", "-1", "#7"],
)
def test_plain_text_stays_readable_in_the_source(text: str) -> None:
    assert words.in_markdown(text) == text


@pytest.mark.parametrize(
    "text",
    ["- item", "+ item", "---", "===", "# head", "1. one", "https://x.y", "www.x.y", "_em_", "a@b.c", "$x$", "~~s~~"],
)
def test_what_github_would_turn_into_something_is_escaped(text: str) -> None:
    assert "&#" in words.in_markdown(text)
