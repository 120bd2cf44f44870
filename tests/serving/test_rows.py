from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.serving.limits import ServeSettings
from pipeline.serving.rows import TRACES, RequestError, Row, read_body, read_rows
from pipeline.vectorizing.answer import PLAIN, Options
from tests.support.serving_requests import BAD, GOOD, png, records, row, text

LIMITS = ServeSettings()


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_every_layout_of_mlflows_is_read(body: bytes) -> None:
    [order] = read_body(body, LIMITS)
    assert isinstance(order, Row)
    assert order.image == png()
    assert order.traces in (1, 2, TRACES)
    assert order.options in (PLAIN, Options(budget_bytes=900, background="#ffffff"))
    assert order.max_damage == (2.5 if order.objective == "target" else None)


@pytest.mark.parametrize(("body", "status", "sentence"), BAD.values(), ids=BAD)
def test_a_bad_body_is_refused_with_a_sentence(body: bytes, status: int, sentence: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_body(body, LIMITS)
    assert caught.value.status == status
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "values", "status", "sentence"),
    [
        ({"max_image_bytes": 1000}, {"image": "A" * 1400}, 413, "larger than the 1000 bytes allowed"),
        ({"max_side_pixels": 31}, {}, 413, "image has 32 x 32 pixels; allowed are 4194304 in all and 31 a side"),
        ({"max_traces": 3}, {"traces": 4}, 400, "allowed is a whole number from 1 to 3"),
        ({"max_traces": 3}, {"traces": None}, None, ""),
    ],
)
def test_the_limits_are_those_that_are_set(
    limits: dict[str, Any], values: dict[str, Any], status: int | None, sentence: str
) -> None:
    settings = ServeSettings(**limits)
    if status is None:
        [order] = read_body(records(row(**values)), settings)
        assert isinstance(order, Row)
        assert order.traces == 3
        return
    with pytest.raises(RequestError, match=sentence) as caught:
        read_body(records(row(**values)), settings)
    assert caught.value.status == status


def test_a_tables_missing_values_are_values_left_out() -> None:
    [order] = read_rows([{"image": text(png()), "objective": None, "traces": float("nan")}], LIMITS)
    assert isinstance(order, Row)
    assert (order.objective, order.traces) == (None, TRACES)


def test_a_bad_row_among_good_ones_is_an_error_of_its_own() -> None:
    good, bad = read_body(records(row(traces=3), row(traces=0)), LIMITS)
    assert isinstance(good, Row)
    assert good.traces == 3
    assert isinstance(bad, RequestError)
    assert str(bad).startswith("row 1: traces is 0; allowed")


def test_a_long_value_is_cut_short_in_the_sentence() -> None:
    with pytest.raises(RequestError) as caught:
        read_body(json.dumps({"inputs": "x" * 10_000}).encode(), LIMITS)
    assert len(str(caught.value)) < 200
