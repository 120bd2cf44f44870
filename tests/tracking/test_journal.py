from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tracking.journal import Journal


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]


def test_values_are_written_before_the_call_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"train/return_mean": 0.5, "failures/panic": 2}, step=64)
    first, second = lines(tmp_path)
    assert (first["name"], first["value"], first["step"]) == ("train/return_mean", 0.5, 64)
    assert second["value"] == 2.0
    journal.close()


def test_what_is_not_finite_is_counted_and_never_pending(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    accepted = journal.append({"a": math.nan, "b": 1.0, "c": math.inf}, step=1)
    assert [p.name for p in accepted] == ["b"]
    assert journal.refused == {"a": 1, "c": 1}
    assert [p.name for p in journal.pending(10).points] == ["b"]
    assert [record.get("refused") for record in lines(tmp_path)] == ["nan", None, "inf"]
    journal.close()


@pytest.mark.parametrize("name", ["", "a\nb", "a;b", "/a", "a//b", "../a", "a/", "x" * 251])
def test_a_name_that_mlflow_cannot_hold_is_refused_at_once(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(ValueError, match="cannot be the name"):
        journal.append({name: 1.0}, step=0)
    assert journal.pending(10).points == []
    journal.close()


def test_sending_goes_on_where_it_stopped_in_another_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in range(5):
        journal.append({"a": step}, step)
    journal.mark_sent(journal.pending(3).end)
    journal.close()
    later = Journal(tmp_path)
    assert [p.step for p in later.pending(10).points] == [3, 4]
    later.close()


def test_a_torn_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"a": 1.0}, 1)
    journal.close()
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"name": "a", "val')
    later = Journal(tmp_path)
    later.append({"a": 2.0}, 2)
    assert [p.value for p in later.pending(10).points] == [1.0, 2.0]
    assert len(lines(tmp_path)) == 2
    later.close()


def test_a_lost_journal_does_not_strand_the_cursor(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"a": 1.0}, 1)
    journal.mark_sent(journal.pending(10).end)
    journal.close()
    (tmp_path / "journal.jsonl").unlink()
    later = Journal(tmp_path)
    later.append({"a": 2.0}, 2)
    assert [p.value for p in later.pending(10).points] == [2.0]
    later.close()


@given(st.lists(st.tuples(st.floats(allow_nan=True), st.booleans()), max_size=20), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_each_finite_value_is_pending_exactly_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, bool]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    seen: list[float] = []

    def send() -> None:
        batch = journal.pending(limit)
        seen.extend(p.value for p in batch.points)
        journal.mark_sent(batch.end)

    for step, (value, sends) in enumerate(steps):
        journal.append({"a": value}, step)
        if sends:
            send()
    for _ in range(len(steps) + 1):
        send()
    journal.close()
    assert seen == [value for value, _ in steps if math.isfinite(value)]
