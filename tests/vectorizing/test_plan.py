from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import DataError, Mismatch, Stopped, StorageError
from pipeline.vectorizing.inputs import Entry
from pipeline.vectorizing.plan import Plan, check_same, make_folders, open_plan, write_plan


class Numbers:
    """So many entries, of files that are not there."""

    def __init__(self, count: int) -> None:
        self._count = count

    def described(self) -> dict[str, Any]:
        return {"inputs": [str(self._count)]}

    def entries(self) -> Iterator[Entry]:
        return (Entry(f"/in/{n}.png", f"{n}.png", n, n) for n in range(self._count))


ASKED = {"traces": 8, "objective": {"name": "smaller", "max_damage": 5.0}}


def plan_of(output: Path, count: int = 7, shard_files: int = 3) -> Plan:
    make_folders(output)
    return write_plan(output, Numbers(count), ASKED, shard_files)


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "out")
    assert open_plan(tmp_path / "out") == plan
    assert (plan.files, plan.shards, [plan.count(s) for s in range(3)]) == (7, 3, [3, 3, 1])
    assert [e.path for s in range(3) for e in plan.entries(s)] == [f"{n}.png" for n in range(7)]
    assert plan.entries(2) == [Entry("/in/6.png", "6.png", 6, 6, svg="6.svg")]
    assert plan.digest != plan_of(tmp_path / "other", 8).digest
    assert open_plan(tmp_path / "nothing") is None


def test_a_shard_is_done_when_its_part_is_there(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert plan.missing() == [0, 1, 2]
    plan.part(1).touch()
    assert plan.missing() == [0, 2]


def test_a_plan_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    calls: list[int] = []

    def stop_at_the_second() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Stopped("stopped")

    make_folders(tmp_path)
    with pytest.raises(Stopped):
        write_plan(tmp_path, Numbers(7), ASKED, 3, stop_at_the_second)
    assert [p.name for p in (tmp_path / ".sharded").iterdir()] == ["results"]
    assert open_plan(tmp_path) is None


def test_what_a_kill_left_is_cleared_away(tmp_path: Path) -> None:
    for left in (".sharded/.plan-1234/00000.jsonl", ".sharded/results/.abc.parquet"):
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).touch()
    make_folders(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [".sharded", ".sharded/results"]


def test_an_svg_that_is_there_before_the_run_stays(tmp_path: Path) -> None:
    (tmp_path / "1.svg").write_text("by hand")
    entries = plan_of(tmp_path).entries(0)
    assert [entry.error for entry in entries] == [
        None,
        f"exists: {tmp_path}/1.svg is there already; give another -o",
        None,
    ]


def test_nothing_to_do_is_a_data_error(tmp_path: Path) -> None:
    make_folders(tmp_path)
    with pytest.raises(DataError, match="no images found"):
        write_plan(tmp_path, Numbers(0), ASKED, 3)
    assert open_plan(tmp_path) is None


def test_another_request_is_a_mismatch_that_names_each_difference(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    same = {**ASKED, "inputs": ["7"]}
    check_same(plan, same)
    with pytest.raises(Mismatch) as caught:
        check_same(plan, {**same, "traces": 4, "objective": {"name": "sharper", "max_damage": 5.0}, "inputs": ["8"]})
    said = str(caught.value)
    assert "inputs was 7 and is 8; objective.name was smaller and is sharper; traces was 8 and is 4" in said
    assert "max_damage" not in said
    with pytest.raises(Mismatch, match="the list of files has changed"):
        check_same(plan, same | {"list_sha256": "abc"})


def test_a_damaged_plan_is_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    listed, file = tmp_path / ".sharded/plan/00001.jsonl", tmp_path / ".sharded/plan/plan.json"
    listed.write_text(listed.read_text().replace("3.png", "8.png"))
    with pytest.raises(DataError, match=r"00001\.jsonl: is damaged"):
        plan.entries(1)
    listed.unlink()
    with pytest.raises(DataError, match=r"00001\.jsonl: cannot be read"):
        plan.entries(1)
    values = json.loads(file.read_text())
    for change in ({"more": 1}, {"files": 6}, {"asked": ASKED}, {"lists": ["0"] * 3}):
        file.write_text(json.dumps(values | change))
        with pytest.raises(DataError, match=r"plan\.json: is damaged"):
            open_plan(tmp_path)
    file.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(Mismatch, match="not a plan of this version"):
        open_plan(tmp_path)


def test_an_output_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose a folder you own"):
        make_folders(tmp_path / "file")
