from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DataError, StorageError
from pipeline.tracking.journal import VALUES_PER_RECORD, Journal, records
from tests.support.full_disk import nearly_full


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path)
    yield opened
    opened.close()


def test_values_are_written_before_the_call_returns(journal: Journal, tmp_path: Path) -> None:
    journal.metrics({"train/return_mean": 0.5, "failures/panic": 2}, step=64)
    (record,) = lines(tmp_path)
    assert record["values"] == {"train/return_mean": 0.5, "failures/panic": 2.0}
    assert (record["kind"], record["step"]) == ("metrics", 64)
    assert journal.size == (tmp_path / "journal.jsonl").stat().st_size


def test_what_is_not_finite_is_counted_and_kept_apart(journal: Journal, tmp_path: Path) -> None:
    journal.metrics({"a": math.nan, "b": 1.0, "c": math.inf}, step=1)
    measured, refused = lines(tmp_path)
    assert measured["values"] == {"b": 1.0}
    assert (refused["kind"], refused["values"]) == ("refused", {"a": "nan", "c": "inf"})
    assert journal.refused == {"a": 1, "c": 1}


@pytest.mark.parametrize("name", ["", "a\nb", "a;b", "/a", "a//b", "../a", "a/", "x" * 251])
def test_a_name_that_mlflow_cannot_hold_is_refused_at_once(journal: Journal, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        journal.metrics({"a": 1.0, name: 1.0}, step=0)
    assert lines(tmp_path) == []


def test_many_values_are_records_that_mlflow_takes_in_a_call(journal: Journal, tmp_path: Path) -> None:
    journal.metrics({f"a{n}": n for n in range(2 * VALUES_PER_RECORD + 1)}, step=0)
    assert [len(record["values"]) for record in lines(tmp_path)] == [VALUES_PER_RECORD, VALUES_PER_RECORD, 1]


def test_a_replayed_step_is_not_written_again(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.metrics({"a": 1.0, "b": math.nan}, 1)
    first.close()
    again = Journal(tmp_path)
    again.metrics({"a": 1.5, "b": math.nan, "c": 3.0}, 1)
    again.metrics({"a": 2.0}, 2)
    again.close()
    assert [record["values"] for record in lines(tmp_path)] == [{"a": 1.0}, {"b": "nan"}, {"c": 3.0}, {"a": 2.0}]
    assert again.refused == {"b": 1}


def test_after_its_end_what_was_measured_anew_is_written(journal: Journal, tmp_path: Path) -> None:
    journal.metrics({"test/ratio": 0.3, "test/images": 48}, 0)
    journal.end("FINISHED", None)
    journal.metrics({"test/ratio": 0.3, "test/images": 48}, 0)
    journal.metrics({"test/ratio": 0.2, "test/images": 48}, 0)
    assert [r.get("values") for r in lines(tmp_path)] == [
        {"test/ratio": 0.3, "test/images": 48},
        None,
        {"test/ratio": 0.2},
    ]


def test_a_model_and_an_artifact_are_kept_once_and_as_they_were(journal: Journal, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere" / "policy.safetensors"
    source.parent.mkdir()
    source.write_bytes(b"first")
    journal.metrics({"val/value": 0.5}, 64)
    for _ in range(2):
        journal.model([source], "agent-64", 64, {"note": "x"}, {"val/value": 0.5, "unknown": 1.0}, "val")
        journal.artifact(source, "weights")
    source.write_bytes(b"second")
    journal.artifact(source, "weights")
    measured, model, *artifacts = lines(tmp_path)
    assert model["metrics"] == {"val/value": [0.5, measured["time"]]}
    assert len(artifacts) == 2
    assert (tmp_path / "models/agent-64/policy.safetensors").read_bytes() == b"first"
    assert [(tmp_path / record["path"]).read_bytes() for record in artifacts] == [b"first", b"second"]


def test_a_torn_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.metrics({"a": 1.0}, 1)
    first.close()
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"kind": "metrics", "val')
    later = Journal(tmp_path)
    later.metrics({"a": 2.0}, 2)
    later.close()
    assert [record["values"] for record in lines(tmp_path)] == [{"a": 1.0}, {"a": 2.0}]


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{}", b"[]", b"null", b'{"name": "a", "value": 1}', b"[" * 100_000])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"kind": "resume"}\n' + line + b"\n")
    with pytest.raises(DataError, match=rf"the line that ends at byte {20 + len(line)} is no record"):
        Journal(tmp_path)


def test_status_is_that_of_the_last_end(tmp_path: Path) -> None:
    def after(act: Callable[[Journal], None]) -> str | None:
        journal = Journal(tmp_path)
        act(journal)
        journal.close()
        opened = Journal(tmp_path)
        opened.close()
        return opened.status

    assert after(lambda j: j.start("e", None, {}, {}, [])) is None
    assert after(lambda j: j.end("KILLED", "Stopped")) == "KILLED"
    assert after(lambda j: j.resume()) is None
    assert after(lambda j: j.end("FINISHED", None)) == "FINISHED"


def test_a_full_disk_makes_records_wait(journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal.metrics({"a": 1.0}, 1)
    with nearly_full(tmp_path / "journal.jsonl"):
        journal.metrics({"a": 2.0}, 2)
        journal.metrics({"a": 3.0}, 3)
        with pytest.raises(StorageError, match="cannot be written"):
            journal.end("FAILED", "disk")
    assert "2 records wait for it" in caplog.text
    assert len(lines(tmp_path)) == 1
    journal.metrics({"a": 4.0}, 4)
    assert [r["values"]["a"] for r in lines(tmp_path) if r["kind"] == "metrics"] == [1.0, 2.0, 3.0, 4.0]
    assert len(list(records(tmp_path / "journal.jsonl", 0))) == 5


def test_no_flipped_bit_of_a_line_is_read(journal: Journal, tmp_path: Path) -> None:
    journal.metrics({"a": 0.5, "b": 2}, 1)
    journal.end("FINISHED", None)
    path = tmp_path / "journal.jsonl"
    content = path.read_bytes()
    expected = [record for record, _ in records(path, 0)]
    for bit in range(8 * content.index(b"\n")):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = [record for record, _ in records(path, 0)]
        except DataError:
            continue
        assert [found[0] | expected[0], *found[1:]] == [found[0], *expected[1:]], "only the checksum's name changed"


def test_a_line_of_an_earlier_release_has_no_checksum(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"kind": "resume"}\n')
    assert list(records(tmp_path / "journal.jsonl", 0)) == [({"kind": "resume"}, 19)]


@given(st.lists(st.tuples(st.floats(allow_nan=True), st.booleans()), max_size=20))
def test_each_finite_value_is_there_once_in_order_however_often_it_is_opened(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    for step, (value, reopens) in enumerate(steps):
        journal.metrics({"a": value}, step)
        if reopens:
            journal.close()
            journal = Journal(folder)
            journal.metrics({"a": value}, step)
    journal.close()
    written = [r["values"]["a"] for r, _ in records(folder / "journal.jsonl", 0) if r["kind"] == "metrics"]
    assert written == [value for value, _ in steps if math.isfinite(value)]
    assert (folder / "journal.jsonl").stat().st_size == journal.size
